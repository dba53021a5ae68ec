//! Which subjects the messages of a topic have.

const ANY: &str = "*";
const REST: &str = ">";

/// The subjects of a channel, or of the channels of a pattern: exactly those where `strip` ends a token, else a few more,
/// because a wildcard stands for whole tokens only.
pub(super) fn of_topic(strip: &str, topic: &str) -> String {
    let (whole, part) = match strip.rfind('.') {
        Some(dot) => strip.split_at(dot + 1),
        None => ("", strip),
    };
    if !part.is_empty() && (topic.starts_with(ANY) || topic.starts_with(REST)) {
        return format!("{whole}{topic}");
    }
    format!("{strip}{topic}")
}

/// What both match; `None`: no subject matches both.
pub(super) fn both(a: &str, b: &str) -> Option<String> {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    let mut tokens = Vec::new();
    loop {
        let token = match (a.next(), b.next()) {
            (None, None) => break,
            (None, Some(_)) | (Some(_), None) => return None,
            (Some(REST), Some(token)) => {
                tokens.push(token);
                tokens.extend(b);
                break;
            }
            (Some(token), Some(REST)) => {
                tokens.push(token);
                tokens.extend(a);
                break;
            }
            (Some(ANY), Some(token)) | (Some(token), Some(ANY)) => token,
            (Some(token), Some(other)) if token == other => token,
            (Some(_), Some(_)) => return None,
        };
        tokens.push(token);
    }
    Some(tokens.join("."))
}

#[cfg(test)]
mod tests {
    use super::{both, of_topic};

    #[test]
    fn the_subjects_of_a_topic_have_what_is_stripped() {
        for (strip, topic, subject) in [
            ("odin.token.", "BTC.trade", "odin.token.BTC.trade"),
            ("odin.token.", ">", "odin.token.>"),
            ("", "ETH.*", "ETH.*"),
            ("odin.to", "ken.BTC", "odin.token.BTC"),
            ("odin.to", "*.BTC", "odin.*.BTC"),
            ("odin.to", ">", "odin.>"),
            ("od", ">", ">"),
        ] {
            assert_eq!(of_topic(strip, topic), subject, "{strip} {topic}");
        }
    }

    #[test]
    fn two_filters_have_one_in_common_or_none() {
        for (a, b, common) in [
            ("odin.>", "odin.BTC.trade", Some("odin.BTC.trade")),
            ("odin.>", "odin.*.trade", Some("odin.*.trade")),
            ("odin.>", ">", Some("odin.>")),
            ("odin.*", ">", Some("odin.*")),
            ("odin.*.trade", "odin.BTC.*", Some("odin.BTC.trade")),
            ("odin.*.>", "*.BTC.>", Some("odin.BTC.>")),
            ("odin.>", "odin.*.>", Some("odin.*.>")),
            ("odin.>", "odin", None),
            ("odin.>", "orders.>", None),
            ("odin.*", "odin.BTC.trade", None),
            ("odin.BTC", "odin.ETH", None),
        ] {
            assert_eq!(both(a, b).as_deref(), common, "{a} {b}");
            assert_eq!(both(b, a).as_deref(), common, "{b} {a}");
        }
    }
}
