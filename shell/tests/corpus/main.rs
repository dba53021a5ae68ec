//! Replays the corpora of the fuzzer, so that what it once found stays fixed without a nightly compiler.

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
