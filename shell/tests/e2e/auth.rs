//! Authentication in the real binary: what SIGHUP does, what is said at the start, and that no secret
//! comes out anywhere.

use std::fs::File;
use std::path::Path;

use serde_json::json;

use crate::client::{Client, Event};
use crate::common::tokens::{claims, secret_file, sign, token, write};
use crate::nats::NatsServer;
use crate::server::{Server, request};

/// Starts the program with these arguments and variables; what it logs goes to a file.
fn start(log: &Path, args: &[&str], env: &[(&str, &str)]) -> Server {
    let mut command = Server::command();
    command.args(args).envs(env.iter().copied());
    command.stderr(File::create(log).expect("a file"));
    Server::spawn(command)
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reads_again_and_closes_who_is_revoked_and_nobody_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret_file(dir.path());
    let list = write(dir.path(), "revoked", "");
    let log = dir.path().join("log");
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--no-demo",
        "--auth-secret-file",
        &secret,
        "--auth-revoked",
        &list,
    ];
    let server = start(&log, &args, &[]);
    let mut clients = Vec::new();
    for id in ["one", "two", "three"] {
        let mut client = Client::connect(server.addr).await;
        let mut claims = claims("alice", &["A"], 60);
        claims["jti"] = json!(id);
        let auth = json!({"type":"auth","data":{"token":sign(&claims)}});
        assert_eq!(client.request(&auth).await["type"], "auth_ack");
        client.subscribe(&["A"]).await;
        clients.push(client);
    }
    write(dir.path(), "revoked", "two");
    server.signal(rustix::process::Signal::HUP);
    assert_eq!(clients[1].next().await, Event::Closed(4001));
    // What is wrong with the keys keeps nobody from being revoked, and is told.
    std::fs::remove_file(&secret).expect("the secret");
    write(dir.path(), "revoked", "two\nthree");
    server.signal(rustix::process::Signal::HUP);
    assert_eq!(clients[2].next().await, Event::Closed(4001));
    assert_eq!(server.metric("ws_reloads_total{outcome=\"failed\"}"), 1.0);
    assert_eq!(server.metric("ws_reloads_total{outcome=\"ok\"}"), 3.0);
    let log = read(&log);
    let told = |what: &str, words: &str| {
        let lines = log.lines().filter(|line| line.contains(words));
        lines
            .filter(|line| line.contains(&format!("what=\"{what}\"")))
            .count()
    };
    let keys = "auth_keys and auth_secret_file";
    let failed = ": cannot be read again, and stays as it was";
    assert_eq!((told(keys, ": read again"), told(keys, failed)), (1, 1));
    let list = "auth_revoked";
    assert_eq!((told(list, ": read again"), told(list, failed)), (2, 0));
    assert_eq!(server.publish("A", "1").status, 200);
    assert_eq!(clients[0].next().await.json()["seq"], 1);
}

#[test]
fn keys_that_cannot_be_read_end_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let short = write(dir.path(), "secret", "hunter2");
    let (code, errors) = Server::refuse(&["--listen", "127.0.0.1:0", "--auth-secret-file", &short]);
    assert_eq!(code, Some(1));
    let expected = format!("auth: {short}: a secret has at least 32 bytes\n");
    assert!(errors.ends_with(&expected), "{errors}");
}

#[test]
fn who_listens_beyond_this_machine_without_authentication_is_warned() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret_file(dir.path());
    let log = dir.path().join("log");
    let warning = "no authentication is configured";
    for (listen, more, warned) in [
        ("0.0.0.0:0", &[][..], true),
        ("0.0.0.0:0", &["--auth-secret-file", secret.as_str()], false),
        ("127.0.0.1:0", &[], false),
    ] {
        let args = [&["--listen", listen, "--log", "warn"][..], more].concat();
        let mut server = start(&log, &args, &[]);
        server.terminate();
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(read(&log).contains(warning), warned, "{listen} {more:?}");
    }
}

/// What must never come out, and where it might.
struct Marks {
    secrets: Vec<(&'static str, String)>,
}

impl Marks {
    fn new(tokens: &[String]) -> Self {
        let mut secrets = vec![
            (
                "the shared secret",
                crate::common::tokens::SECRET.to_owned(),
            ),
            ("the NATS password", "mark-nats-password".to_owned()),
            ("the publish token", "mark-publish-token".to_owned()),
            ("a publisher's token", "mark-publisher-file".to_owned()),
            ("the admin token", "mark-admin-token".to_owned()),
            ("a wrong token", "mark-wrong-token".to_owned()),
        ];
        // The header of a token is the same in all, and no secret.
        let parts = tokens.iter().flat_map(|token| token.split('.').skip(1));
        secrets.extend(parts.map(|part| ("a part of a client's token", part.to_owned())));
        Self { secrets }
    }

    #[track_caller]
    fn absent(&self, place: &str, text: &str) {
        for (what, secret) in &self.secrets {
            assert!(!text.contains(secret.as_str()), "{what} is in {place}");
        }
    }
}

/// Shows tokens in every way: the header, the subprotocol, the first message, a refresh, a bad one, and
/// one in a request that is none.
async fn show_tokens(server: &Server, tokens: &[String; 5], marks: &Marks) {
    for line in [
        format!("Authorization: Bearer {}", tokens[0]),
        format!(
            "Sec-WebSocket-Protocol: odin.v1.json, odin.bearer.{}",
            tokens[1]
        ),
    ] {
        let mut lines = crate::common::upgrade_lines(server.addr);
        lines.push(line);
        let mut stream = tokio::net::TcpStream::connect(server.addr)
            .await
            .expect("connect");
        let text = crate::common::request(&lines);
        tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes())
            .await
            .expect("send");
        let answer = crate::common::answer(&mut stream, false).await;
        assert_eq!(answer.status, 101);
        marks.absent("the answer to an upgrade", &format!("{answer:?}"));
    }
    let mut client = Client::connect(server.addr).await;
    for (token, expected) in [(&tokens[2], "auth_ack"), (&tokens[3], "error")] {
        let answer = client
            .request(&json!({"type":"auth","data":{"token":token}}))
            .await;
        assert_eq!(answer["type"], expected);
    }
    let mut bad = Client::connect(server.addr).await;
    bad.send(&json!({"type":"auth","data":{"token":tokens[4].clone() + "AAAA"}}))
        .await;
    let refused = bad.next().await.json().to_string();
    marks.absent("an error", &refused);
    bad.next().await;
    let misspelt = json!({"type":"auth","data":{"tokenn":tokens[4]}});
    let mut bad = Client::connect(server.addr).await;
    marks.absent("an error", &bad.request(&misspelt).await.to_string());
}

/// Publishes and asks for a recording, with right tokens and wrong ones.
fn publish_and_record(server: &Server, marks: &Marks) {
    for token in [
        "mark-publish-token",
        "mark-publisher-file",
        "mark-wrong-token",
    ] {
        let answer = request(
            server.addr,
            &format!(
                "POST /publish/A HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: 1\r\nConnection: close\r\n\r\n1",
                server.addr
            ),
        );
        let expected = if token == "mark-wrong-token" {
            401
        } else {
            202
        };
        assert_eq!(answer.status, expected, "{answer:?}");
        marks.absent("an answer", &answer.body);
    }
    for token in ["mark-admin-token", "mark-wrong-token"] {
        let answer = request(
            server.addr,
            &format!(
                "POST /debug/record HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
                server.addr
            ),
        );
        marks.absent("an answer", &answer.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_logs_metrics_recordings_or_the_printed_settings() {
    let config = "authorization { user: odin, password: \"mark-nats-password\" }";
    let nats = NatsServer::configured(config);
    let dir = tempfile::tempdir().expect("a directory");
    let records = tempfile::tempdir().expect("a directory");
    let (log, records) = (dir.path().join("log"), records.path());
    let secret = write(dir.path(), "secret", crate::common::tokens::SECRET);
    let publishers =
        "[[publisher]]\nname = \"p\"\ntoken = \"mark-publisher-file\"\nchannels = [\">\"]";
    let publishers = write(dir.path(), "publishers", publishers);
    let (url, records_dir) = (nats.url(), records.display().to_string());
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--source",
        "nats",
        "--nats-url",
        &url,
        "--nats-user",
        "odin",
        "--auth-secret-file",
        &secret,
        "--publish-tokens",
        &publishers,
        "--record-dir",
        &records_dir,
    ];
    let env = [
        ("ODIN_WS_LOG", "trace"),
        ("ODIN_WS_NATS_PASSWORD", "mark-nats-password"),
        ("ODIN_WS_PUBLISH_TOKEN", "mark-publish-token"),
        ("ODIN_WS_ADMIN_TOKEN", "mark-admin-token"),
    ];
    let server = start(&log, &args, &env);
    let tokens = ["header", "protocol", "message", "refresh", "bad"].map(|who| token(who, &[">"]));
    let marks = Marks::new(&tokens);
    show_tokens(&server, &tokens, &marks).await;
    server.until_health(200, std::time::Duration::from_secs(20));
    publish_and_record(&server, &marks);
    server.signal(rustix::process::Signal::HUP);
    server.until_metric("ws_reloads_total{outcome=\"ok\"}", 2.0);

    for path in ["/metrics", "/stats", "/health", "/debug/clients"] {
        marks.absent(path, &server.get(path).body);
    }
    let recordings: Vec<_> = std::fs::read_dir(records).expect("a listing").collect();
    assert_eq!(recordings.len(), 1, "one recording");
    for file in recordings {
        marks.absent("a recording", &read(&file.expect("an entry").path()));
    }
    let mut print = Server::command();
    print.args(args).arg("--print-config").envs(env);
    let printed = print.output().expect("it prints").stdout;
    let printed = String::from_utf8(printed).expect("text");
    assert!(printed.contains("publish_token = \"***\""), "{printed}");
    marks.absent("--print-config", &printed);
    server.terminate();
    let log = read(&log);
    assert!(
        log.contains("TRACE") && log.contains("read again"),
        "it logs at trace level"
    );
    marks.absent("the log", &log);
}
