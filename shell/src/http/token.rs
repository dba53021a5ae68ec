//! Where the token of an upgrade request is: in its Authorization header, or, for browsers, which cannot
//! set that, in a subprotocol that is offered beside the real one and never chosen.

use hyper::StatusCode;
use hyper::header::{
    AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE,
};
use odin_core::reason::TokenFault;

use super::guard::bearer;
use super::reply::{self, Reply};
use super::upgrade::items;
use crate::auth::Accepted;
use crate::server::shared::Shared;

/// What stands before the token in a subprotocol.
const PROTOCOL: &[u8] = b"odin.bearer.";

/// Verifies the token of an upgrade request. `None`: there is none, and the first message will tell,
/// or nobody has to authenticate.
pub(super) fn accept(shared: &Shared, headers: &HeaderMap) -> Result<Option<Accepted>, Box<Reply>> {
    let Some(auth) = &shared.auth else {
        return Ok(None);
    };
    let outcome = match shown(headers) {
        Ok(None) => return Ok(None),
        Ok(Some(token)) => auth.verify(token, shared.clock.now()),
        Err(fault) => {
            auth.failed(fault);
            Err(fault)
        }
    };
    outcome.map(Some).map_err(refusal)
}

/// The one token of a request.
fn shown(headers: &HeaderMap) -> Result<Option<&str>, TokenFault> {
    // Credentials of another scheme are for somebody on the way.
    let header = headers.get_all(AUTHORIZATION).iter().filter_map(bearer);
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered
        .flat_map(items)
        .filter_map(|item| item.strip_prefix(PROTOCOL));
    let mut all = header.chain(offered);
    let Some(token) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(TokenFault::Ambiguous);
    }
    let token = std::str::from_utf8(token);
    token.map(Some).map_err(|_| TokenFault::Malformed)
}

fn refusal(fault: TokenFault) -> Box<Reply> {
    let message = format!("The token is not accepted: {}.", fault.label());
    let reply = reply::error(StatusCode::UNAUTHORIZED, "unauthorized", &message);
    // RFC 6750 3.1.
    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    Box::new(reply::with(reply, WWW_AUTHENTICATE, challenge))
}
