//! Who subscribes to what, and which channel the next message goes to.

/// How channels and subscribers belong together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Topology {
    /// Nobody subscribes to anything.
    Nothing,
    /// Everybody subscribes to the one channel.
    One,
    /// Everybody has a channel of its own, and `each` of so many `shared` ones; half of the messages go
    /// to either kind.
    Own {
        /// Channels that are shared.
        shared: u32,
        /// How many of them each client has.
        each: u32,
    },
    /// Everybody subscribes to `each` of so many `channels`.
    Spread {
        /// Channels that there are.
        channels: u32,
        /// How many of them each client has.
        each: u32,
    },
}

/// Primes that no number of channels here has as a factor: steps that visit every channel.
const STEP: u64 = 7919;

impl Topology {
    /// The channels of a client, ascending.
    pub(crate) fn of(self, client: u32, clients: u32) -> Vec<u32> {
        let some = |of: u32, each: u32| (0..each).map(move |n| (client * each + n) % of);
        let mut channels: Vec<u32> = match self {
            Self::Nothing => Vec::new(),
            Self::One => vec![0],
            Self::Own { shared, each } => {
                let shared = some(shared, each).map(|channel| clients + channel);
                std::iter::once(client).chain(shared).collect()
            }
            Self::Spread { channels, each } => some(channels, each).collect(),
        };
        channels.sort_unstable();
        channels
    }

    /// How many channels there are.
    pub(crate) fn channels(self, clients: u32) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::One => 1,
            Self::Own { shared, .. } => clients + shared,
            Self::Spread { channels, .. } => channels,
        }
    }

    /// The channel of a message.
    pub(crate) fn channel(self, message: u64, clients: u32) -> u32 {
        let step = |message: u64, of: u32| {
            u32::try_from(message * STEP % u64::from(of.max(1))).unwrap_or(0)
        };
        match self {
            Self::Nothing | Self::One => 0,
            Self::Own { shared, .. } if message % 2 == 1 => clients + step(message / 2, shared),
            Self::Own { .. } => step(message / 2, clients),
            Self::Spread { channels, .. } => step(message, channels),
        }
    }

    /// How many of the clients each channel has.
    pub(crate) fn subscribers(self, clients: u32) -> Vec<u32> {
        let mut subscribers = vec![0; self.channels(clients) as usize];
        for client in 0..clients {
            for channel in self.of(client, clients) {
                subscribers[channel as usize] += 1;
            }
        }
        subscribers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_are_spread_evenly_and_every_channel_is_published_to() {
        let cases = [
            (
                Topology::Own {
                    shared: 100,
                    each: 10,
                },
                1100,
                vec![1, 100],
            ),
            (
                Topology::Spread {
                    channels: 1000,
                    each: 50,
                },
                1000,
                vec![50],
            ),
            (Topology::One, 1, vec![1000]),
        ];
        for (topology, channels, counts) in cases {
            let subscribers = topology.subscribers(1000);
            assert_eq!(subscribers.len(), channels);
            assert!(subscribers.iter().all(|count| counts.contains(count)));
            let mut published: Vec<u32> = (0..4000).map(|n| topology.channel(n, 1000)).collect();
            published.sort_unstable();
            published.dedup();
            assert_eq!(published.len(), channels);
        }
    }
}
