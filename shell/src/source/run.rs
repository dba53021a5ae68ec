//! The loop between an upstream and the Feed.

use futures_util::FutureExt;
use odin_core::feed::{Command, Feed, Input, Outcome, Output};

use super::{Clock, EventSink, SharedStatus, Upstream, UpstreamEvent};

/// Reports taken in one turn before timers and the status have theirs.
const TURN_REPORTS_MAX: usize = 256;

/// Runs the Feed on an upstream until that ends: reports go in, commands go back, events go to the
/// shards. `status` is written at every turn.
///
/// While the sink is full an upstream that can wait is only asked whether it is connected; of one that cannot, messages are
/// dropped and the Feed is told as soon as there is room to announce it.
pub async fn run<U: Upstream, S: EventSink>(
    feed: Feed,
    upstream: U,
    sink: S,
    clock: Clock,
    status: SharedStatus,
) {
    let mut pump = Pump {
        feed,
        upstream,
        sink,
        clock,
        status,
        dropped: 0,
        held: None,
        again: None,
    };
    pump.status.copy_from(&pump.feed);
    while pump.turn().await.is_some() {
        pump.status.copy_from(&pump.feed);
        pump.status.answer(&pump.feed);
    }
}

struct Pump<U, S> {
    feed: Feed,
    upstream: U,
    sink: S,
    clock: Clock,
    status: SharedStatus,
    /// Messages dropped because the sink was full, not yet told to the Feed.
    dropped: u64,
    /// The message that the Feed wants again after its next [`Command::Fetch`].
    held: Option<UpstreamEvent>,
    /// The message that the Feed is to be given again.
    again: Option<UpstreamEvent>,
}

impl<U: Upstream, S: EventSink> Pump<U, S> {
    /// One turn: waits for something to do and does it, with whatever else is there already. `None`:
    /// the upstream ended.
    async fn turn(&mut self) -> Option<()> {
        if U::CAN_WAIT && self.sink.is_full() {
            tokio::select! {
                biased;
                () = self.sink.drained() => {}
                change = self.upstream.next_change() => {
                    self.take(change);
                    return Some(());
                }
            }
        }
        let due = self.feed.poll_timeout().map(|due| self.clock.to_tokio(due));
        let sleep = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            report = self.upstream.next() => self.take(report?),
            () = self.sink.drained(), if self.dropped > 0 => self.tell_dropped(),
            () = self.status.asked() => {}
            () = sleep => {}
        }
        let mut reports = 1;
        while reports < TURN_REPORTS_MAX && !(U::CAN_WAIT && self.sink.is_full()) {
            match self.upstream.next().now_or_never() {
                Some(report) => self.take(report?),
                None => break,
            }
            reports += 1;
        }
        let now = self.clock.now();
        if self.feed.poll_timeout().is_some_and(|due| due <= now) {
            self.feed.handle_timeout(now);
            self.deliver_outputs();
        }
        if reports == TURN_REPORTS_MAX {
            tokio::task::yield_now().await;
        }
        Some(())
    }

    fn take(&mut self, report: UpstreamEvent) {
        let is_message = matches!(report, UpstreamEvent::Message(_));
        if is_message && !U::CAN_WAIT {
            if self.sink.is_full() {
                self.dropped += 1;
                return;
            }
            self.tell_dropped();
        }
        let outcome = self.feed.handle(self.clock.now(), report.as_input());
        self.deliver_outputs();
        if outcome == Outcome::Held {
            self.held = Some(report);
        } else if is_message {
            self.upstream.settled(outcome);
        }
        if let Some(again) = self.again.take() {
            self.take(again);
        }
    }

    fn tell_dropped(&mut self) {
        if self.dropped > 0 {
            let count = std::mem::take(&mut self.dropped);
            self.feed
                .handle(self.clock.now(), Input::Overloaded { count });
            self.deliver_outputs();
        }
    }

    fn deliver_outputs(&mut self) {
        while let Some(output) = self.feed.poll_output() {
            match output {
                Output::Command(command) => {
                    match command {
                        Command::Fetch => self.again = self.held.take(),
                        Command::OpenConsumer(_) => self.held = None,
                        _ => {}
                    }
                    self.upstream.carry_out(command);
                }
                Output::Event(event) => self.sink.send(event),
            }
        }
    }
}
