//! Whether an entry of a log is what comes next: in a replay, or live.

use super::client::{Replay, Sub};
use super::history::{Entry, History, Kept, What};

/// Takes an entry as the next of a replay; `false`: no replay is at it.
pub(super) fn replayed(history: &History, replays: &mut [Replay], entry: &Entry) -> bool {
    let replay = replays.iter_mut().find(|r| r.channel == entry.channel);
    let Some(replay) = replay else { return false };
    if entry.seq < replay.from || entry.seq > replay.to || entry.seq <= replay.at {
        return false;
    }
    let after = replay.at.max(replay.from - 1);
    let skipped = history
        .of(entry.epoch, entry.channel)
        .filter(|e| e.seq > after && e.seq < entry.seq);
    for e in skipped {
        let gone = e.kept == Kept::Gone || entry.epoch < history.epoch;
        assert!(gone, "the replay passes over {e:?}");
    }
    replay.at = entry.seq;
    replay.count += u64::from(entry.what != What::Lost);
    true
}

/// Takes an entry as the next live one.
pub(super) fn live(history: &History, sub: &mut Sub, entry: &Entry) {
    let (channel, seq) = (entry.channel, entry.seq);
    assert!(
        seq > sub.newest_live,
        "{entry:?} comes out of order, {sub:?}"
    );
    let first = !sub.got.contains_key(channel);
    let have = sub.have(channel);
    if seq <= have {
        let newest = history
            .of(entry.epoch, channel)
            .filter(|e| e.order <= sub.order)
            .last();
        let is_value = first && seq <= sub.values_to && newest.map(|e| e.seq) == Some(seq);
        assert!(
            is_value,
            "{entry:?} comes twice or was not asked for, {sub:?}"
        );
    } else if !sub.options.latest {
        let between = history.of(entry.epoch, channel);
        for e in between.filter(|e| e.seq > have && e.seq < seq) {
            assert!(sub.is_lost(e.seq), "{e:?} is skipped before {seq}, {sub:?}");
        }
        let follows = match (entry.prev, sub.got.get(channel)) {
            _ if entry.what == What::Lost || !sub.chained => true,
            (None, _) => first && (sub.may_begin || sub.start == Some(seq - 1)),
            (Some(prev), Some(got)) => prev == *got || sub.is_lost(prev),
            (Some(prev), None) => prev <= sub.start.unwrap_or(0) || sub.is_lost(prev),
        };
        assert!(follows, "the chain breaks at {entry:?}, {sub:?}");
    }
    sub.got.insert(channel, seq);
    sub.newest_live = seq;
    sub.last = sub.last.max(seq);
    if entry.what == What::Lost {
        sub.lost.push((seq, seq));
    }
}

/// Whether nothing that a subscription is owed before a seq is missing.
pub(super) fn whole_before(history: &History, epoch: usize, sub: &Sub, seq: u64) {
    if sub.options.latest || sub.start.is_none() {
        return;
    }
    for e in history.of(epoch, sub.name) {
        let missing = e.seq > sub.have(e.channel) && e.seq < seq && !sub.is_lost(e.seq);
        assert!(
            !missing,
            "{e:?} is neither sent nor lost before {seq}, {sub:?}"
        );
    }
}
