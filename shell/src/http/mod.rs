//! HTTP/1.1 on a shard's thread: the plain endpoints, and the handshake that turns a socket into a
//! WebSocket connection.
//!
//! hyper parses and writes; the routes are here, the rules about who may ask in [`guard`], those of the
//! handshake in [`upgrade`]. After an upgrade hyper's state is dropped: the connection's own task
//! holds the bare socket.

mod cork;
mod debug;
mod guard;
mod page;
mod prelude;
mod publish;
mod reply;
mod status;
mod token;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::auth::Accepted;
use crate::connection;
use crate::driver::{Handoff, Local};
use crate::listener::{FAREWELL, Stream};
use crate::server::counters::Broken;
use crate::server::shared::{Entrance, Handshake, Permit, Shared, Talk};
use cork::Corked;
use guard::Peer;
use reply::Reply;
use upgrade::Upgrade;

/// Longest wait for anything that is not limited: a day.
const UNLIMITED: Duration = Duration::from_secs(86_400);

/// hyper's buffer per connection, beside a head of `handshake_max_bytes`.
const BUFFER_BYTES_MIN: usize = 16 * 1024;

/// How long, and for how many bytes, a socket is read after its last response: closing with bytes
/// unread would reset the connection, and the client might lose the response.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 * 1024;

/// What answers GET, beside the files of the live page.
const ENDPOINTS: [&str; 7] = [
    "/health",
    "/live",
    "/ready",
    "/admission",
    "/metrics",
    "/stats",
    "/debug/clients",
];

/// Serves a new socket in a task of its own.
pub(crate) fn serve<S: Stream>(local: Rc<Local<S>>, handoff: Handoff<S::Detached>) {
    tokio::task::spawn_local(async move {
        let shared = Arc::clone(&local.shared);
        let Handoff {
            socket,
            peer,
            seat,
            handshake,
        } = handoff;
        let Ok(stream) = S::attach(socket) else {
            return shared.counters.broke(Broken::Transport);
        };
        shared.waits(&handshake);
        let handshake = Rc::new(handshake);
        let talked = tokio::select! {
            biased;
            talked = talk(shared, &handshake, stream, peer) => talked,
            // It was counted when another socket came.
            () = handshake.ticket.sent_away() => None,
        };
        if let Some((stream, upgraded)) = talked {
            drop::<Rc<Handshake>>(handshake);
            let Upgraded {
                response,
                early,
                permit,
                accepted,
            } = upgraded;
            connection::start(&local, stream, response, &early, (seat, permit), accepted);
        }
    });
}

/// Talks HTTP until the socket is upgraded; `None`: it is done with.
async fn talk<S: Stream>(
    shared: Arc<Shared>,
    handshake: &Rc<Handshake>,
    stream: S,
    peer: SocketAddr,
) -> Option<(S, Upgraded)> {
    let begun = prelude::run(&shared, handshake.entrance, stream, peer).await?;
    if shared.certificates.is_some() {
        // It has done its part so far: it is not the one that has been waited for the longest.
        shared.waits(handshake);
    }
    let exchange = Rc::new(Exchange::new(shared, Rc::clone(handshake), begun.peer));
    let (mut stream, early) = exchange.run(begun.stream, begun.time_left).await?;
    if let Some(client) = exchange.client.get() {
        // Whom a header speaks for has no port that is known.
        stream = stream.speaks_for(SocketAddr::new(client, 0));
    }
    let Some(permit) = exchange.permit.take() else {
        linger(stream).await;
        return None;
    };
    let upgraded = Upgraded {
        response: exchange.kept.take(),
        early,
        permit,
        accepted: exchange.accepted.take(),
    };
    Some((stream, upgraded))
}

/// What a socket that is upgraded leaves HTTP with.
struct Upgraded {
    /// What is still to be written.
    response: Vec<u8>,
    /// What the client sent after its request.
    early: bytes::Bytes,
    permit: Permit,
    accepted: Option<Accepted>,
}

/// Ends the socket such that the client can still read what was written last.
async fn linger<S: Stream>(mut stream: S) {
    stream.forget_after(FAREWELL);
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(LINGER_BYTES);
        let mut nowhere = tokio::io::sink();
        // Whether the client ends in time or not, the socket is closed.
        let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut nowhere)).await;
    }
}

/// The requests and responses of one socket.
struct Exchange {
    shared: Arc<Shared>,
    handshake: Rc<Handshake>,
    peer: Peer,
    /// For whom a proxy asked to upgrade.
    client: Cell<Option<IpAddr>>,
    /// Set with the response that upgrades.
    permit: RefCell<Option<Permit>>,
    /// That response, which the connection's first write takes along.
    kept: RefCell<Vec<u8>>,
    /// The token that came with the upgrade.
    accepted: RefCell<Option<Accepted>>,
    /// Whether a request has arrived.
    heard: Cell<bool>,
    /// When the request at hand must be done.
    deadline: Cell<Instant>,
}

impl Exchange {
    fn new(shared: Arc<Shared>, handshake: Rc<Handshake>, peer: Peer) -> Self {
        Self {
            shared,
            handshake,
            peer,
            client: Cell::new(None),
            permit: RefCell::new(None),
            kept: RefCell::new(Vec::new()),
            accepted: RefCell::new(None),
            heard: Cell::new(false),
            // The head has a timeout of its own.
            deadline: Cell::new(Instant::now() + UNLIMITED),
        }
    }

    /// Serves requests, the head of each within `timeout`, until the socket is upgraded or done with, and gives it back with the bytes
    /// that were read from it and not used. `None`: nothing good can come of it.
    async fn run<S: Stream>(
        self: &Rc<Self>,
        stream: S,
        timeout: Option<Duration>,
    ) -> Option<(S, bytes::Bytes)> {
        let settings = &self.shared.settings;
        let service = service_fn(|request| {
            let exchange = Rc::clone(self);
            // hyper asks for a future that may be moved.
            Box::pin(async move { Ok::<_, Infallible>(exchange.answer(request).await) })
                as Pin<Box<dyn Future<Output = _>>>
        });
        let mut http = http1::Builder::new()
            .timer(TokioTimer::new())
            // Who has sent all that it will send still wants its answer.
            .half_close(true)
            .header_read_timeout(timeout)
            .max_header_size(settings.handshake_max_bytes)
            .max_buf_size(settings.handshake_max_bytes.max(BUFFER_BYTES_MIN))
            .serve_connection(TokioIo::new(Corked::new(stream, Rc::clone(self))), service);
        let ended = tokio::select! {
            biased;
            ended = poll_fn(|cx| http.poll_without_shutdown(cx)) => ended,
            () = self.overdue() => {
                self.shared.counters.broke(Broken::Timeout);
                return None;
            }
        };
        let parts = http.into_parts();
        if let Err(error) = ended {
            // Who was served before, and then sends nothing more, has done nothing wrong.
            if !self.heard.get() || !parts.read_buf.is_empty() {
                self.shared.counters.broke(broken(&error));
            }
            tracing::debug!(%error, peer = %self.peer.addr, "HTTP ended");
        }
        Some((parts.io.into_inner().into_inner(), parts.read_buf))
    }

    /// Ready when a request has taken too long, with its body or with taking its response.
    async fn overdue(&self) {
        let timeout = self.shared.settings.request_timeout;
        if timeout.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let now = Instant::now();
            let deadline = self.deadline.get();
            if deadline <= now {
                return;
            }
            // A request that comes meanwhile brings the deadline nearer.
            tokio::time::sleep_until(deadline.min(now + timeout)).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        self.heard.set(true);
        let timeout = self.shared.settings.request_timeout;
        if !timeout.is_zero() {
            self.deadline.set(Instant::now() + timeout);
        }
        self.handshake.ticket.serve();
        let (head, body) = request.into_parts();
        let reply = self
            .route(&head, body)
            .await
            .unwrap_or_else(|refusal| *refusal);
        self.shared.counters.responded(reply.status().as_u16());
        // Who was upgraded is about to leave.
        if self.permit.borrow().is_none() {
            self.shared.waits(&self.handshake);
        }
        reply
    }

    async fn route(&self, head: &Parts, body: Incoming) -> Result<Reply, Box<Reply>> {
        let shared = &self.shared;
        let path = head.uri.path();
        let host = guard::host(head).and_then(|host| {
            guard::check_host(shared, self.handshake.entrance, host.as_deref())?;
            Ok(host)
        });
        let is_admin = self.handshake.entrance == Entrance::Admin;
        if !is_admin && (path == "/ws" || shared.talk == Talk::Echo) {
            return self.upgrade(head, host);
        }
        host?;
        let is_admins = path == "/metrics" || path == "/debug" || path.starts_with("/debug/");
        if is_admins && !is_admin && shared.admin_addr.is_some() {
            return Err(not_found());
        }
        if let Some(channel) = path.strip_prefix("/publish/")
            && !is_admin
        {
            return publish::answer(shared, self.peer, head, channel, body).await;
        }
        if path == "/debug" || path.starts_with("/debug/") {
            // Strangers are not told what is here and what is not.
            let token = shared.settings.admin_token.as_ref();
            guard::check_bearer(
                shared,
                self.handshake.entrance,
                &head.headers,
                self.peer,
                token,
            )?;
            if path == "/debug/record" {
                return debug::record(shared, head).await;
            }
        }
        if !ENDPOINTS.contains(&path) && (is_admin || !page::has(path)) {
            return Err(not_found());
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(Box::new(reply::method_not_allowed("GET, HEAD")));
        }
        Ok(match path {
            "/health" => status::health(shared),
            "/live" => status::live(shared).await,
            "/ready" => status::ready(shared),
            "/admission" => status::admission(shared),
            "/metrics" => status::metrics(shared).await,
            "/stats" => status::stats(shared).await,
            "/debug/clients" => status::clients(shared).await,
            file => page::file(file),
        })
    }

    /// Answers an upgrade request. What the Gate refuses it counts itself; what does not get so far is
    /// a broken handshake.
    fn upgrade(
        &self,
        head: &Parts,
        host: Result<Option<String>, Box<Reply>>,
    ) -> Result<Reply, Box<Reply>> {
        let counters = &self.shared.counters;
        let checked = host.and_then(|host| {
            let upgrade = Upgrade::check(head)?;
            guard::check_origin(&self.shared, &head.headers, host.as_deref())?;
            Ok(upgrade)
        });
        let upgrade = checked.inspect_err(|refusal| {
            let forbidden = refusal.status() == StatusCode::FORBIDDEN;
            counters.broke(if forbidden {
                Broken::Forbidden
            } else {
                Broken::Invalid
            });
        })?;
        let settings = &self.shared.settings;
        let client = guard::client(settings, &head.headers, self.peer.addr.ip())
            .inspect_err(|_| counters.broke(Broken::Proxy))?;
        self.client
            .set(Some(client).filter(|client| *client != self.peer.addr.ip()));
        let permit = self
            .shared
            .admit(client)
            .map_err(|r| Box::new(reply::refused(&r)))?;
        // After the Gate, which bounds how often a signature is verified; on refusal the place is free again.
        let accepted = token::accept(&self.shared, &head.headers).inspect_err(|_| {
            counters.broke(Broken::Unauthorized);
        })?;
        *self.accepted.borrow_mut() = accepted;
        *self.permit.borrow_mut() = Some(permit);
        Ok(upgrade.accept())
    }
}

fn not_found() -> Box<Reply> {
    let message = "There is nothing at this path.";
    reply::error(StatusCode::NOT_FOUND, "not_found", message).into()
}

/// What broke a handshake that HTTP did not get through.
fn broken(error: &hyper::Error) -> Broken {
    if error.is_parse_too_large() {
        Broken::TooLarge
    } else if error.is_timeout() {
        Broken::Timeout
    } else if error.is_parse() {
        Broken::Invalid
    } else {
        Broken::Transport
    }
}
