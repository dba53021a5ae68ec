//! The stress tool against a real server in this process, over real sockets.

use std::time::Duration;

use odin_shell::server;
use odin_shell::settings::{Loaded, Settings};
use odin_sim::stress::{self, Options};

#[test]
fn a_real_server_keeps_its_promises_to_fifty_clients() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let args = [
        "odin-ws",
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "2",
        "--no-demo",
    ];
    let loaded = Settings::load(args.map(Into::into).into_iter(), std::iter::empty());
    let Ok(Loaded::Run(settings)) = loaded else {
        panic!("settings: {loaded:?}")
    };
    let server = runtime
        .block_on(server::from_settings(*settings, 1024))
        .expect("a server");
    let summary = stress::run(Options {
        url: format!("ws://{}/ws", server.local_addr()),
        publish: server.local_addr().to_string(),
        token: None,
        clients: 50,
        stalled: 1,
        duration: Duration::from_secs(2),
        rate: 200,
        payload: 50,
    })
    .expect("a run");
    runtime.block_on(server.stop());
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{summary}");
    assert!(
        summary.to_string().contains("50 connected at once"),
        "{summary}"
    );
}
