//! A client of the stress tool, on a real socket: connects, subscribes, reads, comes back and resumes.

use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::Run;
use super::judge::Event;
use crate::bell::Ear;
use crate::client::View;
use crate::client::view::Heard;
use crate::oracle::ClientId;
use crate::trace::{FNV_OFFSET, fnv1a};

/// How long connecting and upgrading may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a client that does not read looks whether it is still connected.
const LOOK: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Lives until the run ends.
pub(super) async fn live(run: Rc<Run>, number: u32, names: Vec<String>, delay: Duration) {
    tokio::time::sleep(delay).await;
    let client = ClientId(number);
    let mut view = View::new(false);
    while !run.is_over() {
        if let Some(socket) = connect(&run).await {
            run.tally.borrow_mut().connected += 1;
            run.judge.borrow_mut().happened(client, Event::Opened);
            let code = attend(&run, client, &names, &mut view, socket).await;
            run.judge.borrow_mut().happened(client, Event::Gone);
            let mut tally = run.tally.borrow_mut();
            tally.connected -= 1;
            if let Some(code) = code {
                *tally.closes.entry(code).or_default() += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(200 + u64::from(number % 300))).await;
    }
}

async fn connect(run: &Run) -> Option<Socket> {
    let connecting = tokio_tungstenite::connect_async(run.options.url.as_str());
    let connected = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await;
    let mut tally = run.tally.borrow_mut();
    match connected {
        Ok(Ok((socket, _))) => return Some(socket),
        Ok(Err(Error::Http(response))) => {
            *tally.refused.entry(response.status().as_u16()).or_default() += 1;
        }
        Ok(Err(_)) | Err(_) => tally.failed += 1,
    }
    None
}

/// Serves a connection to its end; gives its close code, 1006 where there is none, and `None` where this
/// side ended it with the run.
async fn attend(
    run: &Run,
    client: ClientId,
    names: &[String],
    view: &mut View,
    mut socket: Socket,
) -> Option<u16> {
    let mut data = serde_json::json!({"channels": names, "mode": "lossless"});
    if let Some(resume) = view.resume() {
        data["resume"] = resume;
    }
    let subscribe = serde_json::json!({"type": "subscribe", "id": 1, "data": data}).to_string();
    run.judge
        .borrow_mut()
        .happened(client, Event::Sent(subscribe.clone()));
    if socket.send(Message::text(subscribe)).await.is_err() {
        return Some(1006);
    }
    let mut over = run.over.ear();
    if usize::try_from(client.0).is_ok_and(|number| number < run.options.stalled) {
        return stall(&mut socket, &mut over).await;
    }
    loop {
        let frame = tokio::select! {
            biased;
            () = over.rung() => {
                let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
                return None;
            }
            frame = socket.next() => frame,
        };
        match frame {
            Some(Ok(Message::Text(text))) => {
                take(run, view, &text);
                let event = Event::Text(text.as_str().into());
                run.judge.borrow_mut().happened(client, event);
            }
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map(|frame| u16::from(frame.code));
                run.judge.borrow_mut().happened(client, Event::Closed(code));
                return Some(code.unwrap_or(1005));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Some(1006),
        }
    }
}

/// Reads nothing until the end, and then sees what became of it. Who was thrown out comes back, to stall again.
async fn stall(socket: &mut Socket, over: &mut Ear) -> Option<u16> {
    loop {
        tokio::select! {
            biased;
            () = over.rung() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        // What is not read makes the socket readable; that its other end is closed shows beside that.
        if let MaybeTlsStream::Plain(tcp) = socket.get_ref() {
            let ready = tokio::time::timeout(Duration::ZERO, tcp.ready(Interest::READABLE)).await;
            if matches!(ready, Ok(Ok(ready)) if ready.is_read_closed()) {
                return Some(1006);
            }
        }
    }
    let ended = tokio::time::timeout(Duration::from_secs(5), rest(socket)).await;
    ended.ok().flatten()
}

/// Reads to the end, for the close code.
async fn rest(socket: &mut Socket) -> Option<u16> {
    while let Some(frame) = socket.next().await {
        match frame {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
            Ok(_) => {}
            Err(_) => return Some(1006),
        }
    }
    Some(1006)
}

/// Keeps what is needed to resume, and measures. What is wrong is for the oracle to say.
fn take(run: &Run, view: &mut View, text: &str) {
    let Ok(heard) = serde_json::from_str::<Heard<'_>>(text) else {
        return;
    };
    let Ok(message) = heard.delivered() else {
        return view.control(&heard, false);
    };
    let hash = fnv1a(FNV_OFFSET, message.data.as_bytes());
    if view.message(message, hash) == Ok(true) {
        run.measure(message.data);
    }
}
