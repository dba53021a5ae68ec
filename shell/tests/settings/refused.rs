//! What is refused, and how.

use crate::{load, refusal, run, with_file};

/// Each value, and the whole message.
#[test]
fn a_bad_value_is_refused_with_its_key_and_what_is_accepted() {
    for (args, env, expected) in [
        (
            vec!["--accept-rate", "many"],
            vec![],
            "accept_rate: `many` (from --accept-rate) is not a whole number from 0 to 1000000000",
        ),
        (
            vec!["--accept-rate", "-1"],
            vec![],
            "accept_rate: `-1` (from --accept-rate) is not a whole number from 0 to 1000000000",
        ),
        (
            vec![],
            vec![("ODIN_WS_CPU_REFUSE_PERCENT", "101")],
            "cpu_refuse_percent: `101` (from ODIN_WS_CPU_REFUSE_PERCENT) is not a whole number from 0 to 100",
        ),
        (
            vec!["--max-connections", "lots"],
            vec![],
            "max_connections: `lots` (from --max-connections) is not auto, or a whole number from 0 to 1000000000",
        ),
        (
            vec!["--log-messages", "0"],
            vec![],
            "log_messages: `0` (from --log-messages) is not a whole number from 1 to 1000000000",
        ),
        (
            vec!["--coalesce", "2s"],
            vec![],
            "coalesce: `2s` (from --coalesce) is not a duration with its unit (ms, s, m, h, d), such as 500ms, 25s or 1m30s; from 0 to 1s",
        ),
        (
            vec!["--coalesce-channels", "ETH.*=20ms,BTC.>.x=5ms"],
            vec![],
            "coalesce_channels: `ETH.*=20ms,BTC.>.x=5ms` (from --coalesce-channels) is not values separated by commas, each a channel's name or a pattern with a duration, such as ETH.*=20ms; from 0 to 1s",
        ),
        (
            vec!["--listen", "3004"],
            vec![],
            "listen: `3004` (from --listen) is not an IP address with a port, such as 127.0.0.1:3004 or [::]:3004",
        ),
        (
            vec!["--source", "kafka"],
            vec![],
            "source: `kafka` (from --source) is not one of embedded, nats, jetstream",
        ),
        (
            vec!["--drain-timeout", "30"],
            vec![],
            "drain_timeout: `30` (from --drain-timeout) is not a duration with its unit (ms, s, m, h, d), such as 500ms, 25s or 1m30s; from 0 to 1h",
        ),
        (
            vec!["--message-max-bytes", "16KB"],
            vec![],
            "message_max_bytes: `16KB` (from --message-max-bytes) is not a size in B, KiB, MiB or GiB, such as 64KiB, or in plain bytes; from 1KiB to 16MiB",
        ),
        (
            vec![],
            vec![("ODIN_WS_DEMO", "yes")],
            "demo: `yes` (from ODIN_WS_DEMO) is not true or false",
        ),
        (
            vec!["--trusted-proxies", "10.1.0.0/8"],
            vec![],
            "trusted_proxies: `10.1.0.0/8` (from --trusted-proxies) is not values separated by commas, each an IP address or a network such as 10.0.0.0/8, with no bit set behind its prefix",
        ),
        (
            vec!["--cpu-limit", "NaN"],
            vec![],
            "cpu_limit: `NaN` (from --cpu-limit) is not auto, or a number of cores such as 2 or 0.5, from 0.01 to 4096",
        ),
    ] {
        assert_eq!(refusal(&args, &env), expected);
    }
}

#[test]
fn values_at_and_past_their_bounds() {
    for (flag, good, bad) in [
        ("--handshake-max-bytes", "8KiB", "8191"),
        ("--message-max-bytes", "16MiB", "16777217"),
        ("--log-bytes", "2MiB", "1MiB1"),
        ("--drain-timeout", "1h", "1h1s"),
        ("--write-stall", "1m1s", "1s1m"),
        ("--cpu-limit", "0.01", "0"),
        ("--shards", "1024", "0"),
        ("--memory-limit", "1GiB", "99999999999GiB"),
        ("--listen", "[::1]:0", "localhost:3004"),
        ("--allowed-origins", "https://a.b:1", "https://a.b/"),
        ("--allowed-hosts", "a.b:1,[::1]", "http://a.b"),
        ("--publish-token", "abc", ""),
        ("--admin-token", "-abc", "a b"),
        ("--idempotency-window", "1s", "999ms"),
        ("--idempotency-keys", "1", "0"),
        ("--auth-keys", "a.pem,b.json", "a.pem,"),
        ("--auth-secret-file", "a", ""),
        ("--log", "warn,odin_shell=debug", "odin_shell=loud"),
    ] {
        run(&[flag, good], &[]);
        let key = flag[2..].replace('-', "_");
        let message = refusal(&[flag, bad], &[]);
        assert!(
            message.starts_with(&format!("{key}: ")),
            "{flag} {bad}: {message}"
        );
    }
}

#[test]
fn subjects_streams_and_urls_are_those_of_nats() {
    let nats = |flag: &str, value: &str| {
        load(&["--source", "jetstream", "--strip", "", flag, value], &[]).is_ok()
    };
    for good in ["a", "a.b", "a.*.c", "*", ">", "a.>"] {
        assert!(nats("--subject", good), "{good}");
    }
    for bad in ["", ".", "a.", ".a", "a..b", "a.>.b", "a*", "a.b>", "a b"] {
        assert!(!nats("--subject", bad), "{bad}");
    }
    for bad in ["", "a.b", "a b", "*", "a/b"] {
        assert!(!nats("--stream", bad), "{bad}");
    }
    for good in [
        "nats://a:1",
        "tls://a",
        "a:4222",
        "nats://[::1]:4222",
        "nats://a:1, nats://b:2",
        "nats://u:p@a",
    ] {
        assert!(nats("--nats-url", good), "{good}");
    }
    for bad in [
        "http://a",
        "nats://",
        "nats://a:0",
        "nats://a:99999",
        "nats://@a",
        "nats://a,",
        "nats://a/b",
        "nats://::1",
    ] {
        assert!(!nats("--nats-url", bad), "{bad}");
    }
}

#[test]
fn unknown_names_are_refused_by_name() {
    let unknown = "there is no such setting; see --help for all of them";
    assert_eq!(
        refusal(&[], &[("ODIN_WS_MAX_CONECTIONS", "1")]),
        format!("ODIN_WS_MAX_CONECTIONS: {unknown}")
    );
    let flag = refusal(&["--max-conections", "1"], &[]);
    assert!(
        flag.starts_with("unexpected argument '--max-conections' found"),
        "{flag}"
    );
    for (toml, expected) in [
        ("max_conections = 1", "max_conections: "),
        ("[server]\nlisten = \"127.0.0.1:1\"", "server: "),
        ("accept_rate = [1, 2]", "accept_rate: "),
        ("accept_rate = [\"1\"]", "accept_rate: "),
        ("accept_rate = {a = 1}", "accept_rate: "),
        ("nats_token = \"hunter2", "config: "),
    ] {
        let message = with_file(toml, &[], &[]).expect_err(toml).to_string();
        assert!(message.starts_with(expected), "{toml}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert!(
        refusal(&["--config", "/no/such/file"], &[])
            .starts_with("config: cannot read /no/such/file: ")
    );
}

#[test]
fn contradictions_name_their_keys() {
    for (args, keys) in [
        (
            vec!["--cpu-admit-percent", "90"],
            vec!["cpu_admit_percent", "cpu_refuse_percent"],
        ),
        (
            vec!["--memory-refuse-percent", "85"],
            vec!["memory_admit_percent", "memory_refuse_percent"],
        ),
        (
            vec!["--accept-burst", "0"],
            vec!["accept_burst", "accept_rate"],
        ),
        (
            vec!["--message-burst", "0"],
            vec!["message_burst", "message_rate"],
        ),
        (
            vec![
                "--coalesce",
                "9ms",
                "--coalesce-channels",
                "a=1ms,b=2ms,c=3ms,d=4ms,e=5ms,f=6ms,g=7ms,h=8ms,i=0",
            ],
            vec!["coalesce_channels", "coalesce"],
        ),
        (
            vec!["--ip-accept-rate", "5"],
            vec!["ip_accept_burst", "ip_accept_rate"],
        ),
        (
            vec!["--ip-accept-burst", "5"],
            vec!["ip_accept_burst", "ip_accept_rate"],
        ),
        (
            vec!["--idle-timeout", "25s"],
            vec!["idle_timeout", "ping_interval"],
        ),
        (
            vec!["--payload-bytes-max", "33MiB"],
            vec!["payload_bytes_max", "log_bytes"],
        ),
        (
            vec!["--memory-limit", "128MiB"],
            vec!["memory_limit", "log_bytes"],
        ),
        (vec!["--demo", "--source", "nats"], vec!["demo", "source"]),
        (vec!["--nats-url", "nats://a:1"], vec!["nats_url", "source"]),
        (vec!["--stream", "S"], vec!["stream", "source"]),
        (
            vec!["--history-bytes", "1MiB"],
            vec!["history_bytes", "source"],
        ),
        (
            vec!["--history-fetches", "2", "--source", "nats"],
            vec!["history_fetches", "source"],
        ),
        (
            vec![
                "--history-fetches",
                "2",
                "--history-bytes",
                "0",
                "--source",
                "jetstream",
            ],
            vec!["history_fetches", "history_bytes"],
        ),
        (
            vec!["--history-bytes", "1MiB", "--source", "jetstream"],
            vec!["payload_bytes_max", "history_bytes"],
        ),
        (
            vec!["--stream", "S", "--source", "nats"],
            vec!["stream", "source"],
        ),
        (
            vec!["--source", "nats", "--subject", "a.>"],
            vec!["strip", "subject"],
        ),
        (
            vec!["--source", "nats", "--subject", "odin.>"],
            vec!["strip", "subject"],
        ),
        (
            vec!["--source", "nats", "--nats-user", "u"],
            vec!["nats_user", "nats_password"],
        ),
        (
            vec!["--source", "nats", "--nats-password", "p"],
            vec!["nats_password", "nats_user"],
        ),
        (
            vec!["--source", "nats", "--nats-token", "t", "--nats-creds", "f"],
            vec!["nats_token", "nats_creds"],
        ),
        (
            vec![
                "--source",
                "nats",
                "--nats-token",
                "t",
                "--nats-url",
                "nats://u:p@a",
            ],
            vec!["nats_token", "nats_url"],
        ),
    ] {
        let error = load(&args, &[]).expect_err(&args.join(" "));
        assert_eq!(error.keys(), keys, "{args:?}: {error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("{}: ", keys.join(", "))),
            "{error}"
        );
    }
    let both = refusal(&["--demo", "--no-demo"], &[]);
    assert!(
        both.contains("'--demo' cannot be used with '--no-demo'"),
        "{both}"
    );
}
