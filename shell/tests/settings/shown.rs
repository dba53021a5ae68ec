//! What is shown: settings, help, the reference; and what never is.

use odin_shell::settings::{Loaded, NatsUrl, Secret, TABLE};

use crate::{print, refusal, run, with_file};

#[test]
fn printed_settings_can_be_fed_back() {
    let args = [
        "--print-config",
        "--no-demo",
        "--listen",
        "0.0.0.0:3002",
        "--trusted-proxies",
        "10.0.0.0/8",
        "--idle-timeout",
        "1m30s",
        "--coalesce-channels",
        "ETH.*=20ms,BTC=0",
    ];
    let text = print(&args, &[]);
    for line in [
        "listen = \"0.0.0.0:3002\"",
        "shards = \"auto\"",
        "demo = false",
        "idle_timeout = \"1m30s\"",
        "log_bytes = \"64MiB\"",
        "trusted_proxies = [\"10.0.0.0/8\"]",
        "coalesce_channels = [\"ETH.*=20ms\", \"BTC=0\"]",
        "# publish_token is not set",
        "# stream = \"ODIN_TOKENS\" (not used by this source)",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
    let Ok(Loaded::Run(again)) = with_file(&text, &[], &[]) else {
        panic!("refused:\n{text}")
    };
    assert_eq!(*again, run(&args[1..], &[]));

    let jetstream = print(&["--print-config", "--source", "jetstream"], &[]);
    let Ok(Loaded::Run(again)) = with_file(&jetstream, &[], &[]) else {
        panic!("refused:\n{jetstream}")
    };
    assert_eq!(*again, run(&["--source", "jetstream"], &[]));
}

#[test]
fn secrets_are_not_shown_and_their_mask_is_no_secret() {
    let args = [
        "--source",
        "nats",
        "--publish-token",
        "hunter2",
        "--nats-token",
        "hunter2",
    ];
    let settings = run(&args, &[]);
    let text = print(&[&args[..], &["--print-config"]].concat(), &[]);
    assert!(
        text.contains("publish_token = \"***\"\n") && text.contains("nats_token = \"***\"\n"),
        "{text}"
    );
    let url = print(
        &[
            "--source",
            "nats",
            "--nats-url",
            "nats://me:hunter2@a:1",
            "--print-config",
        ],
        &[],
    );
    assert!(url.contains("nats_url = \"nats://***@a:1\"\n"), "{url}");
    let bad_url = refusal(
        &["--source", "nats", "--nats-url", "nats://me:hunter2@a:b"],
        &[],
    );
    let bad_token = refusal(&["--admin-token", "hunter2 "], &[]);
    for shown in [text, url, bad_url, bad_token, format!("{settings:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    let mask = "is what --print-config shows instead of a secret; give the secret";
    let token = refusal(&["--admin-token", "***"], &[]);
    assert_eq!(
        token,
        format!("admin_token: *** (from --admin-token) {mask}")
    );
    let url = refusal(&["--source", "nats", "--nats-url", "nats://***@a:1"], &[]);
    assert_eq!(url, format!("nats_url: *** (from --nats-url) {mask}"));
}

#[test]
fn a_secret_matches_itself_alone() {
    let secret = Secret::new("hunter2");
    assert!(secret.matches(b"hunter2"));
    for other in ["", "hunter", "hunter22", "hunter3", "Hunter2", "hunter2\0"] {
        assert!(!secret.matches(other.as_bytes()), "{other:?}");
    }
    assert_eq!(
        (secret.to_string(), secret.expose()),
        ("***".to_owned(), "hunter2")
    );
    let url = NatsUrl::parse("nats://u:p@a:1,b").expect("two URLs");
    assert_eq!(url.expose().collect::<Vec<_>>(), ["nats://u:p@a:1", "b"]);
    assert_eq!(format!("{url:?}"), "nats://***@a:1,b");
}

#[test]
fn help_and_version_say_all() {
    let help = print(&["--help"], &[]);
    for spec in TABLE {
        assert!(help.contains(&spec.flag()), "{}", spec.flag());
        assert!(help.contains(&spec.env()), "{}", spec.env());
    }
    assert!(help.contains("Exit codes: 0 ended as told"), "{help}");
    assert_eq!(
        print(&["--version"], &[]),
        format!("odin-ws {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// A row of the reference begins: | `key` | `--flag` | `ENV` | default |
#[test]
fn the_reference_lists_every_setting_and_nothing_else() {
    let text = include_str!("../../../docs/CONFIGURATION.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').skip(1).take(4).map(str::trim).collect())
        .collect();
    let expected: Vec<Vec<String>> = TABLE
        .iter()
        .map(|spec| {
            let default = match spec.default {
                "" => "not set".to_owned(),
                text => format!("`{text}`"),
            };
            let flag = match spec.value_name {
                "" => format!("`{}`, `--no-{}`", spec.flag(), &spec.flag()[2..]),
                _ => format!("`{}`", spec.flag()),
            };
            vec![
                format!("`{}`", spec.name),
                flag,
                format!("`{}`", spec.env()),
                default,
            ]
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_examples_of_the_reference_are_accepted() {
    let text = include_str!("../../../docs/CONFIGURATION.md");
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        assert!(
            matches!(with_file(example, &[], &[]), Ok(Loaded::Run(_))),
            "{example}"
        );
    }
}
