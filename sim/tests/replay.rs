//! A recording of a real server under load, with one client stalled on purpose: it runs again to the
//! recorded state, and says why that client was closed.

use std::ffi::OsString;
use std::sync::mpsc;
use std::time::Duration;

use odin_core::record::File;
use odin_core::time::Instant;
use odin_shell::server;
use odin_shell::settings::{Loaded, Settings};
use odin_sim::replay::{Client, Question, answer, command};
use odin_sim::stress;

fn settings(flags: &[&str]) -> Settings {
    let args = ["odin-ws", "--listen", "127.0.0.1:0", "--no-demo"];
    let args = args.iter().chain(flags).map(OsString::from);
    match Settings::load(args, std::iter::empty()) {
        Ok(Loaded::Run(settings)) => *settings,
        other => panic!("no settings: {other:?}"),
    }
}

/// Runs a server on a thread of its own while `load` is put on it; gives the path of the recording.
fn recorded(flags: &[&str], load: impl FnOnce(std::net::SocketAddr)) -> String {
    let settings = settings(flags);
    let (said, heard) = mpsc::channel();
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let server = server::from_settings(settings, 4096)
                .await
                .expect("a server");
            said.send(server.local_addr()).expect("somebody listens");
            is_done.await.expect("the load ends");
            let written = server.record("test").await.expect("a file");
            server.stop().await;
            written.path.display().to_string()
        })
    });
    load(heard.recv().expect("an address"));
    done.send(()).expect("the server runs");
    server.join().expect("no panic")
}

#[test]
fn a_recording_under_load_explains_why_the_stalled_client_was_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().display().to_string();
    let flags = [
        "--record-dir",
        &dir,
        "--shards",
        "2",
        "--write-stall",
        "1s",
        "--send-buffer",
        "4KiB",
    ];
    let path = recorded(&flags, |addr| {
        let summary = stress::run(stress::Options {
            url: format!("ws://{addr}/ws"),
            publish: addr.to_string(),
            token: None,
            clients: 20,
            stalled: 1,
            duration: Duration::from_secs(6),
            rate: 100,
            payload: 50_000,
        });
        let summary = summary.expect("a run");
        assert_eq!(summary.failures, Vec::<String>::new());
    });
    let file = File::parse(&std::fs::read(&path).expect("a file")).expect("a recording");
    let all = answer(&file, &Question::Summary).expect("the recorded states");
    for machine in ["feed", "gate", "shard 0", "shard 1"] {
        let line = all.lines().find(|line| line.starts_with(machine));
        let line = line.unwrap_or_else(|| panic!("{machine} is missing: {all}"));
        assert!(line.contains("reached"), "{line}");
    }
    let slow: Vec<&str> = all
        .lines()
        .filter(|line| line.ends_with("slow_consumer"))
        .collect();
    let [slow] = slow[..] else {
        panic!("one client was too slow: {all}")
    };
    let conn = slow.split_whitespace().nth(2).expect("an id");
    let shard = usize::from(all.find(slow) > all.find("\nshard 1"));
    let client = Client::parse(&format!("{shard}/{conn}"));
    let life = answer(&file, &Question::Client(client)).expect("a life");
    for told in [
        "opened as",
        "says {\"",
        "is subscribed to",
        "its socket is full",
        "is closed with 4008 (slow_consumer): its socket took no byte for",
        "its socket is gone: slow_consumer",
    ] {
        assert!(life.contains(told), "{told:?} is missing:\n{life}");
    }
    // The same client by the id that it was told in its welcome.
    let session = life
        .split("session ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let by_session = Question::Client(Client::parse(session.expect("an id")));
    assert_eq!(answer(&file, &by_session).expect("a life"), life);

    let then = answer(&file, &Question::At(Instant::from_millis(3_000))).expect("a moment");
    assert!(then.contains("take nothing"), "{then}");
    let name = life
        .split("is subscribed to ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let story = Question::Channel(name.expect("a name").to_owned());
    let story = answer(&file, &story).expect("a story");
    let messages = story.matches(": message seq ").count();
    assert!((10..=600).contains(&messages), "{story}");
}

#[test]
fn what_is_no_recording_is_refused_in_words() {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    std::fs::write(&path, b"ODINREC\n and then nothing of meaning").expect("written");
    for (given, told) in [
        (&["/nowhere/at/all"][..], "No such file"),
        (&[path.as_str()][..], "the recording is damaged"),
        (&[&path, "--at", "soon"][..], "no number of seconds"),
        (
            &[&path, "--at", "1", "--channel", "x"][..],
            "one thing at a time",
        ),
    ] {
        let error = command(&words(given)).expect_err("refused");
        assert!(error.contains(told), "{error}");
    }
    let empty = File::default();
    let client = Question::Client(Client::parse("abc"));
    let error = answer(&empty, &client).expect_err("nobody");
    assert_eq!(error, "no such client lived while this was recorded");
}
