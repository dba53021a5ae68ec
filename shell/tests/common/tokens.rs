//! Tokens as an issuer makes them, signed with a shared secret, and the file that has it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

/// The secret that every server of the tests and the issuer share.
pub const SECRET: &str = "a secret for tests, and long enough";

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}

/// The claims of a token that is valid for so many seconds.
pub fn claims(subject: &str, channels: &[&str], seconds: u64) -> Value {
    json!({"sub": subject, "channels": channels, "exp": now() + seconds})
}

/// A token with these claims.
pub fn sign(claims: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A token that is valid for a minute.
pub fn token(subject: &str, channels: &[&str]) -> String {
    sign(&claims(subject, channels, 60))
}

/// The file with the secret.
pub fn secret_file(dir: &Path) -> String {
    write(dir, "secret", &format!("{SECRET}\n"))
}

/// A file, and its path.
pub fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}
