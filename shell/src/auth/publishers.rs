//! Who may publish over HTTP, and where: a file of tokens, each with names and patterns.
//!
//! Of a token only its hash is kept, and the file may hold that instead. What is wrong with the file is told
//! without a word of what is in it: a token may stand in any place of it by mistake.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use odin_core::name;
use ring::digest::{SHA256, digest};
use toml::{Table, Value};

use super::claims::is_legal;
use super::files;
use crate::reload::Reload;
use crate::settings::parse_size;

/// The largest file, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;

/// The shortest token, in bytes: what is shorter can be found by trying.
const TOKEN_BYTES_MIN: usize = 16;

/// One who may publish.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Publisher {
    /// What the log calls it.
    pub(crate) name: String,
    hash: [u8; 32],
    channels: Vec<String>,
    /// The largest payload; `None`: `payload_bytes_max`.
    pub(crate) payload_bytes_max: Option<usize>,
}

impl Publisher {
    /// Whether it may publish to this channel.
    pub(crate) fn may(&self, channel: &str) -> bool {
        self.channels.iter().any(|one| name::matches(one, channel))
    }
}

/// All who may publish. Shared by all threads of a server.
#[derive(Debug)]
pub(crate) struct Publishers {
    path: PathBuf,
    all: RwLock<Arc<Vec<Arc<Publisher>>>>,
}

impl Publishers {
    /// # Errors
    /// The file cannot be read or is not what it should be.
    pub(crate) fn new(path: &Path) -> Result<Self, String> {
        Ok(Self {
            path: path.to_owned(),
            all: RwLock::new(Arc::new(load(path)?)),
        })
    }

    /// Who has this token.
    pub(crate) fn find(&self, token: &[u8]) -> Option<Arc<Publisher>> {
        let shown = hash(token);
        let all = Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner));
        // How long this takes tells of hashes at most, and whoever knew them could not go back.
        all.iter().find(|one| one.hash == shown).map(Arc::clone)
    }
}

impl Reload for Publishers {
    fn what(&self) -> &'static str {
        "publish_tokens"
    }

    fn reload(&self) -> Result<String, String> {
        let all = load(&self.path)?;
        let read = format!("{} publishers", all.len());
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
        Ok(read)
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token).as_ref());
    hash
}

fn load(path: &Path) -> Result<Vec<Arc<Publisher>>, String> {
    let all = files::read(path, BYTES_MAX).and_then(|bytes| parse(&bytes));
    all.map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Vec<Arc<Publisher>>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let table = text.parse::<Table>().map_err(|error| {
        // The error's own text quotes the line, which may hold a token.
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        format!("line {line} is not TOML")
    })?;
    if table.keys().any(|key| key != "publisher") {
        return Err("it has [[publisher]] tables and nothing else".to_owned());
    }
    let list = table.get("publisher").and_then(Value::as_array);
    let mut all: Vec<Arc<Publisher>> = Vec::new();
    for (at, one) in list.into_iter().flatten().enumerate() {
        let one = one.as_table().ok_or("[[publisher]] is no table".to_owned());
        let one = one.and_then(publisher);
        let one = one.map_err(|error| format!("publisher {}: {error}", at + 1))?;
        if all
            .iter()
            .any(|other| other.name == one.name || other.hash == one.hash)
        {
            return Err(format!(
                "publisher {}: its name or token is another's too",
                at + 1
            ));
        }
        all.push(Arc::new(one));
    }
    if all.is_empty() {
        return Err("it has no [[publisher]]".to_owned());
    }
    Ok(all)
}

fn publisher(table: &Table) -> Result<Publisher, String> {
    const KEYS: [&str; 5] = [
        "name",
        "token",
        "token_sha256",
        "channels",
        "payload_bytes_max",
    ];
    if table.keys().any(|key| !KEYS.contains(&key.as_str())) {
        let [others @ .., last] = KEYS;
        let others = others.join(", ");
        return Err(format!("it has a key that is none of {others} and {last}"));
    }
    let text = |key: &str| match table.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{key} is not a text")),
    };
    let name = text("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or("name is missing")?.to_owned();
    let hash = match (text("token")?, text("token_sha256")?) {
        (Some(token), None) => secret(token)?,
        (None, Some(hex)) => from_hex(hex).ok_or("token_sha256 is not 64 hex digits")?,
        _ => return Err("it has either token or token_sha256".to_owned()),
    };
    let list = table.get("channels").and_then(Value::as_array);
    let list = list.filter(|list| !list.is_empty());
    let list = list.ok_or("channels is not a list of names and patterns")?;
    let channels = list.iter().enumerate().map(|(at, one)| {
        let text = one.as_str().filter(|text| is_legal(text));
        text.map(str::to_owned)
            .ok_or_else(|| format!("entry {} of channels is no name or pattern", at + 1))
    });
    let payload_bytes_max = match table.get("payload_bytes_max") {
        None => None,
        Some(Value::Integer(bytes)) => usize::try_from(*bytes).ok().filter(|bytes| *bytes > 0),
        Some(Value::String(text)) => parse_size(text)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| *bytes > 0),
        Some(_) => None,
    };
    if payload_bytes_max.is_none() && table.contains_key("payload_bytes_max") {
        return Err("payload_bytes_max is no size above 0".to_owned());
    }
    Ok(Publisher {
        name,
        hash,
        channels: channels.collect::<Result<_, _>>()?,
        payload_bytes_max,
    })
}

fn secret(token: &str) -> Result<[u8; 32], String> {
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || token.len() < TOKEN_BYTES_MIN {
        return Err(format!(
            "token is not {TOKEN_BYTES_MIN} or more visible ASCII characters"
        ));
    }
    Ok(hash(token.as_bytes()))
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(hash)
}
