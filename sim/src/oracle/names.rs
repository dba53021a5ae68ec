//! Names and patterns as `docs/PROTOCOL.md` defines them, read anew: the oracle must not share the server's
//! idea of what matches what.

/// Whether a name has a wildcard.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.split('.').any(|token| token == "*" || token == ">")
}

/// Whether a subscription of `name` brings the messages of `channel`.
pub(crate) fn covers(name: &str, channel: &str) -> bool {
    let mut wanted = name.split('.');
    let mut given = channel.split('.');
    loop {
        match (wanted.next(), given.next()) {
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(token), Some(other)) if token == other => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether two names or patterns have a channel in common.
pub(crate) fn meet(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(x), Some(y)) if x == y => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_and_meet_as_documented() {
        for (pattern, yes, no) in [
            ("ETH.*", "ETH.trade", "ETH"),
            ("ETH.*", "ETH.book", "ETH.book.l2"),
            ("ETH.>", "ETH.book.l2", "ETH"),
            ("*.trade", "BTC.trade", "BTC.trade.eu"),
            (">", "a", ""),
        ] {
            assert!(covers(pattern, yes), "{pattern} {yes}");
            assert!(no.is_empty() || !covers(pattern, no), "{pattern} {no}");
        }
        assert!(meet("a.*", "*.b") && meet("a.>", "a.b.c") && meet("a", "a"));
        assert!(!meet("a.*", "b.*") && !meet("a.>", "a") && !meet("a.b", "a.b.c"));
    }
}
