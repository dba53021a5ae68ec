//! A way to a server that can be cut and given back.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes connections on to a port of 127.0.0.1 while it is open; it ends when dropped.
pub struct Proxy {
    port: u16,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(true);
        let task = tokio::spawn(serve(listener, to, is_open));
        Self { port, open, task }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends every connection, and every new one at once.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.open.send_replace(true);
    }
}

async fn serve(listener: TcpListener, to: u16, is_open: watch::Receiver<bool>) {
    loop {
        let Ok((inner, _)) = listener.accept().await else {
            continue;
        };
        let mut is_open = is_open.clone();
        tokio::spawn(async move {
            let ends = is_open.wait_for(|open| !open);
            tokio::select! {
                biased;
                _ = ends => {}
                () = pass(inner, to) => {}
            }
        });
    }
}

async fn pass(mut inner: TcpStream, to: u16) {
    if let Ok(mut outer) = TcpStream::connect(("127.0.0.1", to)).await {
        // Either side may end it.
        let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
    }
}
