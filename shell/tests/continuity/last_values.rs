//! A stream that keeps the last value of each subject: what is superseded before it is read is lost, what
//! was read and superseded since is not, and nobody is reset by a reconnect.

use async_nats::jetstream::stream;

use crate::support::nats::Version;
use crate::with_both_servers;
use crate::world::{World, config};

with_both_servers!(
    superseded_while_the_source_was_away,
    a_reconnect_resets_nobody,
    a_burst_on_one_subject,
    a_thousand_values_after_an_absence,
);

fn last_values() -> stream::Config {
    stream::Config {
        max_messages_per_subject: 1,
        ..config()
    }
}

async fn superseded_while_the_source_was_away(version: Version) {
    let mut world = World::start(version, last_values()).await;
    world.cut().await;
    for channel in ["A", "B", "A", "A", "B"] {
        world.publish(channel).await;
    }
    world.restore();
    world
        .expect(&["lost 4..6 discarded", "A 7<3", "B 8<2"])
        .await;
}

async fn a_reconnect_resets_nobody(version: Version) {
    let mut world = World::start(version, last_values()).await;
    // Nothing that was taken is left, or all of it, or a part.
    let mut last = (3, 2);
    for channels in [&["B", "A"][..], &["A"], &["B"], &[]] {
        world.cut().await;
        let mut expected = Vec::new();
        for channel in channels {
            let seq = world.publish(channel).await;
            let prev = if *channel == "A" {
                &mut last.0
            } else {
                &mut last.1
            };
            expected.push(format!("{channel} {seq}<{}", std::mem::replace(prev, seq)));
        }
        world.restore();
        world.running.status_is(|status| status.connected).await;
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        world.expect(&expected).await;
        last.0 = world.expect_next_whole("A", last.0).await;
    }
}

/// Every seq after 3 comes, or was named before what follows it. The notices that clients get.
fn check_all(lines: &[String], last_seq: u64) -> usize {
    let (mut next, mut told_until, mut notices) = (4, 0, 0);
    for line in lines {
        let seq_of = |text: &str| text.parse::<u64>().expect("a seq");
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "lost" {
            let (from, to) = words[1].split_once("..").expect("a range");
            assert_eq!(seq_of(from), next, "{line}");
            next = seq_of(to) + 1;
            // What a notice spoke of ahead is not told again.
            notices += usize::from(seq_of(to) > told_until);
            told_until = words.get(4).map_or(told_until, |until| seq_of(until));
        } else {
            let (seq, _) = words[1].split_once('<').expect("a message");
            assert_eq!(seq_of(seq), next, "{line}");
            next += 1;
        }
    }
    assert_eq!(next, last_seq + 1);
    notices
}

async fn a_burst_on_one_subject(version: Version) {
    let mut world = World::start(version, last_values()).await;
    let client = world.context.client();
    for _ in 0..2_000 {
        let payload = "\"burst\"".into();
        client
            .publish("odin.token.A", payload)
            .await
            .expect("it goes out");
    }
    // Stored after all of them, for it comes by the same connection.
    let last = world.publish("A").await;
    assert_eq!(last, 2_004);
    let lines = world
        .lines_until(|line| line.starts_with(&format!("A {last}<")))
        .await;
    let notices = check_all(&lines, last);
    assert!(notices <= 40, "{notices} notices for {} lines", lines.len());
}

async fn a_thousand_values_after_an_absence(version: Version) {
    let mut world = World::start(version, last_values()).await;
    world.cut().await;
    let client = world.context.client();
    for n in 0..2_000 {
        let channel = format!("odin.token.C{}", if n % 2 == 0 { n } else { 1 });
        client
            .publish(channel, "1".into())
            .await
            .expect("it goes out");
    }
    let last = world.publish("A").await;
    world.restore();
    let lines = world
        .lines_until(|line| line.starts_with(&format!("A {last}<")))
        .await;
    let notices = check_all(&lines, last);
    assert_eq!(
        lines.iter().filter(|line| line.starts_with('C')).count(),
        1_001
    );
    assert!(notices <= 20, "{notices} notices for {} lines", lines.len());
}
