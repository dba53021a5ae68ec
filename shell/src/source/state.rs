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
    }
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
    use super::covers;

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
