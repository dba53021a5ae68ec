//! Whatever flags, environment and file say, it is taken or refused, and what `--print-config` prints reads
//! back as the same.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use odin_shell::settings::{Loaded, MASK, Settings};
use tempfile::NamedTempFile;

/// The line between flags and variables, one a line each, and the file.
const FILE: &[u8] = b"\n---\n";

/// Loads the settings that the bytes are: lines that begin with `--` are flags, each with its value behind
/// the first space, others are `NAME=value` of the environment; behind a line `---` is the file. Says
/// what came of it.
pub(crate) fn settings(bytes: &[u8]) -> &'static str {
    let at = bytes.windows(FILE.len()).position(|part| part == FILE);
    let (lines, file) = match at {
        Some(at) => (&bytes[..at], Some(&bytes[at + FILE.len()..])),
        None => (bytes, None),
    };
    let mut args = vec![OsString::from("odin-ws")];
    let mut env = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        // Files of this machine are not read.
        if line
            .windows(6)
            .any(|part| part.eq_ignore_ascii_case(b"config"))
        {
            continue;
        }
        let (front, behind) = split(line, if line.starts_with(b"--") { b' ' } else { b'=' });
        match (line.starts_with(b"--"), behind) {
            (true, None) => args.push(front),
            (true, Some(value)) => args.extend([front, value]),
            (false, None) => {}
            (false, Some(value)) => env.push((front, value)),
        }
    }
    let file = file.map(written);
    if let Some(file) = &file {
        args.extend(["--config".into(), file.path().into()]);
    }
    let loaded = Settings::load(args.into_iter(), env.into_iter());
    match loaded {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            "refused"
        }
        Ok(Loaded::Print(_)) => "printed",
        Ok(Loaded::Run(settings)) => {
            reads_back(&settings);
            "taken"
        }
    }
}

fn split(line: &[u8], at: u8) -> (OsString, Option<OsString>) {
    let mut parts = line.splitn(2, |byte| *byte == at);
    let mut part = || parts.next().map(|part| OsString::from_vec(part.to_vec()));
    (part().unwrap_or_default(), part())
}

fn written(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("it can be written");
    file
}

/// What is printed is a file that gives the same settings, but for secrets, which are masked.
fn reads_back(settings: &Settings) {
    const SECRET: &str = "s3cr3t";
    let printed = settings.to_toml();
    // A secret has to be put in where its mask is. What only looks like one, in a path, is changed with them.
    let with_secrets = printed.replace(MASK, SECRET);
    let file = written(with_secrets.as_bytes());
    let args = ["odin-ws".into(), "--config".into(), file.path().into()];
    match Settings::load(args.into_iter(), std::iter::empty()) {
        Ok(Loaded::Run(again)) => {
            let again_printed = again.to_toml().replace(SECRET, MASK);
            assert_eq!(again_printed, printed.replace(SECRET, MASK));
            if !printed.contains(MASK) {
                assert_eq!(*again, *settings, "{printed}");
            }
        }
        other => panic!("{other:?}:\n{printed}"),
    }
}
