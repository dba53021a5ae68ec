//! A certificate that is replaced while the server runs, and files that are of no use.

use serde_json::json;

use crate::client::{Secured, connect, issue};
use crate::common;
use odin_shell::server;
use odin_shell::tls::Certificates;
use tempfile::TempDir;

const RELOADED: &str = "ws_reloads_total{outcome=\"ok\"}";
const FAILED: &str = "ws_reloads_total{outcome=\"failed\"}";

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_the_others_stay() {
    let secured = Secured::start(&[]).await;
    let mut client = secured.client(0).await;
    client.subscribe(json!({"channels": ["A"]})).await;
    let new = issue(secured.folder.path());
    assert!(
        connect(secured.addr, &new, 0).await.is_err(),
        "not before it is told"
    );
    secured.server.reload().await;
    connect(secured.addr, &new, 0).await.expect("the new one");
    let old = connect(secured.addr, &secured.known, 0).await;
    let refused = old.expect_err("the old one is gone");
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // The connection that was made with the old one has noticed nothing.
    let secured = Secured {
        known: new,
        ..secured
    };
    secured.publish("A", &["1".to_owned()]).await;
    assert_eq!(client.next().await["data"], 1);
    assert_eq!(secured.metric(RELOADED).await, "1");
    assert_eq!(secured.metric(FAILED).await, "0");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_leaves_the_one_there_is() {
    let secured = Secured::start(&[]).await;
    let path = |name: &str| secured.folder.path().join(name);
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let good = std::fs::read_to_string(&certificate).expect("cert.pem");
    let other = TempDir::new().expect("a folder");
    issue(other.path());
    let others = std::fs::read_to_string(other.path().join("cert.pem")).expect("cert.pem");
    let mut failed = 0;
    let mut stays = async |said: &str| {
        let refused = Certificates::load(&certificate, &key).expect_err(said);
        assert!(refused.to_string().contains(said), "{said}: {refused}");
        secured.server.reload().await;
        failed += 1;
        assert_eq!(secured.metric(FAILED).await, failed.to_string());
        connect(secured.addr, &secured.known, 0).await.expect(said);
    };
    for (content, said) in [
        ("", "cert.pem: no certificate in it"),
        (&good[..good.len() / 2], "cert.pem: "),
        (&others, "KeyMismatch"),
    ] {
        std::fs::write(&certificate, content).expect("cert.pem");
        stays(said).await;
    }
    std::fs::write(&certificate, &good).expect("cert.pem");
    std::fs::remove_file(&key).expect("key.pem");
    stays("cannot read").await;
    assert_eq!(secured.metric(RELOADED).await, "0");
}

#[tokio::test]
async fn a_server_does_not_start_with_a_certificate_that_cannot_be_used() {
    let folder = TempDir::new().expect("a folder");
    issue(folder.path());
    let certificate = folder.path().join("cert.pem").display().to_string();
    let flags = [
        "--listen=127.0.0.1:0",
        "--tls-cert",
        &certificate,
        "--tls-key",
        &certificate,
    ];
    let refused = server::from_settings(common::settings(&flags), 4096).await;
    let refused = refused.err().expect("a certificate is no key").to_string();
    assert!(refused.contains("cert.pem: no private key"), "{refused}");
}
