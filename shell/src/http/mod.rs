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
mod publish;
mod reply;
mod status;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
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

use crate::connection;
use crate::driver::{Handoff, Local};
use crate::listener::Stream;
use crate::server::counters::Broken;
use crate::server::shared::{Handshake, Permit, Shared};
use cork::Corked;
use reply::Reply;
use upgrade::Upgrade;

/// How long a request may take from its head to the end of its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

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
        let exchange = Rc::new(Exchange::new(shared, peer));
        let Some((stream, early)) = exchange.run(stream).await else {
            return;
        };
        match exchange.permit.take() {
            Some(permit) => {
                drop::<Handshake>(handshake);
                let response = exchange.kept.take();
                connection::start(&local, stream, response, &early, (seat, permit));
            }
            None => linger(stream).await,
        }
    });
}

/// Ends the socket such that the client can still read what was written last.
async fn linger<S: Stream>(mut stream: S) {
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
    peer: SocketAddr,
    /// Set with the response that upgrades.
    permit: RefCell<Option<Permit>>,
    /// That response, which the connection's first write takes along.
    kept: RefCell<Vec<u8>>,
    /// Whether a request has arrived.
    heard: Cell<bool>,
    /// When the request at hand must be done.
    deadline: Cell<Instant>,
}

impl Exchange {
    fn new(shared: Arc<Shared>, peer: SocketAddr) -> Self {
        Self {
            shared,
            peer,
            permit: RefCell::new(None),
            kept: RefCell::new(Vec::new()),
            heard: Cell::new(false),
            // The head has a timeout of its own.
            deadline: Cell::new(Instant::now() + UNLIMITED),
        }
    }

    /// Serves requests until the socket is upgraded or done with, and gives it back with the bytes
    /// that were read from it and not used. `None`: nothing good can come of it.
    async fn run<S: Stream>(self: &Rc<Self>, stream: S) -> Option<(S, bytes::Bytes)> {
        let settings = &self.shared.settings;
        let service = service_fn(|request| {
            let exchange = Rc::clone(self);
            // hyper asks for a future that may be moved.
            Box::pin(async move { Ok::<_, Infallible>(exchange.answer(request).await) })
                as Pin<Box<dyn Future<Output = _>>>
        });
        let timeout = settings.handshake_timeout;
        let mut http = http1::Builder::new()
            .timer(TokioTimer::new())
            // Who has sent all that it will send still wants its answer.
            .half_close(true)
            .header_read_timeout((!timeout.is_zero()).then_some(timeout))
            .max_header_size(settings.handshake_max_bytes)
            .max_buf_size(settings.handshake_max_bytes.max(BUFFER_BYTES_MIN))
            .serve_connection(TokioIo::new(Corked::new(stream, Rc::clone(self))), service);
        let ended = tokio::select! {
            biased;
            ended = poll_fn(|cx| http.poll_without_shutdown(cx)) => ended,
            () = self.overdue() => return None,
        };
        if let Err(error) = ended {
            if !self.heard.get() {
                self.shared.counters.broke(broken(&error));
            }
            tracing::debug!(%error, peer = %self.peer, "HTTP ended");
        }
        let parts = http.into_parts();
        Some((parts.io.into_inner().into_inner(), parts.read_buf))
    }

    /// Ready when a request has taken too long.
    async fn overdue(&self) {
        loop {
            let now = Instant::now();
            let deadline = self.deadline.get();
            if deadline <= now {
                return;
            }
            // A request that comes meanwhile brings the deadline nearer.
            tokio::time::sleep_until(deadline.min(now + REQUEST_TIMEOUT)).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        self.heard.set(true);
        self.deadline.set(Instant::now() + REQUEST_TIMEOUT);
        let (head, body) = request.into_parts();
        let reply = self
            .route(&head, body)
            .await
            .unwrap_or_else(|refusal| *refusal);
        self.shared.counters.responded(reply.status().as_u16());
        reply
    }

    async fn route(&self, head: &Parts, body: Incoming) -> Result<Reply, Box<Reply>> {
        let shared = &self.shared;
        let path = head.uri.path();
        let host = guard::host(head).and_then(|host| {
            guard::check_host(shared, host.as_deref())?;
            Ok(host)
        });
        if path == "/ws" {
            return self.upgrade(head, host);
        }
        host?;
        if let Some(channel) = path.strip_prefix("/publish/") {
            return publish::answer(shared, self.peer, head, channel, body).await;
        }
        if path == "/debug" || path.starts_with("/debug/") {
            // Strangers are not told what is here and what is not.
            let token = shared.settings.admin_token.as_ref();
            guard::check_bearer(shared, &head.headers, self.peer, token)?;
            if path == "/debug/record" {
                return debug::record(shared, head).await;
            }
        }
        if !ENDPOINTS.contains(&path) && !page::has(path) {
            let message = "There is nothing at this path.";
            return Err(reply::error(StatusCode::NOT_FOUND, "not_found", message).into());
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
        let permit = self
            .shared
            .admit(self.peer.ip())
            .map_err(|r| Box::new(reply::refused(&r)))?;
        *self.permit.borrow_mut() = Some(permit);
        Ok(upgrade.accept())
    }
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
