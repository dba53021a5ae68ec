//! What a stream says about itself, as the Feed wants to know it.

use async_nats::jetstream::stream;
use odin_core::feed::{EpochNonce, StreamInfo};

/// The stream's state, for a consumer with this filter.
pub(super) fn stream_info(info: &stream::Info, filter: &str) -> StreamInfo {
    let state = &info.state;
    let config = &info.config;
    // A mirror and sources bring subjects that the configuration does not list.
    let listed = config.mirror.is_none() && config.sources.is_none();
    let all_listed = listed
        && config
            .subjects
            .iter()
            .all(|subject| covers(filter, subject));
    let first_seq = match state.messages {
        0 => state.last_sequence.saturating_add(1),
        _ => state.first_sequence,
    };
    StreamInfo {
        created: u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0),
        first_seq,
        last_seq: state.last_sequence,
        nonce: config
            .metadata
            .get(EpochNonce::METADATA_KEY)
            .and_then(|text| EpochNonce::parse(text)),
        num_deleted: state.deleted_count.unwrap_or(0),
        covers_all: filter == ">" || all_listed,
        replicated: config.num_replicas > 1,
    }
}

/// Whether this is what the stream's leader says. While there is none a replica may answer, which may be far behind
/// (seen with nats-server 2.9 and 2.15).
pub(super) fn is_of_leader(info: &stream::Info) -> bool {
    let cluster = info.cluster.as_ref();
    cluster.is_none_or(|cluster| cluster.leader.as_ref().is_some_and(|name| !name.is_empty()))
}

/// Whether the filter matches everything that the stream's subject matches.
fn covers(filter: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in filter.split('.') {
        match (token, subject.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream;
    use serde_json::{Value, json};

    use super::{covers, is_of_leader, stream_info};

    #[test]
    fn without_a_leader_nobody_speaks_for_a_stream() {
        let info = |cluster: Value, replicas: usize| -> stream::Info {
            let info = json!({
                "config": {"name": "S", "subjects": ["odin.>"], "retention": "limits",
                    "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
                    "max_msg_size": -1, "discard": "old", "storage": "file",
                    "num_replicas": replicas},
                "created": "2026-01-02T03:04:05Z",
                "state": {"messages": 2, "bytes": 2, "first_seq": 1, "last_seq": 2,
                    "first_ts": "2026-01-02T03:04:05Z", "last_ts": "2026-01-02T03:04:05Z",
                    "consumer_count": 0},
                "cluster": cluster,
            });
            serde_json::from_value(info).expect("a stream's state")
        };
        for (cluster, expected) in [
            (Value::Null, true),
            (json!({"leader": "n1"}), true),
            (json!({"name": "odin"}), false),
            (json!({"name": "odin", "leader": ""}), false),
        ] {
            assert_eq!(
                is_of_leader(&info(cluster.clone(), 3)),
                expected,
                "{cluster}"
            );
        }
        for (replicas, replicated) in [(1, false), (3, true)] {
            let info = stream_info(&info(Value::Null, replicas), ">");
            assert_eq!(info.replicated, replicated, "{replicas}");
        }
    }

    #[test]
    fn a_filter_covers_a_subject_that_is_no_wider() {
        for (filter, subject, expected) in [
            ("odin.token.>", "odin.token.>", true),
            ("odin.token.>", "odin.token.*.trade", true),
            ("odin.token.>", "odin.token.BTC", true),
            (">", "odin.>", true),
            ("odin.*", "odin.BTC", true),
            ("odin.*", "odin.*", true),
            ("odin.*", "odin.>", false),
            ("odin.token.>", "odin.>", false),
            ("odin.token.>", "odin.token", false),
            ("odin.token.>", "orders.>", false),
            ("odin.BTC", "odin.*", false),
            ("odin.BTC", "odin.BTC.trade", false),
        ] {
            assert_eq!(covers(filter, subject), expected, "{filter} over {subject}");
        }
    }
}
