//! A stream that carries other subjects as well: their messages are no holes, ours that are gone are.

use async_nats::jetstream::stream;

use crate::support::nats::Version;
use crate::with_both_servers;
use crate::world::{World, config};

with_both_servers!(
    gaps_of_other_subjects_are_no_holes,
    what_is_deleted_among_other_subjects,
    the_end_deleted_among_other_subjects,
    superseded_among_other_subjects,
);

fn shared() -> stream::Config {
    stream::Config {
        subjects: vec!["odin.token.>".into(), "orders.>".into()],
        ..config()
    }
}

async fn gaps_of_other_subjects_are_no_holes(version: Version) {
    let mut world = World::start(version, shared()).await;
    let client = world.context.client();
    let mut expected = Vec::new();
    let mut prev = 3;
    for n in 0..3_000 {
        let ours = n % 3 == 1;
        let subject = if ours { "odin.token.A" } else { "orders.eu" };
        client
            .publish(subject, "1".into())
            .await
            .expect("it goes out");
        if ours {
            expected.push(format!("A {}<{prev}", n + 4));
            prev = n + 4;
        }
    }
    let lines = world.next_lines(expected.len()).await;
    assert_eq!(lines, expected);
    // By a new consumer too, and after a quiet time.
    world.cut().await;
    world.publish_to("orders.eu").await;
    let seq = world.publish("A").await;
    assert_eq!(seq, 3_005);
    world.publish_to("orders.eu").await;
    world.restore();
    world.expect(&["A 3005<3002"]).await;
    world.expect_next_whole("B", 2).await;
}

async fn what_is_deleted_among_other_subjects(version: Version) {
    let mut world = World::start(version, shared()).await;
    world.cut().await;
    for subject in [
        "orders.eu",
        "odin.token.A",
        "orders.eu",
        "odin.token.B",
        "orders.eu",
    ] {
        world.publish_to(subject).await;
    }
    world.publish("A").await;
    world.delete(5).await;
    world.restore();
    // 4 is another's, and so are 6 and 8.
    let lines = ["lost 5..5 discarded", "B 7<2", "A 9<3"];
    world.expect(&lines).await;
}

async fn the_end_deleted_among_other_subjects(version: Version) {
    let mut world = World::start(version, shared()).await;
    world.cut().await;
    for subject in [
        "orders.eu",
        "odin.token.A",
        "orders.eu",
        "odin.token.B",
        "orders.eu",
    ] {
        world.publish_to(subject).await;
    }
    world.delete(5).await;
    world.delete(7).await;
    world.restore();
    let lines = ["lost 5..5 discarded", "lost 7..7 discarded"];
    world.expect(&lines).await;
    world.expect_next_whole("A", 3).await;
}

async fn superseded_among_other_subjects(version: Version) {
    let config = stream::Config {
        max_messages_per_subject: 1,
        ..shared()
    };
    let mut world = World::start(version, config).await;
    world.cut().await;
    for subject in ["orders.eu", "odin.token.A", "orders.us", "odin.token.A"] {
        world.publish_to(subject).await;
    }
    world.restore();
    world.expect(&["lost 5..5 discarded", "A 7<3"]).await;
}
