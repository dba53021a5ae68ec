//! Admission: every limit bites, says so, is counted, and can be turned off.

use std::net::IpAddr;
use std::time::Duration;

use odin_core::config::GateConfig;
use odin_core::gate::{Gate, RETRY_MAX, RETRY_STANDING};
use odin_core::load::Sample;
use odin_core::reason::Refusal;
use odin_core::record::Player;
use odin_core::time::Instant;
use proptest::prelude::*;

const OFF: GateConfig = GateConfig {
    connections_max: 0,
    accept_rate: 0,
    accept_burst: 0,
    ip_max_connections: 0,
    ip_accept_rate: 0,
    ip_accept_burst: 0,
    cpu_refuse_percent: 0,
    cpu_admit_percent: 0,
    memory_refuse_percent: 0,
    memory_admit_percent: 0,
    memory_shed_percent: 0,
};

fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn gate(config: GateConfig) -> Gate {
    Gate::new(config, 42, ms(0))
}

/// Admits and gives the reason of a refusal.
fn admit(gate: &mut Gate, now: Instant, peer: Option<IpAddr>) -> Result<(), Refusal> {
    gate.admit(now, peer).map_err(|refused| refused.reason)
}

fn refused(gate: &Gate, reason: Refusal) -> u64 {
    gate.stats().refused[reason as usize]
}

fn assert_standing(gate: &mut Gate, now: Instant, reason: Refusal) {
    let answers = [gate.admit(now, None), gate.would_admit(now)];
    for answer in answers {
        let refused = answer.expect_err("refused");
        assert_eq!(refused.reason, reason);
        assert!((RETRY_STANDING..RETRY_STANDING * 3).contains(&refused.retry_after));
    }
    assert_eq!(gate.closed_by(), Some(reason));
    assert!(!gate.is_open());
}

#[test]
fn capacity() {
    let mut gate = gate(GateConfig {
        connections_max: 100,
        ..OFF
    });
    for _ in 0..100 {
        assert_eq!(gate.would_admit(ms(0)), Ok(()));
        assert_eq!(gate.admit(ms(0), None), Ok(()));
    }
    assert_standing(&mut gate, ms(0), Refusal::Capacity);
    assert_eq!(gate.connections(), 100);
    assert_eq!(gate.stats().admitted, 100);
    assert_eq!(
        refused(&gate, Refusal::Capacity),
        1,
        "/admission counts nothing"
    );
    gate.closed(ms(1), None);
    assert!(gate.is_open());
    assert_eq!(gate.admit(ms(1), None), Ok(()));
    assert_eq!(admit(&mut gate, ms(1), None), Err(Refusal::Capacity));
}

#[test]
fn memory_and_cpu() {
    let mut gate = gate(GateConfig::default());
    let sample = |cpu, memory| Sample {
        cpu_permille: Some(cpu),
        memory_bytes: Some(memory),
        memory_limit: Some(100),
    };
    assert_eq!(gate.last_sample(), Sample::default());
    gate.sample(ms(0), sample(950, 95));
    assert_standing(&mut gate, ms(0), Refusal::Memory);
    gate.sample(ms(5_000), sample(950, 80));
    gate.sample(ms(10_000), sample(950, 80));
    assert_standing(&mut gate, ms(10_000), Refusal::Cpu);
    gate.sample(ms(11_000), sample(700, 80));
    gate.sample(ms(16_000), sample(700, 80));
    assert_eq!(gate.admit(ms(16_000), None), Ok(()));
    assert_eq!(gate.last_sample(), sample(700, 80));
    assert_eq!(refused(&gate, Refusal::Memory), 1);
    assert_eq!(refused(&gate, Refusal::Cpu), 1);
}

#[test]
fn draining_comes_first_and_stays() {
    let mut gate = gate(GateConfig {
        connections_max: 1,
        ..OFF
    });
    assert_eq!(gate.admit(ms(0), None), Ok(()));
    gate.drain();
    assert_standing(&mut gate, ms(0), Refusal::Draining);
    gate.closed(ms(1), None);
    assert_standing(&mut gate, ms(1_000_000), Refusal::Draining);
    assert!(gate.is_draining());
    assert_eq!(refused(&gate, Refusal::Draining), 2);
}

#[test]
fn zero_turns_everything_off() {
    let mut gate = gate(OFF);
    gate.sample(
        ms(0),
        Sample {
            cpu_permille: Some(9_999),
            memory_bytes: Some(200),
            memory_limit: Some(100),
        },
    );
    for _ in 0..10_000 {
        assert_eq!(gate.admit(ms(0), ip("192.0.2.1")), Ok(()));
    }
    assert_eq!(gate.connections(), 10_000);
    assert_eq!(
        gate.peers(),
        0,
        "no limit per address, nothing kept per address"
    );
}

#[test]
fn accept_rate_says_when_and_would_admit_takes_nothing() {
    let mut gate = gate(GateConfig {
        accept_rate: 10,
        accept_burst: 3,
        ..OFF
    });
    for _ in 0..3 {
        assert_eq!(gate.would_admit(ms(0)), Ok(()));
        assert_eq!(gate.admit(ms(0), None), Ok(()));
    }
    let asked = gate.would_admit(ms(0)).expect_err("no token");
    assert_eq!(asked.reason, Refusal::AcceptRate);
    let second = Duration::from_secs(1);
    let place = Duration::from_millis(100);
    assert!((place..place + second).contains(&asked.retry_after));
    for nth in 1..=20 {
        let refused = gate.admit(ms(0), None).expect_err("no token");
        assert_eq!(refused.reason, Refusal::AcceptRate);
        assert!((place * nth..place * nth + second).contains(&refused.retry_after));
    }
    assert!(gate.is_open(), "a rate passes by itself");
    assert_eq!(gate.admit(ms(100), None), Ok(()));
    assert_eq!(admit(&mut gate, ms(100), None), Err(Refusal::AcceptRate));
    assert_eq!(gate.admit(ms(200), None), Ok(()));
    assert_eq!(refused(&gate, Refusal::AcceptRate), 21);
}

/// 10,000 clients at once, each coming again when told: nobody is refused for long, and at no time
/// does a second bring many more than the rate.
#[test]
fn a_crowd_comes_back_spread_out() {
    let mut gate = gate(GateConfig {
        accept_rate: 1_000,
        accept_burst: 1_000,
        ..OFF
    });
    let mut coming: std::collections::BTreeSet<(Instant, u32)> =
        (0..10_000).map(|client| (ms(0), client)).collect();
    let mut per_second = vec![0u32; 60];
    let mut last = Instant::ZERO;
    while let Some((now, client)) = coming.pop_first() {
        per_second[(now.as_nanos() / 1_000_000_000) as usize] += 1;
        match gate.admit(now, None) {
            Ok(()) => last = now,
            Err(refused) => drop(coming.insert((now + refused.retry_after, client))),
        }
    }
    assert_eq!(gate.connections(), 10_000);
    assert!(
        per_second[1..].iter().all(|n| *n <= 1_200),
        "{per_second:?}"
    );
    assert!(last < ms(15_000), "{last:?}");
}

#[test]
fn a_crowd_too_large_for_the_line_is_spread_within_the_bound() {
    let mut gate = gate(GateConfig {
        accept_rate: 1,
        accept_burst: 1,
        ..OFF
    });
    assert_eq!(gate.admit(ms(0), None), Ok(()));
    let told: Vec<_> = (0..10_000)
        .map(|_| gate.admit(ms(0), None).expect_err("refused").retry_after)
        .collect();
    assert!(told.iter().all(|after| *after <= RETRY_MAX));
    let mut per_second = [0u32; 31];
    for after in &told {
        per_second[after.as_secs() as usize] += 1;
    }
    assert!(
        per_second[15..30].iter().all(|n| (550..=800).contains(n)),
        "{per_second:?}"
    );
    assert!(gate.would_admit(ms(0)).expect_err("refused").retry_after <= RETRY_MAX);
}

#[test]
fn jitter_depends_on_the_seed_only() {
    let told = |seed| {
        let mut gate = Gate::new(
            GateConfig {
                connections_max: 1,
                ..OFF
            },
            seed,
            ms(0),
        );
        assert_eq!(gate.admit(ms(0), None), Ok(()));
        (0..10)
            .map(|_| gate.admit(ms(0), None).expect_err("full").retry_after)
            .collect::<Vec<_>>()
    };
    assert_eq!(told(1), told(1));
    assert_ne!(told(1), told(2));
}

#[test]
fn connections_of_one_address() {
    let mut gate = gate(GateConfig {
        ip_max_connections: 2,
        ..OFF
    });
    let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
    assert_eq!(gate.admit(ms(0), one), Ok(()));
    // The same client, as a dual-stack socket shows it.
    assert_eq!(gate.admit(ms(0), ip("::ffff:192.0.2.1")), Ok(()));
    assert_eq!(admit(&mut gate, ms(0), one), Err(Refusal::IpCapacity));
    assert_eq!(gate.admit(ms(0), other), Ok(()));
    for _ in 0..5 {
        assert_eq!(gate.admit(ms(0), None), Ok(()), "exempt");
    }
    assert_eq!(gate.would_admit(ms(0)), Ok(()));
    gate.closed(ms(0), None);
    assert_eq!(admit(&mut gate, ms(0), one), Err(Refusal::IpCapacity));
    gate.closed(ms(0), one);
    assert_eq!(gate.admit(ms(0), one), Ok(()));
    assert_eq!(refused(&gate, Refusal::IpCapacity), 2);
    assert_eq!(Refusal::IpCapacity.status(), 429);
}

#[test]
fn an_ipv6_address_counts_as_its_64() {
    let mut gate = gate(GateConfig {
        ip_max_connections: 1,
        ..OFF
    });
    assert_eq!(gate.admit(ms(0), ip("2001:db8:1:2::1")), Ok(()));
    assert_eq!(
        admit(&mut gate, ms(0), ip("2001:db8:1:2:ffff::9")),
        Err(Refusal::IpCapacity)
    );
    assert_eq!(gate.admit(ms(0), ip("2001:db8:1:3::1")), Ok(()));
}

#[test]
fn rate_of_one_address() {
    let mut gate = gate(GateConfig {
        ip_accept_rate: 2,
        ip_accept_burst: 1,
        accept_rate: 100,
        accept_burst: 3,
        ..OFF
    });
    let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
    assert_eq!(gate.admit(ms(0), one), Ok(()));
    gate.closed(ms(0), one);
    for _ in 0..50 {
        let refused = gate.admit(ms(0), one).expect_err("over the rate");
        assert_eq!(refused.reason, Refusal::IpRate);
        assert!((500..1_500).contains(&refused.retry_after.as_millis()));
    }
    // What one address wants too much of is not taken from the others.
    assert_eq!(gate.admit(ms(0), other), Ok(()));
    assert_eq!(gate.admit(ms(0), None), Ok(()));
    assert_eq!(
        admit(&mut gate, ms(0), ip("192.0.2.3")),
        Err(Refusal::AcceptRate)
    );
    // Nor did the refusal for the common rate take the address's own token.
    assert_eq!(gate.admit(ms(10), ip("192.0.2.3")), Ok(()));
    assert_eq!(gate.admit(ms(500), one), Ok(()));
}

#[test]
fn an_address_is_forgotten_with_its_last_connection_and_a_full_bucket() {
    let mut gate = gate(GateConfig {
        ip_max_connections: 10,
        ip_accept_rate: 1,
        ip_accept_burst: 1,
        ..OFF
    });
    let one = ip("192.0.2.1");
    assert_eq!(gate.admit(ms(0), one), Ok(()));
    gate.closed(ms(1_000), one);
    assert_eq!(gate.peers(), 0);
    assert_eq!(gate.admit(ms(1_000), one), Ok(()));
    gate.closed(ms(1_500), one);
    assert_eq!(gate.peers(), 1, "its token is not back yet");
    assert_eq!(admit(&mut gate, ms(1_500), one), Err(Refusal::IpRate));
}

#[test]
fn the_table_of_addresses_is_bounded() {
    let mut gate = gate(GateConfig {
        ip_accept_rate: 1,
        ip_accept_burst: 1,
        ..OFF
    });
    let address = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
    let mut largest = 0;
    for n in 0..300_000 {
        assert_eq!(gate.admit(ms(0), address(n)), Ok(()));
        gate.closed(ms(0), address(n));
        largest = largest.max(gate.peers());
    }
    assert!(largest <= 2 * 65_536, "{largest}");
    // A second later all buckets are full again, and the next sweep leaves nothing behind.
    for n in 0..140_000 {
        assert_eq!(
            gate.admit(ms(2_000 + u64::from(n) * 10), address(n)),
            Ok(())
        );
        gate.closed(ms(2_000 + u64::from(n) * 10), address(n));
    }
    assert!(gate.peers() <= 1_024, "{}", gate.peers());
}

proptest! {
    /// Whatever happens: no panic, capacity holds, and the counts agree with a naive recount.
    #[test]
    fn accounting(steps in prop::collection::vec((0u8..4, 0u8..5, 0u64..3_000), 1..200)) {
        let mut gate = Gate::new(GateConfig {
            connections_max: 8,
            accept_rate: 5,
            accept_burst: 5,
            ip_max_connections: 3,
            ip_accept_rate: 2,
            ip_accept_burst: 2,
            ..GateConfig::default()
        }, 7, ms(0));
        gate.record(4_000);
        let mut open: Vec<Option<IpAddr>> = Vec::new();
        let (mut admitted, mut refused) = (0u64, 0u64);
        for (what, who, millis) in steps {
            // Times are drawn, not sorted: the clock goes back, too.
            let now = ms(millis);
            let peer = (who > 0).then(|| IpAddr::from([192, 0, 2, who]));
            match what {
                0 if !open.is_empty() => {
                    let peer = open.swap_remove(usize::from(who) % open.len());
                    gate.closed(now, peer);
                }
                _ => match gate.admit(now, peer) {
                    Ok(()) => {
                        open.push(peer);
                        admitted += 1;
                    }
                    Err(answer) => {
                        prop_assert!(answer.retry_after > Duration::ZERO);
                        prop_assert!(answer.retry_after <= RETRY_MAX);
                        refused += 1;
                    }
                },
            }
            let of = |peer| open.iter().filter(|p| **p == Some(peer)).count();
            prop_assert!(open.len() <= 8);
            prop_assert!((1..5u8).all(|who| of(IpAddr::from([192, 0, 2, who])) <= 3));
            prop_assert_eq!(gate.connections(), open.len() as u64);
            prop_assert_eq!(gate.stats().admitted, admitted);
            prop_assert_eq!(gate.stats().refused.iter().sum::<u64>(), refused);
        }
        let recording = gate.recording().expect("it is on");
        let mut player: Player<'_, Gate> = Player::new(&recording).expect("a checkpoint");
        player.run().expect("the recorded states");
        prop_assert_eq!(player.machine.state_hash(), gate.state_hash());
    }
}

#[test]
fn above_its_share_of_memory_those_who_take_nothing_are_let_go() {
    for (memory_shed_percent, used, sheds) in [(80, 800, false), (80, 801, true), (0, 999, false)] {
        let config = GateConfig {
            memory_shed_percent,
            ..OFF
        };
        let mut gate = Gate::new(config, 1, Instant::ZERO);
        assert!(!gate.sheds(), "nothing is known");
        let sample = Sample {
            memory_bytes: Some(used),
            memory_limit: Some(1000),
            ..Sample::default()
        };
        gate.sample(Instant::ZERO, sample);
        assert_eq!(gate.sheds(), sheds, "{used} of 1000");
    }
}
