//! The first message of a connection.

mod support;

use std::time::Duration;

use odin_core::config::Config;
use serde_json::json;
use support::World;

#[test]
fn a_welcome_names_the_session_the_epoch_and_the_limits() {
    let mut world = World::new();
    let client = world.open_raw();
    let got = world.take(client);
    let session = got[0]["session"].as_str().unwrap();
    assert_eq!(session.len(), 16);
    let expected = json!({"type":"welcome","session":session,"version":odin_core::VERSION,
        "epoch":"e1","ping_ms":25_000,"max_channels":256});
    assert_eq!(got, [expected]);
    let second = world.open_raw();
    assert_ne!(world.take(second)[0]["session"], session);
}

#[test]
fn before_the_source_is_ready_a_welcome_has_no_epoch() {
    let mut world = World::cold(Config {
        ping_interval: Duration::ZERO,
        channels_per_connection: 0,
        ..Config::default()
    });
    let client = world.open_raw();
    let got = world.take(client);
    assert_eq!(got.len(), 1);
    assert_eq!(
        (
            &got[0]["epoch"],
            &got[0]["ping_ms"],
            &got[0]["max_channels"]
        ),
        (&json!(null), &json!(0), &json!(0))
    );
}
