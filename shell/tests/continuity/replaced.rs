//! A stream that is not the same any more, or whose server stops.

use async_nats::jetstream::stream;

use crate::support::nats::{NatsServer, Version};
use crate::with_both_servers;
use crate::world::{World, config, context};

with_both_servers!(
    recreated_with_as_many_messages,
    a_memory_store_lost_by_a_restart,
    regrown_where_the_last_message_is_superseded,
    lame_duck,
);

async fn recreated_with_as_many_messages(version: Version) {
    let mut world = World::start(version, config()).await;
    world.cut().await;
    let deleted = world.context.delete_stream("TEST").await;
    assert!(deleted.expect("it can be deleted").success);
    world
        .context
        .create_stream(config())
        .await
        .expect("a stream");
    for channel in ["A", "B", "A", "B"] {
        world.publish(channel).await;
    }
    world.restore();
    let lines = ["reset stream_recreated", "A 3<null", "B 4<null", "ready"];
    world.expect(&lines).await;
    world.expect_next_whole("A", 3).await;
}

async fn a_memory_store_lost_by_a_restart(version: Version) {
    let config = stream::Config {
        storage: stream::StorageType::Memory,
        ..config()
    };
    let mut world = World::start(version, config).await;
    world.nats.restart();
    // The source makes the stream again.
    world.expect(&["reset stream_recreated", "ready"]).await;
    world.context = context(&world.nats).await;
    world.expect_next_whole("A", 0).await;
}

async fn regrown_where_the_last_message_is_superseded(version: Version) {
    let last_values = stream::Config {
        max_messages_per_subject: 1,
        ..config()
    };
    let mut world = World::start(version, last_values).await;
    world.nats.kill();
    let older = world.nats.fork();
    world.nats.restart();
    world.context = context(&world.nats).await;
    for (channel, expected) in [("C", "C 4<0"), ("B", "B 5<2"), ("A", "A 6<3")] {
        world.publish(channel).await;
        world.expect(&[expected]).await;
    }
    // In its place one that grew otherwise: of what was taken no message is left but another C at 5.
    world.cut().await;
    world.nats.kill();
    world.nats.restore(older);
    world.nats.restart();
    world.context = context(&world.nats).await;
    for channel in ["B", "C", "D", "B", "A"] {
        world.publish(channel).await;
    }
    world.restore();
    let lines = world.lines_until(|line| line == "ready").await;
    let expected = [
        "reset stream_rolled_back",
        "C 5<null",
        "D 6<null",
        "B 7<null",
        "A 8<null",
        "ready",
    ];
    assert_eq!(lines, expected);
}

async fn lame_duck(version: Version) {
    let nats = NatsServer::configured_version(
        version,
        "lame_duck_grace_period: \"100ms\"\nlame_duck_duration: \"30s\"",
    );
    let mut world = World::on(nats, config()).await;
    let pid = world.nats.pid();
    let signalled = std::process::Command::new("kill")
        .args(["-USR2", &pid.to_string()])
        .status();
    assert!(signalled.expect("kill is there").success());
    world.running.status_is(|status| !status.connected).await;
    world.nats.ended();
    world.nats.restart();
    world.context = context(&world.nats).await;
    world.expect_next_whole("A", 3).await;
}
