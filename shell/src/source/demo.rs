//! Demo prices for the embedded source, so that a server that was just started has something to
//! show: a random walk per symbol, the same for the same seed.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::MissedTickBehavior;

use super::Publisher;

/// About ten messages a second over all symbols.
const INTERVAL: Duration = Duration::from_millis(100);

/// Symbols with the price that their walk begins at.
const SYMBOLS: [(&str, f64); 5] = [
    ("BTC", 64_250.0),
    ("ETH", 3_180.0),
    ("ODIN", 1.25),
    ("SOL", 148.0),
    ("DOGE", 0.162),
];

/// The largest step of a walk, as a share of the price.
const STEP_MAX: f64 = 0.001;

/// How strongly a walk is drawn back to where it began, so that it stays there for weeks.
const DRAW: f64 = 0.002;

/// Publishes prices until the source is gone.
pub async fn run(publisher: Publisher, seed: u64) {
    let mut prices = Prices::new(seed);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !publisher.is_closed() {
        ticks.tick().await;
        let (channel, payload) = prices.next_trade();
        // A source that is overloaded for a while, or a limit below what the demo needs, costs the
        // demo a price and nothing else.
        let _ = publisher.publish(&channel, payload).await;
    }
}

/// The walks of all symbols.
#[derive(Debug)]
struct Prices {
    random: SplitMix64,
    current: [f64; SYMBOLS.len()],
}

impl Prices {
    fn new(seed: u64) -> Self {
        Self {
            random: SplitMix64(seed),
            current: SYMBOLS.map(|(_, start)| start),
        }
    }

    /// The next trade: its channel and its payload.
    fn next_trade(&mut self) -> (String, Bytes) {
        let index = (self.random.next() % SYMBOLS.len() as u64) as usize;
        let (symbol, start) = SYMBOLS[index];
        let price = &mut self.current[index];
        let step = (self.random.unit() * 2.0 - 1.0) * STEP_MAX;
        let pull = (start - *price) / start * DRAW;
        *price *= 1.0 + step + pull;
        let change = (*price / start - 1.0) * 100.0;
        let decimals = if start < 10.0 { 5 } else { 2 };
        let side = if step < 0.0 { "sell" } else { "buy" };
        let volume = self.random.unit() * 100_000.0 / start;
        let payload = format!(
            r#"{{"symbol":"{symbol}","price":{price:.decimals$},"volume":{volume:.4},"side":"{side}","change_percent":{change:.3}}}"#
        );
        (format!("{symbol}.trade"), payload.into())
    }
}

/// Sebastiano Vigna's SplitMix64: small, and good enough to look like a market.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_trades_with_valid_json_near_its_start() {
        let mut prices = Prices::new(7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            let (channel, payload) = prices.next_trade();
            let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            let symbol = value["symbol"].as_str().unwrap().to_owned();
            assert_eq!(channel, format!("{symbol}.trade"));
            let (_, start) = SYMBOLS
                .into_iter()
                .find(|(name, _)| *name == symbol)
                .unwrap();
            let price = value["price"].as_f64().unwrap();
            assert!((price / start - 1.0).abs() < 0.5, "{symbol} at {price}");
            seen.insert(symbol);
        }
        assert_eq!(seen.len(), SYMBOLS.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_market() {
        let (mut a, mut b) = (Prices::new(3), Prices::new(3));
        for _ in 0..100 {
            assert_eq!(a.next_trade(), b.next_trade());
        }
    }
}
