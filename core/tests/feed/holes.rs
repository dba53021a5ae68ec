//! JetStream: what is missing between two messages and after the last one, and how it is announced where
//! it is much.

use std::time::Duration;

use odin_core::feed::{Input, Outcome, SeqRange, StreamInfo};
use odin_core::reason::LostReason;

use crate::driver::{Driver, stream};

/// A stream that carries other subjects as well.
fn shared(first_seq: u64, last_seq: u64, num_deleted: u64) -> StreamInfo {
    StreamInfo {
        covers_all: false,
        num_deleted,
        ..stream(first_seq, last_seq)
    }
}

/// A Feed that follows a stream with other subjects, and has taken its message 3.
fn following_shared() -> Driver {
    let mut d = Driver::following();
    d.reopen(shared(1, 3, 0), "open 3");
    d.expect_message(3, "odin.A", 0, &[]);
    d
}

fn range(from: u64, to: u64) -> SeqRange {
    SeqRange { from, to }
}

#[test]
fn a_gap_that_other_subjects_made_is_no_hole() {
    let mut d = following_shared();
    assert_eq!(
        d.expect_message(6, "odin.A", 0, &["deleted 4..5"]),
        Outcome::Held
    );
    let ranges = &[];
    d.expect(Input::Deleted { to: 5, ranges }, &["fetch"]);
    assert_eq!(
        d.expect_message(6, "odin.A", 0, &["#4 A 6<3"]),
        Outcome::Published(6)
    );
    d.expect_message(7, "odin.B", 0, &["#5 B 7<2"]);
    assert_eq!(d.feed.stats().lost, [0; LostReason::COUNT]);
}

#[test]
fn what_the_stream_deleted_within_a_gap_is_a_hole_and_nothing_else() {
    let mut d = following_shared();
    d.expect_message(12, "odin.A", 0, &["deleted 4..11"]);
    let ranges = &[range(2, 3), range(5, 6), range(9, 9), range(11, 12)];
    d.expect(Input::Deleted { to: 11, ranges }, &["fetch"]);
    let lines = [
        "#4 lost 5..6 discarded",
        "#5 lost 9..9 discarded",
        "#6 lost 11..11 discarded",
        "#7 A 12<3",
    ];
    d.expect_message(12, "odin.A", 0, &lines);
    assert_eq!(d.feed.stats().lost[LostReason::Discarded as usize], 4);
}

#[test]
fn one_answer_is_good_for_all_that_had_been_received() {
    let mut d = following_shared();
    d.expect_message(6, "odin.A", 4, &["deleted 4..5"]);
    // Up to 20 was received. 8, 10 and 20 were deleted after they had been sent, 9 before.
    let ranges = &[range(8, 10), range(15, 15), range(20, 20)];
    d.expect(Input::Deleted { to: 20, ranges }, &["fetch"]);
    d.expect_message(6, "odin.A", 3, &["#4 A 6<3"]);
    d.expect_message(8, "odin.A", 3, &["#5 A 8<6"]);
    d.expect_message(10, "odin.B", 2, &["#6 lost 9..9 discarded", "#7 B 10<2"]);
    d.expect_message(20, "odin.A", 1, &["#8 lost 15..15 discarded", "#9 A 20<8"]);
    // After that it is asked again.
    d.expect_message(22, "odin.A", 0, &["deleted 21..21"]);
}

#[test]
fn a_gap_that_cannot_be_asked_about_is_read_again() {
    let mut d = following_shared();
    d.expect_message(6, "odin.A", 0, &["deleted 4..5"]);
    d.expect(Input::Failed, &[]);
    d.expect_timeout(Duration::from_millis(50), &["read"]);
    d.expect(Input::Info(shared(1, 6, 1)), &["open 3"]);
    d.expect(Input::ConsumerOpened { pending: 2 }, &["read"]);
    d.expect(Input::Info(shared(1, 6, 1)), &["fetch"]);
    d.expect_message(3, "odin.A", 1, &[]);
    d.expect_message(6, "odin.A", 0, &["deleted 4..5"]);
    // A shell that does not answer counts as a failure.
    d.expect_timeout(Duration::from_secs(10), &[]);
    d.expect_timeout(Duration::from_millis(50), &["read"]);
}

#[test]
fn what_follows_the_last_message_and_is_gone_is_announced_when_it_is_quiet() {
    let mut d = Driver::following();
    // Once could be a replica that is behind.
    d.expect_tail(stream(1, 5), 0, 0, &[]);
    d.expect_tail(stream(1, 6), 0, 0, &["#4 lost 4..5 discarded"]);
    d.expect_tail(stream(1, 6), 0, 0, &["#5 lost 6..6 discarded"]);
    d.expect_tail(stream(1, 6), 0, 0, &[]);
    d.expect_message(7, "odin.A", 0, &["#6 A 7<3"]);
    d.expect_tail(stream(1, 7), 0, 0, &[]);
    d.expect_tail(stream(1, 7), 0, 0, &[]);
}

#[test]
fn what_is_on_its_way_is_not_missing() {
    let mut d = Driver::following();
    d.expect_tail(stream(1, 5), 1, 1, &[]);
    d.expect_message(4, "odin.A", 1, &["#4 A 4<3"]);
    d.expect_tail(stream(1, 5), 0, 1, &[]);
    d.expect_tail(stream(1, 5), 0, 1, &[]);
    d.expect_message(5, "odin.A", 0, &["#5 A 5<4"]);
}

#[test]
fn what_was_sent_and_never_came_leads_to_a_new_consumer() {
    let mut d = Driver::following();
    d.expect_tail(stream(1, 4), 1, 0, &[]);
    d.expect_tail(stream(1, 4), 1, 0, &["read"]);
    d.expect(Input::Info(stream(1, 4)), &["open 3"]);
    d.expect(Input::ConsumerOpened { pending: 2 }, &["read"]);
    d.expect(Input::Info(stream(1, 4)), &["fetch"]);
    d.expect_message(3, "odin.A", 1, &[]);
    d.expect_message(4, "odin.B", 0, &["#4 B 4<2"]);
}

#[test]
fn a_stream_that_was_replaced_shows_at_its_end() {
    for info in [
        StreamInfo {
            created: crate::driver::CREATED + 1,
            ..stream(1, 3)
        },
        stream(1, 2),
    ] {
        let mut d = Driver::following();
        d.expect_tail(info, 0, 0, &["read"]);
    }
}

#[test]
fn the_end_of_a_stream_with_other_subjects_is_asked_about() {
    let mut d = following_shared();
    d.expect_tail(shared(1, 9, 2), 0, 0, &[]);
    d.expect_tail(shared(1, 9, 2), 0, 0, &["deleted 4..9"]);
    let ranges = &[range(5, 5), range(8, 8)];
    d.expect(
        Input::Deleted { to: 9, ranges },
        &["#4 lost 5..5 discarded", "#5 lost 8..8 discarded", "fetch"],
    );
    d.expect_tail(shared(1, 9, 2), 0, 0, &[]);
    d.expect_message(10, "odin.A", 0, &["#6 A 10<3"]);
}

#[test]
fn what_was_announced_as_lost_is_not_delivered_any_more() {
    let mut d = Driver::following();
    d.expect_tail(stream(1, 5), 0, 0, &[]);
    d.expect_tail(stream(1, 5), 0, 0, &["#4 lost 4..5 discarded"]);
    // The replica was further behind than that.
    d.expect_message(5, "odin.A", 0, &[]);
    d.expect_message(6, "odin.A", 0, &["#5 A 6<3"]);
}

#[test]
fn many_holes_in_a_row_are_announced_by_few_notices() {
    let mut d = Driver::following();
    let last = 10_003;
    d.reopen(
        StreamInfo {
            num_deleted: 5_000,
            ..stream(1, last)
        },
        "open 3",
    );
    d.expect_message(3, "odin.A", 5_000, &[]);
    let (mut exact, mut order) = (0, 3);
    for seq in (5..=last).step_by(2) {
        let (_, lines) = d.deliver(seq, "odin.A", (last - seq) / 2);
        let gap = seq - 1;
        order += 2;
        let hole = format!("#{} lost {gap}..{gap} discarded", order - 1);
        let wide = format!("{hole} until {last}");
        let message = format!("#{order} A {seq}<{}", seq - 2);
        exact += u64::from(lines[0] == hole);
        // A hole that a notice spoke of already goes out for those who came after it.
        assert!(lines[0] == hole || lines[0] == wide, "{lines:?}");
        assert_eq!(lines[1..], [message]);
    }
    assert_eq!(exact, 16);
    let lost = LostReason::Discarded as usize;
    assert_eq!(d.feed.stats().lost[lost], 5_000);
    // With time, and beyond what the notice spoke of, they are exact again.
    d.now = d.now + Duration::from_secs(1);
    d.expect_message(
        last + 3,
        "odin.A",
        0,
        &[
            &format!("#{} lost {}..{} discarded", order + 1, last + 1, last + 2),
            &format!("#{} A {}<{last}", order + 2, last + 3),
        ],
    );
}

#[test]
fn holes_beyond_the_end_of_the_stream_as_it_was_known_are_spoken_of_ahead() {
    let mut d = Driver::following();
    let mut until = Vec::new();
    for n in 0..40 {
        let (_, lines) = d.deliver(5 + 2 * n, "odin.A", 0);
        until.extend(
            lines[0]
                .split_once(" until ")
                .map(|(_, until)| until.to_owned()),
        );
    }
    // 16 exact ones; the hole 36..36 is the first of the others.
    assert_eq!(until.len(), 24);
    assert!(
        until.iter().all(|until| *until == (36 + 4_096).to_string()),
        "{until:?}"
    );
}

#[test]
fn a_value_that_moved_while_the_snapshot_was_read_is_no_proof_of_what_is_between() {
    let mut d = Driver::jetstream();
    d.outputs(Input::Connected);
    d.outputs(Input::Info(stream(1, 10)));
    d.outputs(Input::ConsumerOpened { pending: 2 });
    d.expect(
        Input::Info(StreamInfo {
            num_deleted: 1,
            ..stream(1, 14)
        }),
        &["fetch"],
    );
    d.expect_message(4, "odin.A", 3, &["#1 A 4<null"]);
    d.expect_message(10, "odin.B", 2, &["#2 B 10<null"]);
    // 11 to 13 were stored and superseded between the two readings.
    let epoch = d.epoch();
    let ready = format!("ready {epoch} head 14 from 14 durable");
    d.expect_message(
        14,
        "odin.A",
        0,
        &["#3 lost 11..13 discarded", "#4 A 14<4", &ready],
    );
}
