//! Brings together what flags, environment and file say, the first of them winning.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::kind::Kind;
use super::table::{Spec, TABLE};
use super::value::MASK;
use super::{SettingsError, VERSION};

/// The variable that names the file.
const CONFIG_ENV: &str = "ODIN_WS_CONFIG";

/// What the command line asks for, apart from settings.
#[derive(Debug)]
pub(super) enum Asked {
    /// To run, or to print what it would run with.
    Settings {
        /// Whether to print only.
        print: bool,
        /// What was said.
        gathered: Gathered,
    },
    /// The help or version, rendered.
    Text(String),
}

/// A value as it was given.
#[derive(Debug)]
struct Given {
    text: String,
    /// Whether it came as an array.
    list: bool,
    /// For messages: `--listen`, `ODIN_WS_LISTEN`, `odin.toml`.
    origin: String,
    /// Plain `NATS_URL` is there for other programs too, and is no contradiction to anything.
    ambient: bool,
}

/// All values that were given, by name of the setting.
#[derive(Debug, Default)]
pub(super) struct Gathered(BTreeMap<&'static str, Given>);

impl Gathered {
    /// Where `name` was set, other than by default and plain `NATS_URL`.
    pub(super) fn explicit(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .filter(|given| !given.ambient)
            .map(|given| given.origin.as_str())
    }

    /// The value of `name`.
    pub(super) fn parse<K: Kind>(
        &self,
        name: &'static str,
        default: &str,
        kind: &K,
    ) -> Result<K::Value, SettingsError> {
        let (text, origin, value) = match self.0.get(name) {
            None if default.is_empty() => (
                default,
                "the default",
                kind.unset().or_else(|| kind.parse(default)),
            ),
            None => (default, "the default", kind.parse(default)),
            Some(given) => {
                let fits = K::LIST || !given.list;
                (
                    given.text.as_str(),
                    given.origin.as_str(),
                    kind.parse(&given.text).filter(|_| fits),
                )
            }
        };
        value.ok_or_else(|| {
            if K::SECRET && text.contains(MASK) {
                let message = format!(
                    "{name}: {MASK} (from {origin}) is what --print-config shows instead of a secret; give the secret"
                );
                return SettingsError::new(&[name], message);
            }
            let shown = if K::SECRET {
                "the value".to_owned()
            } else {
                format!("`{text}`")
            };
            SettingsError::new(
                &[name],
                format!("{name}: {shown} (from {origin}) is not {}", kind.accepts()),
            )
        })
    }

    fn add(&mut self, name: &'static str, text: String, list: bool, origin: &str) {
        let origin = origin.to_owned();
        self.0.entry(name).or_insert(Given {
            text,
            list,
            origin,
            ambient: false,
        });
    }
}

/// Reads flags, environment and file, in this order of precedence.
pub(super) fn gather(
    args: impl Iterator<Item = OsString>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Asked, SettingsError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            let text = error.render().to_string();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Asked::Text(text)),
                _ => Err(SettingsError::new(
                    &[],
                    text.trim_end().trim_start_matches("error: ").to_owned(),
                )),
            };
        }
    };
    let mut gathered = Gathered::default();
    flags(&matches, &mut gathered);
    let config_env = environment(env, &mut gathered)?;
    let config = matches.get_one::<String>("config").cloned().or(config_env);
    if let Some(path) = config {
        file(&path, &mut gathered)?;
    }
    // It is there for other programs too: the embedded source must not stumble over it.
    let embedded = gathered
        .0
        .get("source")
        .is_none_or(|given| given.text == "embedded");
    if let Some(given) = gathered.0.remove(NATS_URL).filter(|_| !embedded) {
        gathered.0.entry("nats_url").or_insert(given);
    }
    Ok(Asked::Settings {
        print: matches.get_flag("print-config"),
        gathered,
    })
}

/// Plain `NATS_URL` while it is not known whether anything else gives `nats_url`.
const NATS_URL: &str = "NATS_URL";

/// The command line, made from the table.
fn command() -> Command {
    let mut command = Command::new("odin-ws")
        .version(VERSION)
        .about("Delivers messages from NATS, JetStream or itself to WebSocket clients")
        .after_help(super::AFTER_HELP)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(NonEmptyStringValueParser::new())
                .help(format!(
                    "Read settings from this TOML file, - for standard input [env: {CONFIG_ENV}]"
                )),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the effective settings as TOML, without secrets, and exit"),
        );
    for spec in TABLE {
        command = if is_switch(spec) {
            let negative = format!("no-{}", &spec.flag()[2..]);
            let conflict = format!("no_{}", spec.name);
            command
                .arg(
                    argument(spec)
                        .action(ArgAction::SetTrue)
                        .conflicts_with(&conflict),
                )
                .arg(
                    Arg::new(conflict)
                        .long(negative)
                        .help_heading(spec.group)
                        .action(ArgAction::SetTrue)
                        .help(format!("The opposite of {}", spec.flag())),
                )
        } else {
            command.arg(
                argument(spec)
                    .value_name(spec.value_name)
                    .allow_hyphen_values(true),
            )
        };
    }
    command
}

/// A switch is given by `--name` or `--no-name`, without a value.
fn is_switch(spec: &Spec) -> bool {
    spec.value_name.is_empty()
}

fn argument(spec: &Spec) -> Arg {
    let default = match spec.default {
        "" => String::new(),
        text => format!(" [default: {text}]"),
    };
    Arg::new(spec.name)
        .long(spec.flag()[2..].to_owned())
        .help_heading(spec.group)
        .help(format!(
            "{}{default} [env: {}]",
            spec.help.trim(),
            spec.env()
        ))
}

fn flags(matches: &ArgMatches, gathered: &mut Gathered) {
    for spec in TABLE {
        if is_switch(spec) {
            let negative = format!("no_{}", spec.name);
            if matches.get_flag(spec.name) {
                gathered.add(spec.name, "true".to_owned(), false, &spec.flag());
            } else if matches.get_flag(&negative) {
                let origin = format!("--{}", negative.replace('_', "-"));
                gathered.add(spec.name, "false".to_owned(), false, &origin);
            }
        } else if let Some(text) = matches.get_one::<String>(spec.name) {
            gathered.add(spec.name, text.clone(), false, &spec.flag());
        }
    }
}

/// Takes the variables that are settings, and returns the one that names the file.
fn environment(
    env: impl Iterator<Item = (OsString, OsString)>,
    gathered: &mut Gathered,
) -> Result<Option<String>, SettingsError> {
    let mut config = None;
    for (name, value) in env {
        let Some(name) = name.to_str() else { continue };
        let ours = name.strip_prefix("ODIN_WS_");
        if (ours.is_none() && name != NATS_URL) || is_service_link(name) {
            continue;
        }
        let spec = TABLE.iter().find(|spec| spec.env() == name);
        if spec.is_none() && name != NATS_URL && name != CONFIG_ENV {
            let message = format!("{name}: there is no such setting; see --help for all of them");
            return Err(SettingsError::new(&[], message));
        }
        let key = spec.map_or(name, |spec| spec.name);
        let Some(text) = value.to_str() else {
            return Err(SettingsError::new(
                &[],
                format!("{key}: the value of {name} is not UTF-8"),
            ));
        };
        // Compose files and manifests pass an empty variable for "not set".
        if text.is_empty() {
            continue;
        }
        match spec {
            Some(spec) => gathered.add(spec.name, text.to_owned(), false, name),
            None if name == CONFIG_ENV => config = Some(text.to_owned()),
            None => {
                gathered.add(NATS_URL, text.to_owned(), false, name);
                if let Some(given) = gathered.0.get_mut(NATS_URL) {
                    given.ambient = true;
                }
            }
        }
    }
    Ok(config)
}

/// Whether Kubernetes or Docker made this variable for a service named `odin-ws...`: such as
/// `ODIN_WS_SERVICE_HOST`, `ODIN_WS_SERVICE_PORT_HTTP`, `ODIN_WS_PORT`, `ODIN_WS_PORT_3004_TCP_ADDR`.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Reads the file.
fn file(path: &str, gathered: &mut Gathered) -> Result<(), SettingsError> {
    let text = match path {
        "-" => std::io::read_to_string(std::io::stdin()),
        path => std::fs::read_to_string(path),
    };
    let origin = if path == "-" { "standard input" } else { path };
    let text = text.map_err(|error| {
        SettingsError::new(&[], format!("config: cannot read {origin}: {error}"))
    })?;
    let table = text.parse::<toml::Table>().map_err(|error| {
        // The error's own text quotes the line, which may hold a secret.
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        SettingsError::new(
            &[],
            format!("config: {origin} line {line}: {}", error.message()),
        )
    })?;
    for (key, value) in table {
        let Some(spec) = TABLE.iter().find(|spec| spec.name == key) else {
            let message = format!(
                "{key}: {origin} has this key, but there is no such setting; see --help for all of them"
            );
            return Err(SettingsError::new(&[], message));
        };
        let Some((text, list)) = toml_text(&value) else {
            let message = format!(
                "{key}: {origin} has a {} where a plain value is expected",
                value.type_str()
            );
            return Err(SettingsError::new(&[spec.name], message));
        };
        gathered.add(spec.name, text, list, origin);
    }
    Ok(())
}

/// A TOML value as the text that a flag would have, and whether it is an array.
fn toml_text(value: &toml::Value) -> Option<(String, bool)> {
    match value {
        toml::Value::String(text) => Some((text.clone(), false)),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
            Some((value.to_string(), false))
        }
        toml::Value::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect();
            Some((texts?.join(","), true))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
