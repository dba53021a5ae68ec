//! A listener apart for those who look after the server.

mod common;

use common::{ask, get, publish, request, serve, serve_on, settings, upgrade_lines};
use odin_shell::server;

const BOTH: [&str; 5] = ["/health", "/live", "/ready", "/admission", "/stats"];
const ADMINS: [&str; 2] = ["/metrics", "/debug/clients"];

#[tokio::test]
async fn metrics_and_debug_are_on_the_admin_listener_and_clients_are_not() {
    let server = serve(&["--admin-listen=127.0.0.1:0"]).await;
    let (main, admin) = (server.local_addr(), server.admin_addr().expect("admin"));
    assert_ne!(main, admin);
    for path in BOTH {
        assert_eq!(get(main, path).await.status, 200, "{path}");
        assert_eq!(get(admin, path).await.status, 200, "{path}");
    }
    for path in ADMINS {
        let answer = get(main, path).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "not_found"),
            "{path}"
        );
        assert_eq!(get(admin, path).await.status, 200, "{path}");
    }
    for path in ["/debug", "/debug/", "/debug/record", "/debug/nothing"] {
        assert_eq!(get(main, path).await.status, 404, "{path}");
    }
    assert_eq!(get(admin, "/debug/record").await.status, 405);
    assert_eq!(get(main, "/").await.status, 200);
    for path in ["/", "/client.js", "/publish/A", "/ws"] {
        assert_eq!(get(admin, path).await.status, 404, "{path}");
    }
    assert_eq!(publish(main, "A", "1").await.status, 200);
    assert_eq!(publish(admin, "A", "1").await.status, 404);
    assert_eq!(ask(main, request(&upgrade_lines(main))).await.status, 101);
    assert_eq!(ask(admin, request(&upgrade_lines(admin))).await.status, 404);
}

#[tokio::test]
async fn without_one_the_main_listener_has_them() {
    let server = serve(&[]).await;
    assert_eq!(server.admin_addr(), None);
    for path in ADMINS {
        assert_eq!(get(server.local_addr(), path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn who_may_administer_depends_on_the_listener_that_is_asked() {
    let server = serve_on("0.0.0.0:0", &["--admin-listen=127.0.0.1:0"]).await;
    let admin = server.admin_addr().expect("admin");
    // No token is set, and the admin listener can be reached from this machine only.
    assert_eq!(get(admin, "/debug/clients").await.status, 200);
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let answer = ask(admin, rebound).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (403, "host_not_allowed")
    );
    drop(server);
    let server = serve(&["--admin-listen=0.0.0.0:0"]).await;
    let port = server.admin_addr().expect("admin").port();
    let admin = (std::net::Ipv4Addr::LOCALHOST, port).into();
    let answer = get(admin, "/debug/clients").await;
    assert_eq!((answer.status, answer.error().as_str()), (403, "forbidden"));
    assert_eq!(get(admin, "/metrics").await.status, 200);
}

#[tokio::test]
async fn an_admin_listener_that_cannot_be_had_ends_the_start() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let addr = taken.local_addr().expect("an address").to_string();
    let flags = ["--listen=127.0.0.1:0", "--admin-listen", &addr];
    let refused = server::from_settings(settings(&flags), 4096).await;
    let refused = refused.err().expect("it is taken").to_string();
    assert!(
        refused.starts_with(&format!("admin_listen {addr}: ")),
        "{refused}"
    );
}
