//! One connection of a model client, from its first byte to its end.

use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::view::Heard;
use super::{Habit, SharedClient, Stage};
use crate::net::SimStream;
use crate::oracle::{ClientId, Frame};
use crate::trace::{FNV_OFFSET, fnv1a, now};
use crate::world::SERVER_PORT;

/// How long an attempt to connect may take: a host that is down answers nothing at all.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// How long the upgrade may take.
const UPGRADE_TIME_MAX: Duration = Duration::from_secs(8);
/// How long the server may say nothing: it pings every 5 s.
const IDLE_TIME_MAX: Duration = Duration::from_secs(12);
/// How long a request may take to be written.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);
/// No client waits longer than this because a server told it to.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(8);

/// How a connection ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// It had been open.
    pub(super) was_open: bool,
    /// When the server wants the client back.
    pub(super) come_back: Option<Duration>,
}

/// Whether the connection goes on.
pub(super) enum Next {
    GoOn,
    Leave,
}

pub(super) struct Session<'a> {
    pub(super) stage: &'a Stage,
    pub(super) me: &'a SharedClient,
    pub(super) number: usize,
    pub(super) habit: Habit,
    /// Since when its subscribe is answered.
    pub(super) acked: Option<Duration>,
    pub(super) back_at: Option<Instant>,
    /// Of the next request.
    pub(super) request: u64,
    pub(super) id: ClientId,
    pub(super) ws: WebSocketStream<SimStream>,
}

/// Makes one connection and lives it to its end.
pub(super) async fn attempt(stage: &Rc<Stage>, me: &SharedClient) -> Ended {
    let (number, habit, server, buffer) = {
        let mut me = me.borrow_mut();
        if me.profile.habit == Habit::Roaming || me.dice.permille(100) {
            let last = (stage.servers as u64).saturating_sub(1);
            me.home = usize::try_from(me.dice.range(0, last)).unwrap_or(0);
        }
        (
            me.number,
            me.profile.habit,
            me.home,
            me.profile.receive_buffer,
        )
    };
    let host = format!("server-{server}");
    let connecting = stage.network.connect(&host, SERVER_PORT);
    let Ok(Ok(socket)) = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await else {
        stage.tally.borrow_mut().failed += 1;
        stage.trace.line(format_args!("c{number} found no {host}"));
        // The next attempt goes elsewhere.
        let mut me = me.borrow_mut();
        me.home = (me.home + 1) % stage.servers;
        return Ended::default();
    };
    socket.set_receive_buffer(buffer);
    let config = WebSocketConfig::default().read_buffer_size(1024);
    let url = format!("ws://{host}:{SERVER_PORT}/ws");
    let upgrade = tokio_tungstenite::client_async_with_config(url, socket, Some(config));
    let ws = match tokio::time::timeout(UPGRADE_TIME_MAX, upgrade).await {
        Ok(Ok((ws, _))) => ws,
        Ok(Err(Error::Http(response))) => return refused(stage, me, &response),
        Ok(Err(_)) | Err(_) => {
            stage.tally.borrow_mut().failed += 1;
            stage
                .trace
                .line(format_args!("c{number} not upgraded by {host}"));
            return Ended::default();
        }
    };
    stage.tally.borrow_mut().connects += 1;
    stage.trace.line(format_args!("c{number} open at {host}"));
    let mut session = Session {
        stage,
        me,
        number,
        habit,
        acked: None,
        back_at: None,
        request: 1,
        id: me.borrow().id(),
        ws,
    };
    session.open();
    let code = session.live().await;
    stage.oracle.borrow_mut().disconnected(session.id);
    *stage.tally.borrow_mut().closes.entry(code).or_default() += 1;
    stage.trace.line(format_args!("c{number} closed {code}"));
    Ended {
        was_open: true,
        come_back: session
            .back_at
            .map(|at| at.saturating_duration_since(Instant::now())),
    }
}

fn refused(stage: &Stage, me: &SharedClient, response: &Response<Option<Vec<u8>>>) -> Ended {
    let status = response.status().as_u16();
    *stage.tally.borrow_mut().refused.entry(status).or_default() += 1;
    let mut me = me.borrow_mut();
    stage
        .trace
        .line(format_args!("c{} refused {status}", me.number));
    let after = response.headers().get("retry-after");
    let seconds = after.and_then(|value| value.to_str().ok()?.parse().ok());
    if !matches!(status, 429 | 503) || seconds.is_none() {
        let what = format!(
            "c{}: refused with {status}, Retry-After {after:?}",
            me.number
        );
        stage.tally.borrow_mut().fault(what);
    }
    // Elsewhere there may be room.
    me.home = (me.home + 1) % stage.servers;
    let told = Duration::from_secs(seconds.unwrap_or(1)).min(RETRY_AFTER_MAX);
    Ended {
        was_open: false,
        come_back: Some(told + me.dice.millis(0, 500)),
    }
}

impl Session<'_> {
    /// Tells the oracle of the connection, and for what it may be closed.
    fn open(&self) {
        let mut oracle = self.stage.oracle.borrow_mut();
        oracle.opened(self.id);
        let own: &[u16] = match self.habit {
            Habit::Flooding => &[4029],
            Habit::Malformed => &[1003, 1009],
            _ => &[],
        };
        for code in [1000, 1001, 1012, 4008, 4009].iter().chain(own) {
            oracle.may_close(self.id, *code);
        }
    }

    /// Whether it keeps to what it may do.
    pub(super) fn is_polite(&self) -> bool {
        !matches!(self.habit, Habit::Flooding | Habit::Malformed)
    }

    /// Lets the oracle judge what came; `false`: a promise was broken.
    fn judge(&self, frame: Frame<'_>) -> bool {
        let judged = self
            .stage
            .oracle
            .borrow_mut()
            .client_received(self.id, frame);
        match judged {
            Ok(_) => true,
            Err(violation) => {
                self.fault(violation.to_string());
                false
            }
        }
    }

    /// Gives the close code; 1006 where there was none.
    async fn live(&mut self) -> u16 {
        let mut changed = self.stage.changed.ear();
        let storm = self.stage.storms.get();
        let mut heard = Instant::now();
        let mut act_at = heard + self.next_act();
        loop {
            tokio::select! {
                biased;
                () = changed.rung() => {
                    if self.stage.storms.get() != storm {
                        return 1006;
                    }
                    if self.number >= self.stage.active.get() {
                        return self.leave().await;
                    }
                    act_at = act_at.min(Instant::now() + Duration::from_secs(5));
                }
                frame = self.ws.next() => {
                    heard = Instant::now();
                    match frame {
                        Some(Ok(Message::Text(text))) => {
                            if matches!(self.hear(&text).await, Next::Leave) {
                                return 1006;
                            }
                        }
                        Some(Ok(Message::Close(frame))) => {
                            self.judge(Frame::Close(frame.as_ref().map(|f| f.code.into())));
                            // The answer to it is on its way; the server ends the connection.
                            let _ = tokio::time::timeout(SEND_TIME_MAX, self.ws.next()).await;
                            return frame.map_or(1005, |frame| frame.code.into());
                        }
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return 1006,
                    }
                }
                () = tokio::time::sleep_until(heard + IDLE_TIME_MAX) => return 1006,
                () = tokio::time::sleep_until(act_at) => {
                    let began = Instant::now();
                    if let Some(code) = self.act().await {
                        return code;
                    }
                    // It did not listen meanwhile.
                    heard += began.elapsed();
                    act_at = Instant::now() + self.next_act();
                }
            }
        }
    }

    async fn hear(&mut self, text: &str) -> Next {
        let heard: Heard<'_> = match serde_json::from_str(text) {
            Ok(heard) => heard,
            Err(error) => {
                self.fault(format!("not a message of the server: {error}: {text}"));
                return Next::Leave;
            }
        };
        // What answers a request that was not told to the oracle is not told either.
        let judged = self.is_polite() || !matches!(heard.kind, "error" | "pong");
        if judged && !self.judge(Frame::Text(text)) {
            return Next::Leave;
        }
        match heard.kind {
            "message" => return self.message(&heard).await,
            "welcome" => return self.subscribe().await,
            "subscription_ack" => self.acked(&heard),
            "goaway" => {
                let after = Duration::from_millis(heard.reconnect_after_ms.unwrap_or(0));
                self.back_at = Some(Instant::now() + after);
            }
            "lost" => self.stage.tally.borrow_mut().lost += 1,
            "reset" => self.stage.tally.borrow_mut().resets += 1,
            "error" => {
                self.stage.tally.borrow_mut().errors += 1;
                if self.is_polite() {
                    self.fault(format!("an error for a polite client: {:?}", heard.code));
                }
            }
            _ => {}
        }
        let number = self.number;
        self.stage
            .trace
            .line(format_args!("c{number} heard {text}"));
        let mut me = self.me.borrow_mut();
        let snapshot = me.profile.snapshot;
        me.view.control(&heard, snapshot);
        Next::GoOn
    }

    fn acked(&mut self, heard: &Heard<'_>) {
        self.acked = Some(now());
        self.me.borrow_mut().live = true;
        let (recovered, unrecovered) = heard.outcome();
        let mut tally = self.stage.tally.borrow_mut();
        tally.recovered += recovered;
        tally.unrecovered += unrecovered;
    }

    async fn message(&mut self, heard: &Heard<'_>) -> Next {
        let number = self.number;
        let taken = heard.delivered().and_then(|message| {
            let hash = fnv1a(FNV_OFFSET, message.data.as_bytes());
            self.stage.trace.line(format_args!(
                "c{number} got {} {} {hash:016x}",
                message.channel, message.seq
            ));
            let new = self.me.borrow_mut().view.message(message, hash)?;
            Ok((new, message.data))
        });
        let (new, data) = match taken {
            Ok(taken) => taken,
            Err(what) => {
                self.fault(what);
                return Next::Leave;
            }
        };
        self.stage.tally.borrow_mut().delivered += 1;
        if new && self.habit == Habit::Fast {
            self.measure(data);
        }
        if self.habit == Habit::Slow && !self.stage.healed.get() {
            let thinks = self.me.borrow().profile.thinks;
            tokio::time::sleep(thinks).await;
        }
        Next::GoOn
    }

    /// Measures what was published since the subscribe was answered: what is older was waited for on
    /// purpose.
    fn measure(&self, data: &str) {
        let at = data.split_once("\"at\":").map(|(_, rest)| rest);
        let digits = at.and_then(|rest| rest.split_once(','));
        let Some(nanos) = digits.and_then(|(digits, _)| digits.parse().ok()) else {
            return;
        };
        let at = Duration::from_nanos(nanos);
        if self.acked.is_some_and(|acked| acked <= at) {
            let micros = now().saturating_sub(at).as_micros();
            let micros = u64::try_from(micros).unwrap_or(u64::MAX);
            self.stage.tally.borrow_mut().delays.push(micros);
        }
    }

    async fn subscribe(&mut self) -> Next {
        let request = {
            let me = self.me.borrow();
            let resume = me.view.resume().filter(|_| me.profile.resumes);
            me.profile.subscribe(resume)
        };
        self.ask(request.to_string()).await
    }

    /// Sends a request that the oracle is told of.
    pub(super) async fn ask(&mut self, request: String) -> Next {
        self.stage
            .oracle
            .borrow_mut()
            .client_sent(self.id, &request);
        self.request += 1;
        self.send(Message::text(request)).await
    }

    pub(super) async fn send(&mut self, message: Message) -> Next {
        let sent = tokio::time::timeout(SEND_TIME_MAX, self.ws.send(message)).await;
        match sent {
            Ok(Ok(())) => Next::GoOn,
            Ok(Err(_)) | Err(_) => Next::Leave,
        }
    }

    fn fault(&self, what: String) {
        let number = self.number;
        self.stage
            .trace
            .line(format_args!("c{number} FAULT {what}"));
        let what = format!("c{number} at {:.3} s: {what}", now().as_secs_f64());
        self.stage.tally.borrow_mut().fault(what);
    }
}
