//! Which folders hold the control groups of this process, per controller.
//!
//! `/proc/self/cgroup` says where in each hierarchy the process is, `/proc/self/mountinfo` where a
//! hierarchy, or the part of it that this mount namespace may see, is mounted (cgroups(7),
//! proc_pid_mountinfo(5)). A machine may have version 1 for one controller and version 2 for another.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::read::{self, Content};

/// The version of the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    V1,
    V2,
}

/// Where one controller keeps this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Controller {
    pub(super) version: Version,
    /// The folders from the outermost that is visible to the process's own.
    pub(super) levels: Vec<PathBuf>,
    /// The process's path as the kernel tells it; the same in two hierarchies if they nest alike.
    pub(super) path: PathBuf,
}

/// One line of `/proc/self/cgroup`.
struct Member {
    controllers: Vec<Vec<u8>>,
    path: PathBuf,
}

/// One cgroup line of `/proc/self/mountinfo`.
struct Mount {
    version: Version,
    controllers: Vec<Vec<u8>>,
    root: PathBuf,
    point: PathBuf,
}

/// What the two files say.
pub(super) struct Hierarchies {
    root: PathBuf,
    members: Content<Vec<Member>>,
    mounts: Content<Vec<Mount>>,
}

impl Hierarchies {
    /// Reads both files below `root`.
    pub(super) fn read(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            members: read::bytes(&root.join("proc/self/cgroup")).parse(|file| members(&file)),
            mounts: read::mounts(&root.join("proc/self/mountinfo")).parse(|file| mounts(&file)),
        }
    }

    /// Where `name` keeps this process. `Missing`: no control group limits it.
    pub(super) fn controller(&self, name: &str) -> Content<Controller> {
        let members = match &self.members {
            Content::Is(members) => members,
            // A kernel without control groups.
            Content::Missing => return Content::Missing,
            Content::Garbled => return Content::Garbled,
        };
        let holds = |controllers: &[Vec<u8>]| controllers.iter().any(|c| c == name.as_bytes());
        let v1 = members.iter().find(|m| holds(&m.controllers));
        let v2 = || members.iter().find(|m| m.controllers.is_empty());
        let (version, member) = match (v1, v2()) {
            (Some(member), _) => (Version::V1, member),
            (None, Some(member)) => (Version::V2, member),
            (None, None) => return Content::Missing,
        };
        let Content::Is(mounts) = &self.mounts else {
            return Content::Garbled;
        };
        let candidates = mounts.iter().filter(|mount| {
            let shows = version == Version::V2 || holds(&mount.controllers);
            // A root that begins with `..` is above this namespace: where in it we are is not told.
            let ours = !mount.root.components().any(|c| c == Component::ParentDir);
            mount.version == version && shows && ours
        });
        match levels(candidates, &member.path) {
            Some(levels) => Content::Is(Controller {
                version,
                levels: levels
                    .iter()
                    .map(|level| below(&self.root, level))
                    .collect(),
                path: member.path.clone(),
            }),
            // The root group has no limits, so that it is not mounted hides nothing; of a root that
            // is only a namespace's no file tells.
            None if member.path == Path::new("/") => Content::Missing,
            None => Content::Garbled,
        }
    }
}

/// The folders from the mount point of the best mount to the process's own, or `None` without a mount.
fn levels<'a>(mounts: impl Iterator<Item = &'a Mount>, path: &Path) -> Option<Vec<PathBuf>> {
    // A mount shows the subtree from its root on. One that the process is in beats one that it is
    // not in; among those the largest view shows the most ancestors.
    let best = mounts.min_by_key(|mount| match path.strip_prefix(&mount.root) {
        Ok(_) => (0, mount.root.components().count()),
        Err(_) => (1, 0),
    })?;
    // Where the path is not below the root (a namespace hides one of the two, so that it reads `/` or
    // begins with `..`) the mount shows the process's own group.
    let inside = path.strip_prefix(&best.root).unwrap_or(Path::new(""));
    let mut levels = vec![best.point.clone()];
    let mut folder = best.point.clone();
    for component in inside.components() {
        let Component::Normal(name) = component else {
            break;
        };
        folder.push(name);
        levels.push(folder.clone());
    }
    Some(levels)
}

/// `path` as seen from `root`: nothing in the files leads out of it.
fn below(root: &Path, path: &Path) -> PathBuf {
    let mut folder = root.to_owned();
    folder.extend(
        path.components()
            .filter(|c| matches!(c, Component::Normal(_))),
    );
    folder
}

/// Lines of `id:controllers:path`. `None` if one is not.
fn members(file: &[u8]) -> Option<Vec<Member>> {
    lines(file)
        .map(|line| {
            let mut parts = line.splitn(3, |byte| *byte == b':');
            let id = parts.next()?;
            let controllers = list(parts.next()?);
            let path = parts.next()?;
            let sound = id.iter().all(u8::is_ascii_digit) && !id.is_empty();
            (sound && path.starts_with(b"/")).then(|| Member {
                controllers,
                path: PathBuf::from(OsStr::from_bytes(path)),
            })
        })
        .collect()
}

/// Lines of `id parent major:minor root point options [tags] - type source super-options`. `None` if
/// there is not a single one: every process has a root mount. Others than cgroups are left out.
fn mounts(file: &[u8]) -> Option<Vec<Mount>> {
    let mut any = false;
    let mut mounts = Vec::new();
    for line in lines(file) {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        // Six fields stand before the tags, so no tag or path is taken for the separator.
        let Some(at) = words.iter().skip(6).position(|word| *word == b"-") else {
            continue;
        };
        let [.., kind, _, options] = words.as_slice() else {
            continue;
        };
        any |= words.len() == 6 + at + 4;
        let version = match *kind {
            b"cgroup" => Version::V1,
            b"cgroup2" => Version::V2,
            _ => continue,
        };
        mounts.push(Mount {
            version,
            controllers: list(options),
            root: unescape(words[3]),
            point: unescape(words[4]),
        });
    }
    any.then_some(mounts)
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

fn list(words: &[u8]) -> Vec<Vec<u8>> {
    let words = words
        .split(|byte| *byte == b',')
        .filter(|word| !word.is_empty());
    words.map(<[u8]>::to_vec).collect()
}

/// Undoes the octal escapes of space, tab, newline and backslash in the paths of the mount table.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}
