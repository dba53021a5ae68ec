//! `odin-ws healthcheck`: its exit code for a server that lives, one that does not, and no server.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

/// The exit code, and what was said on standard error.
fn healthcheck(env: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_odin-ws"))
        .env_clear()
        .envs(env.iter().copied())
        .arg("healthcheck")
        .args(flags)
        .output()
        .expect("odin-ws runs");
    assert!(output.stdout.is_empty(), "{output:?}");
    (
        output.status.code(),
        String::from_utf8(output.stderr).expect("UTF-8"),
    )
}

/// A server that answers one request with these bytes, and whose request is checked.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut request = [0; 1024];
        let mut length = 0;
        while !request[..length].ends_with(b"\r\n\r\n") {
            length += stream.read(&mut request[length..]).expect("a request");
        }
        assert!(request.starts_with(b"GET /live HTTP/1.1\r\n"));
        stream.write_all(answer).expect("answer");
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lives_is_0_by_flag_and_by_environment() {
    let server = common::serve_on("0.0.0.0:0", &[]).await;
    // As in a container: the server listens on all addresses, and is asked on loopback.
    let listen = format!("0.0.0.0:{}", server.local_addr().port());
    let found = [
        healthcheck(&[], &["--listen", &listen]),
        healthcheck(&[("ODIN_WS_LISTEN", &listen)], &[]),
    ];
    assert_eq!(found, [(); 2].map(|()| (Some(0), String::new())));
}

#[test]
fn a_server_that_does_not_live_is_1_with_its_answer() {
    let addr = answering(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let (code, said) = healthcheck(&[], &["--listen", &addr.to_string()]);
    assert_eq!(code, Some(1));
    let expected = format!("odin-ws: http://{addr}/live: HTTP/1.1 503 Service Unavailable\n");
    assert_eq!(said, expected);
}

#[test]
fn no_answer_is_1() {
    let addr = answering(b"");
    let (code, said) = healthcheck(&[], &["--listen", &addr.to_string()]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/live: unexpected end of file"), "{said}");
}

#[test]
fn no_server_is_1() {
    // The port is free again once the listener is dropped.
    let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let (code, said) = healthcheck(&[], &["--listen", &addr.to_string()]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
}

#[test]
fn a_wrong_setting_is_1_and_named() {
    let (code, said) = healthcheck(&[("ODIN_WS_LISTEN", "everywhere")], &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("listen"), "{said}");
}
