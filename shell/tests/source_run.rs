//! The loop between an upstream and the Feed, with an upstream that says what it is told to.

mod support;

use bytes::Bytes;
use odin_core::config::FeedConfig;
use odin_core::event::Event;
use odin_core::feed::{Command, DeliverPolicy, Feed, Outcome, Source};
use odin_core::reason::LostReason;
use odin_shell::source::embedded::Embedded;
use odin_shell::source::{Message, Upstream, UpstreamEvent};
use support::collect::{Running, check_chains, message_count};
use tokio::sync::mpsc;

struct Scripted<const CAN_WAIT: bool> {
    script: mpsc::UnboundedReceiver<UpstreamEvent>,
    commands: mpsc::UnboundedSender<Command>,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

impl<const CAN_WAIT: bool> Upstream for Scripted<CAN_WAIT> {
    const CAN_WAIT: bool = CAN_WAIT;

    async fn next(&mut self) -> Option<UpstreamEvent> {
        self.script.recv().await
    }

    fn carry_out(&mut self, command: Command) {
        self.commands.send(command).unwrap();
    }

    fn settled(&mut self, outcome: Outcome) {
        self.outcomes.send(outcome).unwrap();
    }
}

struct Script {
    say: mpsc::UnboundedSender<UpstreamEvent>,
    commands: mpsc::UnboundedReceiver<Command>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    running: Running,
}

fn start<const CAN_WAIT: bool>(source: Source, config: FeedConfig) -> Script {
    let (say, script) = mpsc::unbounded_channel();
    let (commands_out, commands) = mpsc::unbounded_channel();
    let (outcomes_out, outcomes) = mpsc::unbounded_channel();
    let upstream = Scripted::<CAN_WAIT> {
        script,
        commands: commands_out,
        outcomes: outcomes_out,
    };
    let (_, publisher) = Embedded::new(&config);
    let running = Running::start(Feed::new(config, source, "", 1), upstream, publisher);
    Script {
        say,
        commands,
        outcomes,
        running,
    }
}

fn message() -> UpstreamEvent {
    UpstreamEvent::Message(Message {
        stream_seq: 0,
        consumer_seq: 0,
        pending: 0,
        time: 1,
        subject: "A".into(),
        payload: Bytes::from_static(b"1"),
    })
}

#[tokio::test]
async fn an_upstream_that_cannot_wait_is_read_on_and_its_loss_announced() {
    let source = Source::Nats {
        epoch: "boot".into(),
    };
    let mut script = start::<false>(source, FeedConfig::default());
    script.say.send(UpstreamEvent::Connected).unwrap();
    script.say.send(message()).unwrap();
    assert_eq!(script.outcomes.recv().await, Some(Outcome::Published(1)));
    script.running.events.set_full(true);
    for _ in 0..5 {
        script.say.send(message()).unwrap();
    }
    // What comes after them shows that they were taken.
    script.say.send(UpstreamEvent::Disconnected).unwrap();
    script.running.status_is(|status| !status.connected).await;
    assert_eq!(message_count(&script.running.events.events()), 1);
    script.running.events.set_full(false);
    let lost = |event: &Event| match event {
        Event::Lost(lost) => Some((lost.from, lost.to, lost.reason)),
        _ => None,
    };
    let events = script
        .running
        .events
        .wait(|events| events.iter().any(|e| lost(e).is_some()))
        .await;
    assert_eq!(
        events.last().and_then(lost),
        Some((2, None, LostReason::Overload))
    );
    script.say.send(message()).unwrap();
    assert_eq!(script.outcomes.recv().await, Some(Outcome::Published(3)));
    script
        .running
        .status_is(|s| s.stats.lost[LostReason::Overload as usize] == 5)
        .await;
    assert_eq!(check_chains(&script.running.events.events()).0["A"], 3);
}

#[tokio::test]
async fn an_upstream_that_can_wait_is_not_read_while_the_queue_is_full() {
    let source = Source::Embedded {
        epoch: "boot".into(),
    };
    let mut script = start::<true>(source, FeedConfig::default());
    script.say.send(UpstreamEvent::Connected).unwrap();
    script.running.ready().await;
    script.running.events.set_full(true);
    for _ in 0..1_000 {
        script.say.send(message()).unwrap();
    }
    // The one report that was waited for already is taken, and no other.
    assert_eq!(script.outcomes.recv().await, Some(Outcome::Published(1)));
    assert!(script.outcomes.try_recv().is_err());
    script.running.events.set_full(false);
    for seq in 2..=1_000 {
        assert_eq!(script.outcomes.recv().await, Some(Outcome::Published(seq)));
    }
}

#[tokio::test]
async fn commands_go_out_and_the_feeds_timers_run() {
    let source = Source::JetStream { stream: "S".into() };
    let mut script = start::<true>(source, FeedConfig::default());
    script.say.send(UpstreamEvent::Connected).unwrap();
    assert_eq!(script.commands.recv().await, Some(Command::ReadInfo));
    script.say.send(UpstreamEvent::Failed).unwrap();
    // The Feed's own pause, then again.
    assert_eq!(script.commands.recv().await, Some(Command::ReadInfo));
    let info = odin_core::feed::StreamInfo {
        created: 1,
        first_seq: 1,
        last_seq: 0,
        num_deleted: 0,
        nonce: None,
        covers_all: true,
        replicated: false,
    };
    script.say.send(UpstreamEvent::Info(info)).unwrap();
    let open = Command::OpenConsumer(DeliverPolicy::LastPerSubject);
    assert_eq!(script.commands.recv().await, Some(open));
}
