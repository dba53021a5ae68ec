//! Samples to pressure: thresholds, times, and what is unknown.

use odin_core::config::GateConfig;
use odin_core::load::{Load, Sample};
use odin_core::reason::Refusal;
use odin_core::time::Instant;

fn cpu(permille: Option<u32>) -> Sample {
    Sample {
        cpu_permille: permille,
        ..Sample::default()
    }
}

fn memory(bytes: Option<u64>) -> Sample {
    Sample {
        memory_bytes: bytes,
        memory_limit: Some(10_000),
        ..Sample::default()
    }
}

/// Feeds `(second, sample, expected refusal after it)`.
fn run(config: GateConfig, steps: &[(u64, Sample, Option<Refusal>)]) {
    let mut load = Load::new(&config);
    for (second, sample, expected) in steps {
        load.sample(Instant::from_millis(second * 1000), *sample);
        assert_eq!(load.refusal(), *expected, "at {second} s after {sample:?}");
        assert_eq!(load.last(), *sample);
    }
}

const CPU: Option<Refusal> = Some(Refusal::Cpu);
const MEMORY: Option<Refusal> = Some(Refusal::Memory);

#[test]
fn cpu_refuses_after_5_s_above_and_admits_after_5_s_below() {
    run(
        GateConfig::default(),
        &[
            (0, cpu(Some(901)), None),
            (4, cpu(Some(999)), None),
            (5, cpu(Some(901)), CPU),
            // Between the thresholds nothing changes, and the time below begins anew.
            (6, cpu(Some(799)), CPU),
            (10, cpu(Some(800)), CPU),
            (11, cpu(Some(799)), CPU),
            (15, cpu(Some(0)), CPU),
            (16, cpu(Some(799)), None),
        ],
    );
}

#[test]
fn cpu_at_the_threshold_is_not_above_and_one_pause_begins_anew() {
    run(
        GateConfig::default(),
        &[
            (0, cpu(Some(1000)), None),
            (4, cpu(Some(900)), None),
            (5, cpu(Some(1000)), None),
            (9, cpu(Some(1000)), None),
            (10, cpu(Some(1000)), CPU),
        ],
    );
}

#[test]
fn memory_refuses_at_once_and_admits_after_5_s_below() {
    run(
        GateConfig::default(),
        &[
            (0, memory(Some(9_000)), None),
            (1, memory(Some(9_001)), MEMORY),
            (2, memory(Some(8_500)), MEMORY),
            (60, memory(Some(8_500)), MEMORY),
            (61, memory(Some(8_490)), MEMORY),
            // 84.91 % counts as 85.0 %: rounding is toward refusing.
            (62, memory(Some(8_491)), MEMORY),
            (63, memory(Some(8_490)), MEMORY),
            (67, memory(Some(8_490)), MEMORY),
            (68, memory(Some(0)), None),
        ],
    );
}

#[test]
fn unknown_never_refuses() {
    let steps: Vec<_> = (0..100).map(|s| (s, Sample::default(), None)).collect();
    run(GateConfig::default(), &steps);
    // Nor does it count as "above" between two samples that are.
    run(
        GateConfig::default(),
        &[
            (0, cpu(Some(1000)), None),
            (3, cpu(None), None),
            (6, cpu(Some(1000)), None),
            (11, cpu(Some(1000)), CPU),
        ],
    );
}

#[test]
fn unknown_never_reads_as_healthy() {
    run(
        GateConfig::default(),
        &[
            (0, memory(Some(9_500)), MEMORY),
            (1, memory(None), MEMORY),
            (100, memory(None), MEMORY),
            (101, memory(Some(0)), MEMORY),
            (104, memory(None), MEMORY),
            (106, memory(Some(0)), MEMORY),
            (111, memory(Some(0)), None),
        ],
    );
}

#[test]
fn a_limit_that_is_unknown_or_zero_makes_memory_unknown() {
    for limit in [None, Some(0)] {
        let sample = Sample {
            memory_bytes: Some(u64::MAX),
            memory_limit: limit,
            ..Sample::default()
        };
        assert_eq!(sample.memory_permille(), None);
        run(GateConfig::default(), &[(0, sample, None)]);
    }
    let huge = Sample {
        memory_bytes: Some(u64::MAX),
        memory_limit: Some(1),
        ..Sample::default()
    };
    assert_eq!(huge.memory_permille(), Some(u64::MAX));
}

#[test]
fn zero_turns_a_rule_off() {
    let config = GateConfig {
        cpu_refuse_percent: 0,
        memory_refuse_percent: 0,
        ..GateConfig::default()
    };
    let full = Sample {
        cpu_permille: Some(5_000),
        memory_bytes: Some(20),
        memory_limit: Some(10),
    };
    run(config, &[(0, full, None), (10, full, None)]);
}

#[test]
fn a_lower_threshold_that_is_off_or_above_is_the_upper_one() {
    for admit in [0, 99] {
        let config = GateConfig {
            memory_admit_percent: admit,
            ..GateConfig::default()
        };
        run(
            config,
            &[
                (0, memory(Some(9_001)), MEMORY),
                (1, memory(Some(8_990)), MEMORY),
                (6, memory(Some(8_990)), None),
            ],
        );
    }
}

#[test]
fn a_clock_that_goes_back_only_delays() {
    run(
        GateConfig::default(),
        &[
            (100, cpu(Some(1000)), None),
            (10, cpu(Some(1000)), None),
            (104, cpu(Some(1000)), None),
            (105, cpu(Some(1000)), CPU),
        ],
    );
}
