//! Replays the corpora of the fuzzer, so that what it once found stays fixed without a nightly compiler; and
//! what its package promises.

#[path = "../../../fuzz/properties/cgroup.rs"]
mod cgroup;
#[path = "../../../fuzz/properties/frames.rs"]
mod frames;
#[path = "../../../fuzz/properties/replay.rs"]
mod replay;
#[path = "../../../fuzz/properties/server.rs"]
mod server;
#[path = "../../../fuzz/properties/settings.rs"]
mod settings;
#[path = "../../../fuzz/properties/token.rs"]
mod token;
#[path = "../../../fuzz/properties/upgrade.rs"]
mod upgrade;

use std::fs;
use std::path::Path;

use replay::replay;

#[test]
fn files_of_control_groups() {
    replay("cgroup", cgroup::cgroup);
}

#[test]
fn frames_of_a_client() {
    replay("frames", |bytes| {
        frames::frames(bytes).unwrap_or("none".to_owned())
    });
}

#[test]
fn flags_environment_and_file() {
    replay("settings", |bytes| settings::settings(bytes).to_owned());
}

#[test]
fn tokens() {
    replay("token", |bytes| {
        token::token(bytes).unwrap_or("none").to_owned()
    });
}

#[test]
fn upgrades() {
    replay("upgrade", |bytes| {
        upgrade::upgrade(bytes).unwrap_or("none".to_owned())
    });
}

/// Those of the workspace share its lints; the fuzzer is a workspace of its own, and ordinary tests do not compile it.
#[test]
fn every_package_refuses_unsafe_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = |path: &Path| -> Option<toml::Table> {
        let text = fs::read_to_string(path.join("Cargo.toml")).ok()?;
        Some(text.parse().expect("it is TOML"))
    };
    let refusal = "forbid".into();
    let workspace = manifest(&root).expect("the workspace");
    let lints = &workspace["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"], refusal);
    let mut packages = Vec::new();
    for entry in fs::read_dir(&root).expect("the repository") {
        let path = entry.expect("it can be listed").path();
        let Some(package) = manifest(&path) else {
            continue;
        };
        let name = path.file_name().expect("a name").to_string_lossy();
        let lints = package.get("lints").and_then(toml::Value::as_table);
        let lints = lints.unwrap_or_else(|| panic!("{name} has no lints"));
        let refuses = match lints.get("workspace") {
            Some(workspace) => *workspace == true.into(),
            None => lints["rust"]["unsafe_code"] == refusal,
        };
        assert!(refuses, "{name} may have unsafe code");
        packages.push(name.into_owned());
    }
    packages.sort();
    assert_eq!(packages, ["bench", "core", "fuzz", "shell", "sim"]);
}
