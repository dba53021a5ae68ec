//! Who may ask at all: the rules that keep web pages and strangers away from a server that listens
//! on loopback, and from publishing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::header::{
    AUTHORIZATION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VIA,
    WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};

use super::reply::{self, Reply};
use crate::auth::publishers::Publisher;
use crate::proxy;
use crate::server::shared::{Entrance, Shared};
use crate::settings::{Secret, Settings};

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// The client's address, as far as it is known yet.
    pub(super) addr: SocketAddr,
    /// It is a trusted proxy, and who asks may be anybody.
    pub(super) is_proxy: bool,
}

/// The host that the request is for, as `name` or `name:port`; `None` with HTTP/1.0, which need not
/// say (RFC 9112 3.2: the authority of an absolute target goes before the Host header).
pub(super) fn host(request: &Parts) -> Result<Option<String>, Box<Reply>> {
    let mut named = request.headers.get_all(HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return Err(bad_host("There must be one Host header."));
    }
    let header = match header.map(HeaderValue::to_str) {
        Some(Ok(text)) => Some(text),
        Some(Err(_)) => return Err(bad_host("The Host header is not readable.")),
        None if request.version == Version::HTTP_10 => None,
        None => return Err(bad_host("The Host header is missing.")),
    };
    let target = request.uri.authority().map(|authority| authority.as_str());
    Ok(target.or(header).map(str::to_ascii_lowercase))
}

fn bad_host(message: &str) -> Box<Reply> {
    Box::new(reply::error(StatusCode::BAD_REQUEST, "bad_host", message))
}

/// On a loopback listener the Host must be loopback or allowed: a web page whose name was made to
/// point here (DNS rebinding) is not. Elsewhere that holds for clients where names are configured; an
/// address is nobody's name.
pub(super) fn check_host(
    shared: &Shared,
    entrance: Entrance,
    host: Option<&str>,
) -> Result<(), Box<Reply>> {
    let Some(host) = host else { return Ok(()) };
    let allowed = &shared.settings.allowed_hosts;
    let name = name_of(host);
    let is_address = |name: &str| name.parse::<IpAddr>().is_ok();
    let is_harmless = name.is_some_and(is_loopback_name)
        || (!shared.is_loopback(entrance)
            && (entrance == Entrance::Admin || allowed.is_empty() || name.is_some_and(is_address)));
    let is = |allowed: &String, text: &str| allowed.eq_ignore_ascii_case(text);
    if is_harmless
        || allowed
            .iter()
            .any(|a| is(a, host) || name.is_some_and(|name| is(a, name)))
    {
        return Ok(());
    }
    let message = "This server does not answer to this Host; see allowed_hosts.";
    Err(Box::new(reply::error(
        StatusCode::FORBIDDEN,
        "host_not_allowed",
        message,
    )))
}

/// A browser says where its page is from; that must be this host, or allowed.
pub(super) fn check_origin(
    shared: &Shared,
    headers: &HeaderMap,
    host: Option<&str>,
) -> Result<(), Box<Reply>> {
    let mut origins = headers.get_all(ORIGIN).iter().peekable();
    if origins.peek().is_none() {
        return Ok(());
    }
    let allowed = |origin: &HeaderValue| {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        // Behind a proxy TLS may have ended there; a page that was not fetched by TLS is not from a
        // server that speaks nothing else.
        let plain = origin
            .strip_prefix("http://")
            .filter(|_| shared.certificates.is_none());
        let site = plain.or_else(|| origin.strip_prefix("https://"));
        let own = site
            .zip(host)
            .is_some_and(|(site, host)| site.eq_ignore_ascii_case(host));
        own || shared
            .settings
            .allowed_origins
            .iter()
            .any(|a| a.eq_ignore_ascii_case(origin))
    };
    if origins.all(allowed) {
        return Ok(());
    }
    let message = "This Origin is neither this host nor in allowed_origins.";
    Err(Box::new(reply::error(
        StatusCode::FORBIDDEN,
        "origin_not_allowed",
        message,
    )))
}

/// Whom the request is from: the peer, or whom it speaks for if it is a trusted proxy that says so.
pub(super) fn client(
    settings: &Settings,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<IpAddr, Box<Reply>> {
    if !settings.is_proxy(peer) {
        return Ok(peer);
    }
    let values = headers.get_all("x-forwarded-for").iter();
    let values = values.map(HeaderValue::as_bytes);
    match proxy::forwarded(values, |address| settings.is_proxy(address)) {
        Ok(client) => Ok(client.unwrap_or(peer)),
        Err(proxy::NoAddress) => {
            let message =
                "X-Forwarded-For of a trusted proxy has something in it that is no address.";
            let status = StatusCode::BAD_REQUEST;
            Err(Box::new(reply::error(status, "bad_forwarded", message)))
        }
    }
}

/// Who may publish: who shows `publish_token`, whoever has a token of the publishers' file, or as
/// [`check_bearer`] says, a program on this machine. `Some`: it may publish only what that one may.
pub(super) fn check_publisher(
    shared: &Shared,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Option<Arc<Publisher>>, Box<Reply>> {
    let publishers = shared.publishers.as_ref();
    let shown = headers.get(AUTHORIZATION).and_then(bearer);
    if let Some(publisher) = publishers
        .zip(shown)
        .and_then(|(all, shown)| all.find(shown))
    {
        return Ok(Some(publisher));
    }
    let token = shared.settings.publish_token.as_ref();
    check(
        shared,
        Entrance::Main,
        headers,
        peer,
        token,
        publishers.is_some(),
    )?;
    Ok(None)
}

/// Who shows the token may; without a token in the request, a program on this machine may, where the
/// listener is on loopback and nothing suggests a proxy or a web page in between.
pub(super) fn check_bearer(
    shared: &Shared,
    entrance: Entrance,
    headers: &HeaderMap,
    peer: Peer,
    token: Option<&Secret>,
) -> Result<(), Box<Reply>> {
    check(shared, entrance, headers, peer, token, false)
}

fn check(
    shared: &Shared,
    entrance: Entrance,
    headers: &HeaderMap,
    peer: Peer,
    token: Option<&Secret>,
    has_others: bool,
) -> Result<(), Box<Reply>> {
    if let Some(shown) = headers.get(AUTHORIZATION) {
        let right = token
            .zip(bearer(shown))
            .is_some_and(|(token, shown)| token.matches(shown));
        return if right {
            Ok(())
        } else {
            Err(unauthorized("This token is not accepted."))
        };
    }
    let is_here = !peer.is_proxy && peer.addr.ip().to_canonical().is_loopback();
    if shared.is_loopback(entrance) && is_here && !headers.keys().any(tells_of_others) {
        return Ok(());
    }
    if token.is_some() || has_others {
        return Err(unauthorized(
            "This needs an Authorization header with a bearer token.",
        ));
    }
    let message = "This is for programs on this machine only: no token is configured.";
    Err(Box::new(reply::error(
        StatusCode::FORBIDDEN,
        "forbidden",
        message,
    )))
}

/// Whether a header is one that web pages cannot leave out, or that some proxy adds.
fn tells_of_others(name: &HeaderName) -> bool {
    const OF_PROXIES: [&str; 3] = ["x-real-ip", "cf-connecting-ip", "true-client-ip"];
    [ORIGIN, FORWARDED, VIA].contains(name)
        || name.as_str().starts_with("x-forwarded")
        || OF_PROXIES.contains(&name.as_str())
}

fn unauthorized(message: &str) -> Box<Reply> {
    let reply = reply::error(StatusCode::UNAUTHORIZED, "unauthorized", message);
    Box::new(reply::with(
        reply,
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer"),
    ))
}

/// The token of `Bearer token` (RFC 6750 2.1; the scheme's case does not matter).
pub(super) fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// A host without its port; `None`: what follows the name is no port (RFC 3986 3.2.3, where it may have no
/// digits), and whatever it is, the name is not that of the host.
fn name_of(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    is_whole.then_some(name)
}

fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{is_loopback_name, name_of};

    #[test]
    fn a_loopback_host_is_known_in_every_spelling() {
        for (host, loopback) in [
            ("localhost", true),
            ("LOCALHOST:3004", true),
            ("127.0.0.1", true),
            ("127.8.9.10:80", true),
            ("[::1]", true),
            ("[::1]:3004", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("localhost.evil.example", false),
            ("evil.example:3004", false),
            ("127.0.0.1.evil.example", false),
            ("[2001:db8::1]:80", false),
            ("0.0.0.0", false),
            ("", false),
            ("[::1", false),
            ("localhost:", true),
            ("[::1]:", true),
            ("::1", false),
            ("[::1]evil.example", false),
            ("[::1]3004", false),
            ("[::1].evil.example:80", false),
            ("[::1]:80@evil.example", false),
            ("[::1]:80:80", false),
            ("127.0.0.1:80@evil.example", false),
            ("127.0.0.1@evil.example", false),
            ("localhost:evil.example", false),
            ("localhost:+80", false),
            ("localhost:80 ", false),
        ] {
            let found = name_of(host).is_some_and(is_loopback_name);
            assert_eq!(found, loopback, "{host}");
        }
    }
}
