//! What a stream says about what is missing: its end beside its consumer's, and which seqs it has
//! deleted. Spoken as JSON, for the client library asks for no details of a range.

use async_nats::jetstream;
use futures_util::{StreamExt, stream};
use odin_core::feed::{SeqRange, StreamInfo, Tail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::request;

/// Deletions of a stream that are read in one answer: it names each, about 1 MiB of them.
const DETAILS_MAX: u64 = 100_000;
/// Seqs that are asked for one by one where the stream has deleted more than that.
const PROBES_MAX: u64 = 256;
/// Of these, at a time.
const PROBES_AT_ONCE: usize = 32;

/// The part of a stream's state that is about deletions (`STREAM.INFO`, `state`).
#[derive(Deserialize)]
struct State {
    messages: u64,
    first_seq: u64,
    last_seq: u64,
    #[serde(default)]
    num_deleted: u64,
    /// Ascending.
    #[serde(default)]
    deleted: Vec<u64>,
}

impl State {
    fn first(&self) -> u64 {
        match self.messages {
            0 => self.last_seq.saturating_add(1),
            _ => self.first_seq,
        }
    }
}

/// How far the consumer is, beside what the stream said before.
pub(super) async fn tail(
    context: &jetstream::Context,
    stream: &str,
    consumer: &str,
    info: StreamInfo,
) -> Result<Tail, String> {
    let subject = format!("CONSUMER.INFO.{stream}.{consumer}");
    // A body that is not an empty object is refused.
    let answer = request(context, subject, &json!({})).await?;
    let number = |at| answer.pointer(at).and_then(Value::as_u64).ok_or(at);
    Ok(Tail {
        info,
        delivered: number("/delivered/consumer_seq")?,
        pending: number("/num_pending")?,
    })
}

/// Which seqs of `asked` the stream does not have, and up to where that was found out: to `received`,
/// if that is more and the stream can tell at once. What cannot be found out counts as deleted.
pub(super) async fn deleted(
    context: &jetstream::Context,
    stream: &str,
    asked: SeqRange,
    received: u64,
) -> Result<(u64, Vec<SeqRange>), String> {
    let state = state(context, stream, &Value::Null).await?;
    let wide = SeqRange {
        to: received.max(asked.to),
        ..asked
    };
    if state.num_deleted == 0 {
        return Ok((wide.to, before(state.first(), wide)));
    }
    if state.num_deleted <= DETAILS_MAX {
        let state = self::state(context, stream, &json!({"deleted_details": true})).await?;
        let mut ranges = before(state.first(), wide);
        let within = state.deleted.iter().copied();
        within
            .filter(|seq| (wide.from..=wide.to).contains(seq))
            .for_each(|seq| append(&mut ranges, seq));
        return Ok((wide.to, ranges));
    }
    let mut ranges = before(state.first(), asked);
    let from = asked.from.max(state.first());
    if asked.to.saturating_sub(from) < PROBES_MAX {
        for seq in missing(context, stream, from..=asked.to).await? {
            append(&mut ranges, seq);
        }
    } else {
        ranges.push(SeqRange { from, ..asked });
    }
    Ok((asked.to, ranges))
}

/// The part of a range that is before the stream's first message.
fn before(first: u64, range: SeqRange) -> Vec<SeqRange> {
    let to = range.to.min(first.saturating_sub(1));
    (range.from <= to)
        .then_some(SeqRange { to, ..range })
        .into_iter()
        .collect()
}

/// Appends a seq that is after all others.
fn append(ranges: &mut Vec<SeqRange>, seq: u64) {
    match ranges.last_mut() {
        Some(last) if last.to >= seq => {}
        Some(last) if last.to.saturating_add(1) == seq => last.to = seq,
        _ => ranges.push(SeqRange { from: seq, to: seq }),
    }
}

async fn state(context: &jetstream::Context, stream: &str, body: &Value) -> Result<State, String> {
    let mut answer = request(context, format!("STREAM.INFO.{stream}"), body).await?;
    let state = answer.get_mut("state").map(Value::take).unwrap_or_default();
    serde_json::from_value(state).map_err(|error| error.to_string())
}

/// Those of some seqs that the stream does not have, ascending.
async fn missing(
    context: &jetstream::Context,
    stream: &str,
    seqs: std::ops::RangeInclusive<u64>,
) -> Result<Vec<u64>, String> {
    let subject = &format!("STREAM.MSG.GET.{stream}");
    let probes = stream::iter(seqs).map(async |seq| {
        match context.request(subject.clone(), &json!({"seq": seq})).await {
            Ok(jetstream::response::Response::Ok::<Value>(_)) => Ok(None),
            Ok(jetstream::response::Response::Err { error })
                if error.error_code() == jetstream::ErrorCode::NO_MESSAGE_FOUND =>
            {
                Ok(Some(seq))
            }
            Ok(jetstream::response::Response::Err { error }) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    let answers: Vec<Result<Option<u64>, String>> = probes.buffered(PROBES_AT_ONCE).collect().await;
    let answers: Result<Vec<Option<u64>>, String> = answers.into_iter().collect();
    Ok(answers?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64) -> SeqRange {
        SeqRange { from, to }
    }

    #[test]
    fn what_is_before_the_first_message_is_missing() {
        assert_eq!(before(1, range(3, 9)), []);
        assert_eq!(before(3, range(3, 9)), []);
        assert_eq!(before(5, range(3, 9)), [range(3, 4)]);
        assert_eq!(before(10, range(3, 9)), [range(3, 9)]);
        assert_eq!(before(50, range(3, 9)), [range(3, 9)]);
    }

    #[test]
    fn neighbours_become_one_range() {
        let mut ranges = before(5, range(3, 20));
        for seq in [4, 5, 6, 9, 11, 12] {
            append(&mut ranges, seq);
        }
        assert_eq!(ranges, [range(3, 6), range(9, 9), range(11, 12)]);
    }
}
