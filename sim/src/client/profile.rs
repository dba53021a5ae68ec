//! What kinds of clients there are.

use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::channel_name;
use crate::dice::Dice;

/// How a client behaves until everything is healed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Habit {
    /// Reads what comes.
    Fast,
    /// Thinks about every message.
    Slow,
    /// Stops reading now and then, for seconds.
    Stalled,
    /// Goes and comes back, sometimes without a word.
    Flapping,
    /// Sends far more than it may.
    Flooding,
    /// Sends what it must not.
    Malformed,
    /// Comes back to another server each time, and leaves often.
    Roaming,
}

/// Which habits are how common, in parts of their sum.
pub type Mix = &'static [(Habit, u64)];

/// One client's habits.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How it behaves.
    pub habit: Habit,
    /// Latest mode.
    pub latest: bool,
    /// `on_lost: continue`.
    pub goes_on: bool,
    /// Asks for the last values.
    pub snapshot: bool,
    /// Resumes; else it begins anew each time.
    pub resumes: bool,
    /// What it subscribes.
    pub names: Vec<String>,
    /// Bytes that its socket holds unread.
    pub receive_buffer: usize,
    /// When it first connects.
    pub arrives: Duration,
    /// What a slow client takes for each message.
    pub thinks: Duration,
}

impl Profile {
    /// A profile from the dice.
    #[must_use]
    pub fn draw(dice: &mut Dice, mix: Mix, number: usize, channels: u64, ramp: Duration) -> Self {
        // However few clients there are, there is one of each kind.
        let first = mix.get(number).map(|(habit, _)| *habit);
        let ramp_ms = u64::try_from(ramp.as_millis()).unwrap_or(0);
        Self {
            habit: first.or_else(|| dice.weighted(mix)).unwrap_or(Habit::Fast),
            latest: dice.permille(150),
            goes_on: dice.permille(300),
            snapshot: dice.permille(300),
            resumes: dice.permille(850),
            names: draw_names(dice, channels),
            receive_buffer: usize::try_from(dice.range(2, 32)).unwrap_or(2) * 1024,
            arrives: dice.millis(0, ramp_ms),
            thinks: dice.millis(20, 400),
        }
    }

    /// Its subscribe request.
    #[must_use]
    pub fn subscribe(&self, resume: Option<Value>) -> Value {
        let mut data = json!({
            "channels": self.names,
            "mode": if self.latest { "latest" } else { "lossless" },
            "on_lost": if self.goes_on { "continue" } else { "close" },
            "snapshot": self.snapshot,
        });
        if let Some(resume) = resume {
            data["resume"] = resume;
        }
        json!({"type": "subscribe", "id": 1, "data": data})
    }
}

/// Some channels, or a pattern, or both; they never meet, as the server refuses that.
fn draw_names(dice: &mut Dice, channels: u64) -> Vec<String> {
    let groups = channels.div_ceil(10).max(1);
    let mut names = Vec::new();
    let pattern = match dice.range(0, 9) {
        0 => return vec![">".into()],
        1 | 2 => Some(dice.range(0, groups - 1)),
        _ => None,
    };
    names.extend(pattern.map(|group| format!("g{group}.*")));
    for _ in 0..dice.range(u64::from(pattern.is_none()), 8) {
        let channel = dice.range(0, channels.saturating_sub(1));
        let name = channel_name(channel);
        if pattern != Some(channel / 10) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
