//! Bounded reads of the kernel's small text files, and the few shapes that they have.
//!
//! Nothing here trusts a file: it may be missing, garbled, not UTF-8 or without end.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The most that is read of a file. What is longer is not what it says it is.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The most that is read of the mount table: a host of many containers has thousands of mounts.
const MOUNTS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content<T> {
    /// There is no such file, which for many of them says something: the kernel has none here.
    Missing,
    /// There is one, and it cannot be read or understood.
    Garbled,
    /// This.
    Is(T),
}

impl<T> Content<T> {
    /// What it is, if it is known.
    pub(super) fn known(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Missing | Self::Garbled => None,
        }
    }

    /// Understands the content; `None` is garbled.
    pub(super) fn parse<U>(self, parse: impl FnOnce(T) -> Option<U>) -> Content<U> {
        match self {
            Self::Is(value) => parse(value).map_or(Content::Garbled, Content::Is),
            Self::Missing => Content::Missing,
            Self::Garbled => Content::Garbled,
        }
    }
}

/// The bytes of a file.
pub(super) fn bytes(path: &Path) -> Content<Vec<u8>> {
    at_most(path, FILE_BYTES_MAX)
}

/// The bytes of a mount table.
pub(super) fn mounts(path: &Path) -> Content<Vec<u8>> {
    at_most(path, MOUNTS_BYTES_MAX)
}

fn at_most(path: &Path, max: u64) -> Content<Vec<u8>> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut content));
    match read {
        Ok(_) if content.len() as u64 <= max => Content::Is(content),
        Ok(_) => Content::Garbled,
        // A file where the path has a folder: the same as nothing there.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Content::Missing
        }
        Err(_) => Content::Garbled,
    }
}

/// The words of a file, as text; bytes that are not UTF-8 become a sign that parses as nothing.
fn text(path: &Path) -> Content<String> {
    bytes(path).parse(|content| Some(String::from_utf8_lossy(&content).into_owned()))
}

/// A file that is one number.
pub(super) fn number(path: &Path) -> Content<i128> {
    text(path).parse(|text| text.trim().parse().ok())
}

/// A file of one word or number after another on one line.
pub(super) fn words<const N: usize>(path: &Path) -> Content<[String; N]> {
    text(path).parse(|text| {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.try_into().ok()
    })
}

/// The number after `key` in a file of lines that each begin with a key (`memory.stat`,
/// `/proc/meminfo` with its colons). A file without the key is garbled.
pub(super) fn keyed(path: &Path, key: &str) -> Content<u64> {
    text(path).parse(|text| {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let found = words.next()?.trim_end_matches(':') == key;
            found.then(|| words.next()?.parse().ok()).flatten()
        })
    })
}

/// How many CPUs a list such as `0-3,8` names, given as the text after `key` (or all of the file
/// where `key` is empty), as a set of their numbers below 4,096.
pub(super) fn cpu_list(path: &Path, key: &str) -> Option<Vec<usize>> {
    const CPUS_MAX: usize = 4_096;
    let text = text(path).known()?;
    let list = text.lines().find_map(|line| line.strip_prefix(key))?.trim();
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}
