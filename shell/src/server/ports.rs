//! The ways to the shards, without the type of their sockets, so that only what hands over sockets
//! is generic.

use odin_core::event::Event;
use odin_core::record::Recording;
use odin_core::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::driver::Command;
use crate::metrics::ShardSnapshot;

/// The ways to all shards. A shard that has ended answers nothing.
pub(crate) trait Ports: Send + Sync {
    /// Hands an event to every shard.
    fn event(&self, event: Event);

    /// Asks one shard for its counters.
    fn report(&self, shard: usize) -> oneshot::Receiver<ShardSnapshot>;

    /// Asks one shard whether its loop runs.
    fn ping(&self, shard: usize) -> oneshot::Receiver<()>;

    /// Asks one shard for what it recorded.
    fn recording(&self, shard: usize) -> oneshot::Receiver<Option<Recording>>;

    /// Tells every shard that tokens may have been revoked.
    fn reloaded(&self);

    /// Tells every shard that memory is short.
    fn relieve(&self);

    /// Tells every shard to drain.
    fn drain(&self, deadline: Instant);

    /// Tells every shard to end.
    fn stop(&self);
}

/// The ways to one shard.
pub(crate) struct Port<D> {
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) commands: UnboundedSender<Command<D>>,
}

/// A send fails only where the shard has ended, which the server notices by itself.
impl<D: Send + 'static> Ports for Vec<Port<D>> {
    fn event(&self, event: Event) {
        for shard in self {
            let _ = shard.events.send(event.clone());
        }
    }

    fn report(&self, shard: usize) -> oneshot::Receiver<ShardSnapshot> {
        let (answer, asked) = oneshot::channel();
        let _ = self[shard].commands.send(Command::Report(answer));
        asked
    }

    fn ping(&self, shard: usize) -> oneshot::Receiver<()> {
        let (answer, asked) = oneshot::channel();
        let _ = self[shard].commands.send(Command::Ping(answer));
        asked
    }

    fn recording(&self, shard: usize) -> oneshot::Receiver<Option<Recording>> {
        let (answer, asked) = oneshot::channel();
        let _ = self[shard].commands.send(Command::Recording(answer));
        asked
    }

    fn reloaded(&self) {
        for shard in self {
            let _ = shard.commands.send(Command::Reloaded);
        }
    }

    fn relieve(&self) {
        for shard in self {
            let _ = shard.commands.send(Command::Relieve);
        }
    }

    fn drain(&self, deadline: Instant) {
        for shard in self {
            let _ = shard.commands.send(Command::Drain(deadline));
        }
    }

    fn stop(&self) {
        for shard in self {
            let _ = shard.commands.send(Command::Stop);
        }
    }
}
