//! The oracle beside real sockets: a message may reach a client before the answer to its publisher says
//! which seq it got, so what clients see waits until everything that was published before is known.

use std::collections::VecDeque;

use crate::oracle::{ClientId, Frame, LineId, Oracle, Seen};

/// Something that happened to a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    Opened,
    Sent(String),
    Text(String),
    Closed(Option<u16>),
    Gone,
}

/// Judges what clients are sent, in the order in which it came.
#[derive(Debug)]
pub(super) struct Judge {
    oracle: Oracle,
    line: LineId,
    /// What waits, each with the number of messages whose publishing had begun by then.
    waiting: VecDeque<(u64, ClientId, Event)>,
    begun: u64,
    done: u64,
    /// Broken promises.
    pub(super) violations: Vec<String>,
    pub(super) lost: u64,
    pub(super) resets: u64,
    pub(super) recovered: u64,
    pub(super) unrecovered: u64,
}

impl Judge {
    pub(super) fn new(mut oracle: Oracle) -> Self {
        let line = oracle.line();
        Self {
            oracle,
            line,
            waiting: VecDeque::new(),
            begun: 0,
            done: 0,
            violations: Vec::new(),
            lost: 0,
            resets: 0,
            recovered: 0,
            unrecovered: 0,
        }
    }

    /// A message is about to be published.
    pub(super) fn begin(&mut self) {
        self.begun += 1;
    }

    /// It was, with this seq.
    pub(super) fn published(&mut self, channel: &str, seq: u64, payload: &[u8]) {
        self.oracle
            .published(self.line, channel, seq, payload, true);
        self.done += 1;
        while let Some((begun, ..)) = self.waiting.front()
            && *begun <= self.done
        {
            if let Some((_, client, event)) = self.waiting.pop_front() {
                self.judge(client, event);
            }
        }
    }

    /// Something happened to a client.
    pub(super) fn happened(&mut self, client: ClientId, event: Event) {
        if self.waiting.is_empty() && self.begun == self.done {
            return self.judge(client, event);
        }
        self.waiting.push_back((self.begun, client, event));
    }

    /// Messages of channels that were checked.
    pub(super) fn deliveries(&self) -> u64 {
        self.oracle.deliveries()
    }

    /// What a client has not been given.
    pub(super) fn missing(&self, client: ClientId) -> Option<String> {
        let judged = self.oracle.at_head(client, self.line);
        judged.err().map(|violation| violation.to_string())
    }

    fn judge(&mut self, client: ClientId, event: Event) {
        let judged = match event {
            Event::Opened => {
                self.oracle.opened(client);
                for code in [1000, 1001, 1012, 1013, 4008, 4009] {
                    self.oracle.may_close(client, code);
                }
                return;
            }
            Event::Sent(request) => return self.oracle.client_sent(client, &request),
            Event::Gone => return self.oracle.disconnected(client),
            Event::Text(text) => self.oracle.client_received(client, Frame::Text(&text)),
            Event::Closed(code) => self.oracle.client_received(client, Frame::Close(code)),
        };
        match judged {
            Ok(Seen::Lost) => self.lost += 1,
            Ok(Seen::Reset) => self.resets += 1,
            Ok(Seen::Resumed {
                recovered,
                unrecovered,
            }) => {
                self.recovered += recovered as u64;
                self.unrecovered += unrecovered as u64;
            }
            Ok(_) => {}
            Err(violation) if self.violations.len() < 20 => {
                self.violations.push(violation.to_string());
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Laws;

    #[test]
    fn what_is_seen_before_its_publisher_knows_it_waits() {
        let mut judge = Judge::new(Oracle::new(Laws::default()));
        let client = ClientId(0);
        let text = |text: &str| Event::Text(text.into());
        judge.happened(client, Event::Opened);
        judge.happened(
            client,
            text(concat!(
                r#"{"type":"welcome","session":"0123456789abcdef","version":"0","epoch":"e","#,
                r#""ping_ms":1,"max_channels":1}"#
            )),
        );
        let subscribe =
            r#"{"type":"subscribe","id":1,"data":{"channels":["a"],"mode":"lossless"}}"#;
        judge.happened(client, Event::Sent(subscribe.into()));
        judge.happened(
            client,
            text(concat!(
                r#"{"type":"subscription_ack","id":1,"subscribed":["a"],"count":1,"epoch":"e","#,
                r#""durable":false,"positions":{"a":0}}"#
            )),
        );
        judge.begin();
        let message = r#"{"type":"message","channel":"a","seq":1,"prev":0,"ts":1,"data":{}}"#;
        judge.happened(client, text(message));
        assert_eq!(judge.deliveries(), 0);
        judge.published("a", 1, b"{}");
        assert_eq!(
            (judge.deliveries(), judge.violations.as_slice()),
            (1, &[][..])
        );
        judge.happened(client, text(message));
        assert_eq!(judge.violations.len(), 1);
    }
}
