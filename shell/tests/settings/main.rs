//! Settings as a user meets them: what flags, environment and file become, what is refused, and what
//! is shown.

mod accepted;
mod refused;
mod shown;

use std::ffi::OsString;

use odin_shell::settings::{Loaded, Settings, SettingsError};

fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
    let args = std::iter::once("odin-ws").chain(args.iter().copied());
    let env = env
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Settings::load(args.map(OsString::from), env)
}

fn run(args: &[&str], env: &[(&str, &str)]) -> Settings {
    match load(args, env) {
        Ok(Loaded::Run(settings)) => *settings,
        other => panic!("{args:?} {env:?}: {other:?}"),
    }
}

fn print(args: &[&str], env: &[(&str, &str)]) -> String {
    match load(args, env) {
        Ok(Loaded::Print(text)) => text,
        other => panic!("{args:?} {env:?}: {other:?}"),
    }
}

fn refusal(args: &[&str], env: &[(&str, &str)]) -> String {
    match load(args, env) {
        Err(error) => error.to_string(),
        other => panic!("{args:?} {env:?}: {other:?}"),
    }
}

/// A file that holds `text`, for `--config`.
fn file(text: &str) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    file.into_temp_path()
}

fn with_file(text: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
    let path = file(text);
    let path = path.to_str().expect("a UTF-8 path");
    load(&[&["--config", path], args].concat(), env)
}
