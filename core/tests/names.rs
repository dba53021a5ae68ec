//! Channel names and patterns.

use odin_core::name::{
    NameError, check_channel, check_pattern, covers, intersects, is_pattern, literal_prefix,
    matches,
};

#[test]
fn channel_names() {
    let longest = "é".repeat(64);
    let too_long = format!("{longest}a");
    let sixteen = ["t"; 16].join(".");
    let seventeen = ["t"; 17].join(".");
    for name in [
        "BTC",
        "BTC.trade",
        "BTC/USDT",
        "$SYS.a-b_c",
        "ключ.值",
        "a\"b\\c",
        &longest,
        &sixteen,
    ] {
        assert_eq!(check_channel(name), Ok(()), "{name}");
    }
    for (name, error) in [
        ("", NameError::Empty),
        (too_long.as_str(), NameError::TooLong),
        (&seventeen, NameError::TooManyTokens),
        (".", NameError::EmptyToken),
        (".a", NameError::EmptyToken),
        ("a.", NameError::EmptyToken),
        ("a..b", NameError::EmptyToken),
        ("a b", NameError::Unprintable),
        ("a\u{a0}b", NameError::Unprintable),
        ("a\tb", NameError::Unprintable),
        ("a\0", NameError::Unprintable),
        ("a\u{7f}", NameError::Unprintable),
        ("a\u{85}", NameError::Unprintable),
        ("a.*", NameError::Wildcard),
        ("a>", NameError::Wildcard),
    ] {
        assert_eq!(check_channel(name), Err(error), "{name:?}");
    }
}

#[test]
fn patterns() {
    for pattern in [
        "*",
        ">",
        "ETH.*",
        "ETH.>",
        "*.trade",
        "*.*.>",
        "a.*.c",
        "BTC/USDT.*",
    ] {
        assert_eq!(check_pattern(pattern), Ok(()), "{pattern}");
    }
    for (pattern, error) in [
        ("", NameError::Empty),
        ("ETH", NameError::NoWildcard),
        ("ETH*", NameError::PartialWildcard),
        ("ETH.**", NameError::PartialWildcard),
        ("ETH.>x", NameError::PartialWildcard),
        ("ETH.*.>>", NameError::PartialWildcard),
        (">.trade", NameError::RestNotLast),
        (">.>", NameError::RestNotLast),
        ("*..a", NameError::EmptyToken),
        ("*.", NameError::EmptyToken),
        ("* .a", NameError::Unprintable),
    ] {
        assert_eq!(check_pattern(pattern), Err(error), "{pattern:?}");
    }
    for (text, pattern) in [
        ("a", false),
        ("a.b", false),
        ("a*", true),
        ("a.>", true),
        (">a", true),
    ] {
        assert_eq!(is_pattern(text), pattern, "{text}");
    }
}

#[test]
fn errors_are_sentences() {
    for (error, sentence) in [
        (NameError::Empty, "it must not be empty"),
        (NameError::TooLong, "it must not be longer than 128 bytes"),
        (
            NameError::TooManyTokens,
            "it must not have more than 16 tokens",
        ),
        (
            NameError::Wildcard,
            "a channel name must not have the wildcards * and >",
        ),
    ] {
        assert_eq!(error.to_string(), sentence);
    }
}

#[test]
fn what_patterns_match() {
    for (pattern, channel, expected) in [
        ("ETH.*", "ETH.trade", true),
        ("ETH.*", "ETH", false),
        ("ETH.*", "ETH.trade.x", false),
        ("ETH.>", "ETH.trade.x", true),
        ("ETH.>", "ETH", false),
        (">", "ETH", true),
        ("*", "ETH.trade", false),
        ("*.trade", "BTC.trade", true),
        ("*.trade", "BTC.trades", false),
        ("BTC.trade", "BTC.trade", true),
        ("BTC.trade", "BTC.trade.x", false),
        ("btc.*", "BTC.trade", false),
    ] {
        assert_eq!(matches(pattern, channel), expected, "{pattern} {channel}");
    }
}

#[test]
fn literal_prefixes() {
    for (pattern, prefix) in [
        ("ETH.*", "ETH."),
        (">", ""),
        ("*.trade", ""),
        ("a.b.>", "a.b."),
        ("a.*.c", "a."),
        ("é.*", "é."),
        ("a.b", "a.b"),
    ] {
        assert_eq!(literal_prefix(pattern), prefix, "{pattern}");
    }
}

/// All texts of 1 to `length_max` of these tokens.
fn texts(tokens: &[&str], length_max: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..length_max {
        longest = longest
            .iter()
            .flat_map(|head| tokens.iter().map(move |token| format!("{head}.{token}")))
            .collect();
        all.extend(longest.iter().map(|text| text[1..].to_owned()));
    }
    all
}

/// The rules of NATS by recursion over slices of tokens, sharing nothing with the code under test.
fn naive_matches(pattern: &[&str], channel: &[&str]) -> bool {
    match (pattern, channel) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", p @ ..], [_, c @ ..]) => naive_matches(p, c),
        ([x, p @ ..], [y, c @ ..]) => x == y && naive_matches(p, c),
        _ => false,
    }
}

/// Exhaustive over small texts: `matches` agrees with the naive rules, and `intersects` is true
/// exactly where a channel exists that both match.
#[test]
fn intersection_means_a_common_channel() {
    let channels = texts(&["a", "b", "c"], 4);
    let subscriptions: Vec<_> = texts(&["a", "b", "*", ">"], 3)
        .into_iter()
        .filter(|text| check_channel(text).is_ok() || check_pattern(text).is_ok())
        .collect();
    assert_eq!(subscriptions.len(), 3 + 9 + 27 + 1 + 3 + 9);
    let matched: Vec<Vec<bool>> = subscriptions
        .iter()
        .map(|pattern| {
            let tokens: Vec<_> = pattern.split('.').collect();
            let covers = |channel: &String| {
                let expected = naive_matches(&tokens, &channel.split('.').collect::<Vec<_>>());
                assert_eq!(matches(pattern, channel), expected, "{pattern} {channel}");
                expected
            };
            channels.iter().map(covers).collect()
        })
        .collect();
    for (a, in_a) in subscriptions.iter().zip(&matched) {
        for (b, in_b) in subscriptions.iter().zip(&matched) {
            let common = in_a.iter().zip(in_b).any(|(a, b)| *a && *b);
            assert_eq!(intersects(a, b), common, "{a} {b}");
        }
    }
    // `a` covers `b` exactly where it matches all that `b` does.
    for (a, in_a) in subscriptions.iter().zip(&matched) {
        for (b, in_b) in subscriptions.iter().zip(&matched) {
            let all = in_a.iter().zip(in_b).all(|(a, b)| *a || !*b);
            assert_eq!(covers(a, b), all, "{a} {b}");
        }
    }
}
