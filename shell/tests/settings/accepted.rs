//! What is accepted, and what it becomes.

use std::net::IpAddr;
use std::time::Duration;

use odin_shell::settings::{Cidr, Loaded, LogFormat, SourceKind, TABLE};

use crate::{file, run, with_file};

const MIB: u64 = 1024 * 1024;

#[test]
fn nothing_given_is_the_documented_default() {
    let s = run(&[], &[]);
    assert_eq!(s.listen.to_string(), "127.0.0.1:3004");
    assert_eq!((s.source, s.demo_on()), (SourceKind::Embedded, true));
    assert_eq!(
        (s.max_connections, s.memory_limit, s.cpu_limit, s.shards),
        (None, None, None, None)
    );
    assert_eq!(s.nats_url.to_string(), "nats://127.0.0.1:4222");
    assert_eq!((s.publish_token, s.admin_token), (None, None));
    assert_eq!(s.drain_timeout, Duration::from_secs(30));
    assert_eq!(s.log_format, LogFormat::Text);
}

#[test]
fn the_defaults_are_those_of_the_core() {
    let s = run(&[], &[]);
    assert_eq!(s.core_config(1), odin_core::config::Config::default());
    assert_eq!(s.feed_config(), odin_core::config::FeedConfig::default());
    assert_eq!(
        s.gate_config(16_384),
        odin_core::config::GateConfig::default()
    );
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let toml = "accept_rate = 3\naccept_burst = 30\nmessage_rate = 300\n";
    let env = [("ODIN_WS_ACCEPT_RATE", "2"), ("ODIN_WS_ACCEPT_BURST", "20")];
    let Ok(Loaded::Run(s)) = with_file(toml, &["--accept-rate", "1"], &env) else {
        panic!("refused")
    };
    assert_eq!(
        (
            s.accept_rate,
            s.accept_burst,
            s.message_rate,
            s.message_burst
        ),
        (1, 20, 300, 100)
    );

    let path = file("accept_rate = 7");
    let env = [("ODIN_WS_CONFIG", path.to_str().expect("a UTF-8 path"))];
    assert_eq!(run(&[], &env).accept_rate, 7);
}

#[test]
fn plain_nats_url_is_read_last_and_is_no_contradiction() {
    let nats = ("NATS_URL", "nats://a:1");
    let jetstream = ["--source", "jetstream"];
    assert_eq!(run(&jetstream, &[nats]).nats_url.to_string(), "nats://a:1");
    let env = [nats, ("ODIN_WS_NATS_URL", "nats://b:2")];
    assert_eq!(run(&jetstream, &env).nats_url.to_string(), "nats://b:2");
    let Ok(Loaded::Run(s)) =
        with_file("source = \"nats\"\nnats_url = \"nats://c:3\"", &[], &[nats])
    else {
        panic!("refused")
    };
    assert_eq!(s.nats_url.to_string(), "nats://c:3");
    assert_eq!(run(&[], &[nats]), run(&[], &[]));
    assert_eq!(run(&[], &[("NATS_URL", "none of ours")]), run(&[], &[]));
}

#[test]
fn an_empty_variable_is_not_set_and_links_of_orchestrators_are_passed_over() {
    let env = [
        ("ODIN_WS_PUBLISH_TOKEN", ""),
        ("ODIN_WS_SERVICE_HOST", "10.0.0.1"),
        ("ODIN_WS_SERVICE_PORT_HTTP", "3004"),
        ("ODIN_WS_PORT", "tcp://10.0.0.1:3004"),
        ("ODIN_WS_PORT_3004_TCP_ADDR", "10.0.0.1"),
        ("ODIN_WSX", "another program's"),
    ];
    assert_eq!(run(&[], &env), run(&[], &[]));
}

#[test]
fn every_source_of_settings_takes_the_same_text() {
    for (text, expected) in [
        ("0", Duration::ZERO),
        ("500ms", Duration::from_millis(500)),
        ("25s", Duration::from_secs(25)),
        ("1m30s", Duration::from_secs(90)),
        ("1h", Duration::from_secs(3_600)),
    ] {
        assert_eq!(run(&["--write-stall", text], &[]).write_stall, expected);
        assert_eq!(
            run(&[], &[("ODIN_WS_WRITE_STALL", text)]).write_stall,
            expected
        );
        let Ok(Loaded::Run(s)) = with_file(&format!("write_stall = \"{text}\""), &[], &[]) else {
            panic!("{text} is refused")
        };
        assert_eq!(s.write_stall, expected);
    }
    for (text, expected) in [
        ("65536", 65_536),
        ("64KiB", 65_536),
        ("64kib", 65_536),
        ("2MiB", 2 << 20),
        ("512B", 512),
    ] {
        assert_eq!(run(&["--send-buffer", text], &[]).send_buffer, expected);
    }
    let Ok(Loaded::Run(s)) = with_file(
        "send_buffer = 4096\ncpu_limit = 1.5\ndemo = false",
        &[],
        &[],
    ) else {
        panic!("refused")
    };
    assert_eq!(
        (s.send_buffer, s.cpu_limit, s.demo_on()),
        (4_096, Some(1.5), false)
    );
}

#[test]
fn lists_come_with_commas_or_as_arrays() {
    let expected =
        [Cidr::parse("10.0.0.0/8"), Cidr::parse("::1")].map(|net| net.expect("a network"));
    assert_eq!(
        run(&["--trusted-proxies", "10.0.0.0/8, ::1"], &[]).trusted_proxies,
        expected
    );
    let Ok(Loaded::Run(s)) = with_file("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]", &[], &[])
    else {
        panic!("refused")
    };
    assert_eq!(s.trusted_proxies, expected);
    let s = run(
        &[
            "--allowed-origins",
            "https://App.Example.com,http://localhost:8080",
        ],
        &[],
    );
    assert_eq!(
        s.allowed_origins,
        ["https://app.example.com", "http://localhost:8080"]
    );
}

#[test]
fn demo_is_on_for_the_embedded_source_alone() {
    assert!(run(&["--demo"], &[]).demo_on());
    assert!(!run(&["--no-demo"], &[]).demo_on());
    assert!(!run(&[], &[("ODIN_WS_DEMO", "false")]).demo_on());
    assert!(!run(&["--source", "nats"], &[]).demo_on());
    assert!(!run(&["--source", "nats", "--no-demo"], &[]).demo_on());
}

#[test]
fn zero_turns_a_limit_off() {
    for spec in TABLE.iter().filter(|spec| spec.help.contains("; 0: ")) {
        // Some go with this source only, and none with another only; of authentication and of idempotency there is
        // something to set only where there is a key, or no stream.
        let with: &[&str] = match spec.name {
            name if name.starts_with("auth_") => &["--auth-secret-file", "secret"],
            name if name.starts_with("idempotency_") => &[],
            _ => &["--source", "jetstream"],
        };
        run(&[&[spec.flag().as_str(), "0"], with].concat(), &[]);
    }
    assert_eq!(
        run(&["--max-connections", "0"], &[]).max_connections(Some(512 * MIB), 5_064),
        5_000
    );
    run(
        &["--cpu-refuse-percent", "0", "--cpu-admit-percent", "80"],
        &[],
    );
}

#[test]
fn connections_fit_memory_and_file_descriptors() {
    let max = |args: &[&str], memory, fds| run(args, &[]).max_connections(memory, fds);
    let plenty = 1 << 20;
    assert_eq!(max(&[], Some(512 * MIB), plenty), 16_384);
    assert_eq!(
        max(&["--log-bytes", "128MiB"], Some(512 * MIB), plenty),
        12_288
    );
    assert_eq!(
        max(&["--connection-bytes", "32KiB"], Some(512 * MIB), plenty),
        8_192
    );
    assert_eq!(max(&[], Some(512 * MIB), 1_024), 960);
    assert_eq!(max(&[], None, 1_024), 960);
    assert_eq!(max(&[], Some(1), plenty), 1);
    assert_eq!(max(&[], Some(512 * MIB), 3), 1);
    assert_eq!(
        max(&["--max-connections", "100"], Some(512 * MIB), plenty),
        100
    );
    assert_eq!(max(&["--max-connections", "100"], Some(512 * MIB), 74), 10);
    assert_eq!(max(&[], Some(u64::MAX), u64::MAX), u32::MAX);
}

#[test]
fn shards_are_cores_unless_told_otherwise() {
    assert_eq!(run(&[], &[]).shard_count(8), 8);
    assert_eq!(run(&[], &[]).shard_count(0), 1);
    assert_eq!(run(&["--shards", "3"], &[]).shard_count(8), 3);
}

#[test]
fn loopback_and_trusted_proxies_are_exempt() {
    let s = run(
        &["--trusted-proxies", "10.0.0.0/8,2001:db8::/32,192.0.2.7"],
        &[],
    );
    for (peer, exempt) in [
        ("127.0.0.1", true),
        ("127.9.9.9", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("10.255.0.1", true),
        ("::ffff:10.0.0.1", true),
        ("11.0.0.1", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("2001:db8:ffff::1", true),
        ("2001:db9::1", false),
    ] {
        assert_eq!(
            s.is_exempt(peer.parse::<IpAddr>().expect(peer)),
            exempt,
            "{peer}"
        );
    }
    assert!(run(&["--trusted-proxies", "0.0.0.0/0"], &[]).is_exempt([192, 0, 2, 1].into()));
}

#[test]
fn windows_are_for_all_or_for_names_and_patterns() {
    let s = run(&[], &[]);
    assert_eq!(s.coalesce_config().spans(), 0);
    let ms = Duration::from_millis;
    let expected = vec![
        ("ETH.*".to_owned(), ms(20)),
        ("a=b".to_owned(), ms(0)),
        (">".to_owned(), ms(1_000)),
    ];
    let args = [
        "--coalesce",
        "5ms",
        "--coalesce-channels",
        "ETH.*=20ms, a=b=0,>=1s",
    ];
    let s = run(&args, &[]).coalesce_config();
    assert_eq!((s.all, &s.channels, s.spans()), (ms(5), &expected, 3));
    assert_eq!(s.bytes_max, 8 << 20);
    let file = "coalesce = \"5ms\"\ncoalesce_channels = [\"ETH.*=20ms\", \"a=b=0\", \">=1s\"]";
    let Ok(Loaded::Run(again)) = with_file(file, &[], &[]) else {
        panic!("refused")
    };
    assert_eq!(again.coalesce_config(), s);
}
