//! The bodies of the health endpoints, byte for byte, and what makes them change.

use std::time::Duration;

use odin_core::gate::Refused;
use odin_core::load::Sample;
use odin_core::reason::Refusal;
use odin_shell::health::{self, Answer, Inputs, Source};
use serde_json::Value;

const MIB: u64 = 1024 * 1024;

/// A server that is well.
fn well() -> Inputs {
    Inputs {
        source: Source::Connected,
        connections: 25,
        connections_max: 100,
        sample: Sample {
            cpu_permille: Some(123),
            memory_bytes: Some(128 * MIB),
            memory_limit: Some(512 * MIB),
        },
        closed_by: None,
        uptime: Duration::from_millis(61_999),
    }
}

fn memory(mib: u64) -> Sample {
    Sample {
        memory_bytes: Some(mib * MIB),
        memory_limit: Some(1000 * MIB),
        ..well().sample
    }
}

fn parsed(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

fn list(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect()
}

#[test]
fn the_exact_shape() {
    let answer = health::health(&well());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.retry_after, None);
    assert_eq!(
        answer.body,
        concat!(
            r#"{"status":"healthy","healthy":true,"checks":{"#,
            r#""nats":{"status":"connected","healthy":true},"#,
            r#""capacity":{"current":25,"max":100,"percentage":25.0,"healthy":true},"#,
            r#""memory":{"used_mb":128.0,"limit_mb":512.0,"percentage":25.0,"healthy":true},"#,
            r#""cpu":{"percentage":12.3,"healthy":true}},"#,
            r#""warnings":[],"errors":[],"uptime":61}"#
        )
    );
}

/// What is the matter, and the status, the checks that are not healthy, the warnings and the errors.
type Case = (
    Inputs,
    u16,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

fn cases() -> Vec<Case> {
    let of = |sample| Inputs { sample, ..well() };
    let cpu = |permille| {
        of(Sample {
            cpu_permille: permille,
            ..well().sample
        })
    };
    let connections = |connections, connections_max| Inputs {
        connections,
        connections_max,
        ..well()
    };
    let unknown_memory = of(Sample {
        memory_bytes: None,
        ..well().sample
    });
    let unknown_limit = of(Sample {
        memory_limit: None,
        ..well().sample
    });
    let source = |source| Inputs { source, ..well() };
    let closed = |reason| Inputs {
        closed_by: Some(reason),
        ..well()
    };
    vec![
        (source(Source::Embedded), 200, "healthy", &[], &[], &[]),
        (
            source(Source::Disconnected),
            503,
            "unhealthy",
            &["nats"],
            &[],
            &["NATS connection lost"],
        ),
        (connections(79, 100), 200, "healthy", &[], &[], &[]),
        (
            connections(80, 100),
            200,
            "degraded",
            &["capacity"],
            &["Connections at 80 % of capacity"],
            &[],
        ),
        (connections(9_999, 0), 200, "healthy", &[], &[], &[]),
        (of(memory(799)), 200, "healthy", &[], &[], &[]),
        (
            of(memory(800)),
            200,
            "degraded",
            &["memory"],
            &["Memory at 80 % of its limit"],
            &[],
        ),
        (
            of(memory(949)),
            200,
            "degraded",
            &["memory"],
            &["Memory at 94.9 % of its limit"],
            &[],
        ),
        (
            of(memory(950)),
            503,
            "unhealthy",
            &["memory"],
            &[],
            &["Memory at 95 % of its limit"],
        ),
        (cpu(Some(699)), 200, "healthy", &[], &[], &[]),
        (
            cpu(Some(700)),
            200,
            "degraded",
            &["cpu"],
            &["CPU at 70 % of its quota"],
            &[],
        ),
        (
            cpu(None),
            200,
            "degraded",
            &["cpu"],
            &["CPU use is unknown"],
            &[],
        ),
        (
            unknown_memory,
            200,
            "degraded",
            &["memory"],
            &["Memory use is unknown"],
            &[],
        ),
        (
            unknown_limit,
            200,
            "degraded",
            &["memory"],
            &["Memory use is unknown"],
            &[],
        ),
        (
            closed(Refusal::Draining),
            200,
            "degraded",
            &[],
            &["Admission closed: draining"],
            &[],
        ),
        (
            closed(Refusal::Cpu),
            200,
            "degraded",
            &[],
            &["Admission closed: cpu"],
            &[],
        ),
    ]
}

#[test]
fn what_degrades_and_what_makes_unhealthy() {
    for (inputs, code, status, unhealthy, warnings, errors) in cases() {
        let answer = health::health(&inputs);
        let body = parsed(&answer);
        assert_eq!(answer.status, code, "{inputs:?}");
        assert_eq!(body["status"], status, "{inputs:?}");
        assert_eq!(body["healthy"], code == 200, "{inputs:?}");
        assert_eq!(list(&body["warnings"]), warnings, "{inputs:?}");
        assert_eq!(list(&body["errors"]), errors, "{inputs:?}");
        for (name, check) in body["checks"].as_object().unwrap() {
            assert_eq!(
                check["healthy"],
                !unhealthy.contains(&name.as_str()),
                "{name} {inputs:?}"
            );
        }
    }
}

#[test]
fn several_things_at_once_are_all_said() {
    let body = parsed(&health::health(&Inputs {
        source: Source::Disconnected,
        connections: 100,
        connections_max: 100,
        sample: memory(990),
        closed_by: Some(Refusal::Memory),
        uptime: Duration::ZERO,
    }));
    assert_eq!(
        list(&body["errors"]),
        ["NATS connection lost", "Memory at 99 % of its limit"]
    );
    assert_eq!(
        list(&body["warnings"]),
        [
            "Connections at 100 % of capacity",
            "Admission closed: memory"
        ]
    );
}

#[test]
fn unknown_is_null_and_the_source_is_named() {
    let body = parsed(&health::health(&Inputs {
        source: Source::Embedded,
        sample: Sample::default(),
        ..well()
    }));
    let memory = r#"{"used_mb":null,"limit_mb":null,"percentage":null,"healthy":false}"#;
    assert_eq!(
        body["checks"]["memory"],
        serde_json::from_str::<Value>(memory).unwrap()
    );
    let cpu = r#"{"percentage":null,"healthy":false}"#;
    assert_eq!(
        body["checks"]["cpu"],
        serde_json::from_str::<Value>(cpu).unwrap()
    );
    assert_eq!(body["checks"]["nats"]["status"], "embedded");
    let lost = parsed(&health::health(&Inputs {
        source: Source::Disconnected,
        ..well()
    }));
    assert_eq!(lost["checks"]["nats"]["status"], "disconnected");
}

fn assert_answer(answer: &Answer, status: u16, retry_after: Option<u64>, body: &str) {
    let found = (answer.status, answer.retry_after, answer.body.as_str());
    assert_eq!(found, (status, retry_after, body));
}

#[test]
fn live_ready_admission_and_refusal() {
    assert_answer(
        &health::live(&[]),
        200,
        None,
        r#"{"live":true,"stuck_shards":[]}"#,
    );
    assert_answer(
        &health::live(&[1, 3]),
        503,
        None,
        r#"{"live":false,"stuck_shards":[1,3]}"#,
    );
    assert_answer(
        &health::ready(true, false),
        200,
        None,
        r#"{"ready":true,"reason":null}"#,
    );
    assert_answer(
        &health::ready(false, false),
        503,
        None,
        r#"{"ready":false,"reason":"source_not_ready"}"#,
    );
    for source_ready in [true, false] {
        assert_answer(
            &health::ready(source_ready, true),
            503,
            None,
            r#"{"ready":false,"reason":"draining"}"#,
        );
    }
    let open = r#"{"open":true,"reason":null,"retry_after_ms":null}"#;
    assert_answer(&health::admission(Ok(())), 200, None, open);
    let refused = |reason, nanos| Refused {
        reason,
        retry_after: Duration::from_nanos(nanos),
    };
    assert_answer(
        &health::admission(Err(refused(Refusal::AcceptRate, 1_200_000_000))),
        503,
        Some(2),
        r#"{"open":false,"reason":"accept_rate","retry_after_ms":1200}"#,
    );
}
