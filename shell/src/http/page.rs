//! The live page at `/` and the browser client module: static files inside the binary.
//!
//! The page loads nothing from elsewhere and its policy allows nothing else, no inline script or style
//! either, so that a channel's payload that finds a way into the page finds nothing to run.

use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use super::reply::{self, Reply};

/// The module is for pages of every origin; whether these may connect is asked at the upgrade.
const CLIENT: &str = "/client.js";

/// Path, type and content of each file.
const FILES: [(&str, &str, &str); 5] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("../console/index.html"),
    ),
    (
        CLIENT,
        "text/javascript; charset=utf-8",
        include_str!("../console/client.js"),
    ),
    (
        "/console/page.js",
        "text/javascript; charset=utf-8",
        include_str!("../console/page.js"),
    ),
    (
        "/console/page.css",
        "text/css; charset=utf-8",
        include_str!("../console/page.css"),
    ),
    (
        "/console/icon.svg",
        "image/svg+xml",
        include_str!("../console/icon.svg"),
    ),
];

/// `connect-src 'self'` includes WebSockets of this host (CSP Level 3, 6.7.2.8).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// Whether there is a file at this path.
pub(super) fn has(path: &str) -> bool {
    FILES.iter().any(|(at, ..)| *at == path)
}

/// The file at this path; the page itself where there is none.
pub(super) fn file(path: &str) -> Reply {
    let found = FILES.iter().find(|(at, ..)| *at == path);
    let (path, kind, text) = found.unwrap_or(&FILES[0]);
    let mut reply = reply::text(StatusCode::OK, kind, (*text).to_owned());
    for (name, value) in HEADERS {
        reply = reply::with(reply, name, HeaderValue::from_static(value));
    }
    if *path == CLIENT {
        let any = HeaderValue::from_static("*");
        reply = reply::with(reply, ACCESS_CONTROL_ALLOW_ORIGIN, any);
    }
    reply
}
