//! What a delivery costs in allocations: nothing, however many subscribers there are.

#[path = "../benches/machines/world.rs"]
#[allow(dead_code, unreachable_pub)]
mod world;

use allocation_counter::measure;
use world::World;

const SUBSCRIBERS: u32 = 1_000;

/// A world in which each buffer has the size that it will need.
fn warm(subscribers: u32) -> World {
    let mut world = World::with_subscribers(subscribers, "BTC.trade");
    for _ in 0..3 {
        for _ in 0..8 {
            world.publish("BTC.trade");
        }
        assert_eq!(world.flush(), 8 * u64::from(subscribers));
    }
    world
}

#[test]
fn a_delivery_allocates_nothing() {
    let mut world = warm(SUBSCRIBERS);
    for together in [1, 8] {
        for _ in 0..together {
            world.publish("BTC.trade");
        }
        let mut delivered = 0;
        let allocations = measure(|| delivered = world.flush());
        assert_eq!(delivered, together * u64::from(SUBSCRIBERS));
        assert_eq!(
            (allocations.count_total, allocations.bytes_total),
            (0, 0),
            "{together} messages to each"
        );
    }
}

#[test]
fn a_publication_allocates_no_more_for_a_thousand_subscribers_than_for_one() {
    const PUBLICATIONS: u64 = 1_000;
    let [one, thousand] = [1, SUBSCRIBERS].map(|subscribers| {
        let mut world = warm(subscribers);
        let allocations = measure(|| {
            for _ in 0..PUBLICATIONS {
                world.publish("BTC.trade");
                assert_eq!(world.flush(), u64::from(subscribers));
            }
        });
        allocations.count_total
    });
    assert_eq!(one, thousand);
    // The message's frame and who shares it, and the growth of the log.
    assert!(one <= 3 * PUBLICATIONS, "{one}");
}

#[test]
fn a_name_that_is_only_subscribed_costs_the_same_whatever_patterns_match_it() {
    const NAMES: u64 = 1_000;
    let [none, many] = [0, 1_024_u32].map(|patterns| {
        let mut world = World::new();
        for number in 0..patterns {
            // Ten tokens of which each is `a` or `*`: every one of them matches every name.
            let token = |at: u32| if number >> at & 1 == 0 { "a." } else { "*." };
            let pattern: String = (0..10).map(token).collect();
            let conn = world.open();
            world.subscribe(conn, &format!("{pattern}>"));
        }
        let conns: Vec<_> = (0..NAMES).map(|_| world.open()).collect();
        let allocations = measure(|| {
            for (at, conn) in conns.into_iter().enumerate() {
                world.subscribe(conn, &format!("a.a.a.a.a.a.a.a.a.a.n{at}"));
            }
        });
        allocations.bytes_current
    });
    // What the trees of names hold differs by a few nodes.
    assert!(
        many.abs_diff(none) < 16 * NAMES,
        "{none} bytes, {many} beside patterns"
    );
}
