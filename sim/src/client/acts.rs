//! What model clients do of their own, by their habits.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::Habit;
use super::session::{Next, Session};

impl Session<'_> {
    /// How long until it does something of its own.
    pub(super) fn next_act(&self) -> Duration {
        let dice = &mut self.me.borrow_mut().dice;
        if self.stage.healed.get() {
            return dice.millis(5_000, 10_000);
        }
        match self.habit {
            Habit::Fast | Habit::Slow => dice.millis(5_000, 15_000),
            Habit::Stalled | Habit::Roaming => dice.millis(1_000, 6_000),
            Habit::Flapping => dice.millis(300, 4_000),
            Habit::Flooding => dice.millis(100, 1_000),
            Habit::Malformed => dice.millis(500, 3_000),
        }
    }

    /// Does something of its own; gives the close code if that is to leave.
    pub(super) async fn act(&mut self) -> Option<u16> {
        let habit = if self.stage.healed.get() {
            Habit::Fast
        } else {
            self.habit
        };
        let next = match habit {
            Habit::Fast | Habit::Slow if self.is_polite() => {
                let id = self.request;
                self.ask(format!(r#"{{"type":"heartbeat","id":{id}}}"#))
                    .await
            }
            Habit::Flooding => self.flood().await,
            Habit::Fast | Habit::Slow => {
                let text = r#"{"type":"heartbeat","id":0}"#;
                self.send(Message::text(text)).await
            }
            Habit::Stalled => {
                let until = Instant::now() + self.me.borrow_mut().dice.millis(1_000, 12_000);
                while Instant::now() < until && !self.stage.healed.get() {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Next::GoOn
            }
            Habit::Flapping | Habit::Roaming => {
                let quietly = self.me.borrow_mut().dice.permille(500);
                if !quietly {
                    return Some(self.leave().await);
                }
                Next::Leave
            }
            Habit::Malformed => {
                let message = self.bad_message();
                self.send(message).await
            }
        };
        matches!(next, Next::Leave).then_some(1006)
    }

    /// Sends as much at once as no limit allows.
    async fn flood(&mut self) -> Next {
        for _ in 0..150 {
            let message = Message::text(r#"{"type":"heartbeat","id":0}"#);
            if matches!(self.send(message).await, Next::Leave) {
                return Next::Leave;
            }
        }
        Next::GoOn
    }

    fn bad_message(&self) -> Message {
        let dice = &mut self.me.borrow_mut().dice;
        match dice.range(0, 6) {
            0 => Message::text("{\"type\":"),
            1 => Message::text(r#"{"type":"dance","id":7}"#),
            2 => Message::binary(vec![0, 1, 2]),
            3 => Message::text(r#"{"type":"subscribe","data":{"channels":["a..b"]}}"#),
            4 => Message::text(r#"{"type":"unsubscribe","data":{"channels":["never"]}}"#),
            5 => Message::text(r#"{"type":"replay","data":{"channel":"never","from":1}}"#),
            _ => Message::text("x".repeat(20_000)),
        }
    }

    /// Leaves in good order.
    pub(super) async fn leave(&mut self) -> u16 {
        let closing = async {
            if self.ws.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.ws.next().await {}
            }
        };
        // A server that does not answer in time is left all the same.
        let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
        1000
    }
}
