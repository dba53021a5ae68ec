//! What the stream loses while the source is away: by deletion, by purge, by its limits.

use std::time::Duration;

use async_nats::jetstream::stream;

use crate::support::nats::Version;
use crate::with_both_servers;
use crate::world::{World, config};

with_both_servers!(
    a_message_deleted_between_others,
    the_last_messages_deleted,
    a_message_deleted_after_it_was_delivered,
    purged_as_a_whole,
    purged_by_subject,
    purged_by_sequence,
    discarded_by_the_number_of_messages,
    discarded_by_bytes,
    discarded_by_age,
);

async fn a_message_deleted_between_others(version: Version) {
    let mut world = World::start(version, config()).await;
    world.cut().await;
    for channel in ["A", "B", "A", "B"] {
        world.publish(channel).await;
    }
    world.delete(5).await;
    world.restore();
    let lines = ["A 4<3", "lost 5..5 discarded", "A 6<4", "B 7<2"];
    world.expect(&lines).await;
}

async fn the_last_messages_deleted(version: Version) {
    let mut world = World::start(version, config()).await;
    world.cut().await;
    for channel in ["A", "B", "A"] {
        world.publish(channel).await;
    }
    world.delete(5).await;
    world.delete(6).await;
    world.restore();
    // Without a message that follows.
    world.expect(&["A 4<3", "lost 5..6 discarded"]).await;
    world.expect_next_whole("B", 2).await;
}

async fn a_message_deleted_after_it_was_delivered(version: Version) {
    let mut world = World::start(version, config()).await;
    world.delete(3).await;
    world.expect_next_whole("A", 3).await;
    // The last one that was taken is gone when the source looks for it.
    world.delete(4).await;
    world.cut().await;
    world.publish("B").await;
    world.restore();
    world.expect(&["B 5<2"]).await;
    world.expect_next_whole("A", 4).await;
}

async fn purged_as_a_whole(version: Version) {
    let mut world = World::start(version, config()).await;
    world.cut().await;
    for channel in ["A", "B"] {
        world.publish(channel).await;
    }
    let purged = world.stream().await.purge().await;
    assert_eq!(purged.expect("it can be purged").purged, 5);
    world.restore();
    world.expect(&["lost 4..5 discarded"]).await;
    world.expect_next_whole("A", 3).await;
}

async fn purged_by_subject(version: Version) {
    let mut world = World::start(version, config()).await;
    world.cut().await;
    for channel in ["A", "B", "A", "B"] {
        world.publish(channel).await;
    }
    let stream = world.stream().await;
    let purged = stream.purge().filter("odin.token.A").await;
    assert_eq!(purged.expect("it can be purged").purged, 4);
    world.restore();
    let lines = [
        "lost 4..4 discarded",
        "B 5<2",
        "lost 6..6 discarded",
        "B 7<5",
    ];
    world.expect(&lines).await;
    world.expect_next_whole("A", 3).await;
}

async fn purged_by_sequence(version: Version) {
    let mut world = World::start(version, config()).await;
    world.cut().await;
    for channel in ["A", "B", "A", "B"] {
        world.publish(channel).await;
    }
    let purged = world.stream().await.purge().sequence(6).await;
    assert_eq!(purged.expect("it can be purged").purged, 5);
    world.restore();
    let lines = ["lost 4..5 discarded", "A 6<3", "B 7<2"];
    world.expect(&lines).await;
}

async fn discarded_by_the_number_of_messages(version: Version) {
    let config = stream::Config {
        max_messages: 3,
        ..config()
    };
    let mut world = World::start(version, config).await;
    world.cut().await;
    for _ in 4..=10 {
        world.publish("A").await;
    }
    world.restore();
    let lines = ["lost 4..7 discarded", "A 8<3", "A 9<8", "A 10<9"];
    world.expect(&lines).await;
}

async fn discarded_by_bytes(version: Version) {
    let config = stream::Config {
        max_bytes: 3_000,
        ..config()
    };
    let mut world = World::start(version, config).await;
    world.cut().await;
    for _ in 4..=10 {
        world.publish_bytes("odin.token.A", 1_000).await;
    }
    // Two fit, with what the server stores beside them.
    world.restore();
    let lines = ["lost 4..8 discarded", "A 9<3", "A 10<9"];
    world.expect(&lines).await;
}

async fn discarded_by_age(version: Version) {
    let config = stream::Config {
        max_age: Duration::from_millis(500),
        ..config()
    };
    let mut world = World::start(version, config).await;
    world.cut().await;
    for channel in ["A", "B"] {
        world.publish(channel).await;
    }
    let stream = world.stream().await;
    while stream.get_info().await.expect("its state").state.messages > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.restore();
    world.expect(&["lost 4..5 discarded"]).await;
    world.expect_next_whole("A", 3).await;
}
