//! Two looks at a server as text: what it is now, and what it did between them.

use std::fmt::Write;

use serde_json::Value;

const MIB: f64 = 1024.0 * 1024.0;

/// The text for the present `/stats`, with rates since an earlier one. `clients` is `/debug/clients`, for
/// those who may see it. Whatever is missing is shown as 0 or left out.
#[must_use]
pub fn view(now: &Value, before: &Value, clients: Option<&Value>) -> String {
    let mut out = String::new();
    // A `String` takes whatever is written to it.
    let _ = head(&mut out, now)
        .and_then(|()| traffic(&mut out, now, before))
        .and_then(|()| resources(&mut out, now))
        .and_then(|()| worst(&mut out, now, clients));
    out
}

fn head(out: &mut String, now: &Value) -> std::fmt::Result {
    let health = &now["health"];
    let up = span(number(now, "/uptime_ms") / 1000.0);
    let (version, status) = (plain(&now["version"]), plain(&health["status"]));
    writeln!(out, "Odin WS {version}   {status}   up {up}")?;
    for (list, mark) in [("errors", "error"), ("warnings", "warning")] {
        for text in health[list].as_array().into_iter().flatten() {
            writeln!(out, "{mark}: {}", plain(text))?;
        }
    }
    writeln!(out)
}

fn traffic(out: &mut String, now: &Value, before: &Value) -> std::fmt::Result {
    let millis = number(now, "/uptime_ms") - number(before, "/uptime_ms");
    // A server that started again counts from 0.
    let again = millis <= 0.0;
    let rate = |path: &str| {
        let grown = number(now, path) - number(before, path);
        if again {
            "-".to_owned()
        } else {
            count(grown * 1000.0 / millis)
        }
    };
    let (open, max) = (number(now, "/connections"), number(now, "/connections_max"));
    let of = if max > 0.0 {
        format!(" of {} ({:.1} %)", count(max), open * 100.0 / max)
    } else {
        String::new()
    };
    let door = if now["admission_open"] == true {
        "open"
    } else {
        "closed"
    };
    let connections = count(open);
    writeln!(out, "Connections    {connections}{of}, admission {door}")?;
    writeln!(
        out,
        "Messages/s     {} to clients, {} from clients, {} from the source",
        rate("/totals/sent"),
        rate("/totals/received"),
        rate("/totals/source_received"),
    )?;
    writeln!(out, "Bytes/s        {}", rate("/totals/bytes_sent"))?;
    let delivered = if again { None } else { delivery(now, before) };
    let delivered = delivered.map_or("-".to_owned(), |(half, most)| {
        format!("50 % within {}, 99 % within {}", time(half), time(most))
    });
    writeln!(out, "Delivery       {delivered}")?;
    let (lag, messages) = (number(now, "/lag/ms"), number(now, "/lag/messages"));
    writeln!(
        out,
        "Worst lag      {}, {} messages",
        time(lag),
        count(messages)
    )
}

fn resources(out: &mut String, now: &Value) -> std::fmt::Result {
    let checks = &now["health"]["checks"];
    let known = |path: &str, unit: &str| {
        let value = checks.pointer(path).and_then(Value::as_f64);
        value.map_or("unknown".to_owned(), |value| format!("{value:.1} {unit}"))
    };
    writeln!(
        out,
        "Memory         {} of {}, CPU {}",
        known("/memory/used_mb", "MiB"),
        known("/memory/limit_mb", "MiB"),
        known("/cpu/percentage", "%"),
    )?;
    writeln!(
        out,
        "Holds          {} subscriptions, {} channels, {:.1} MiB of log",
        count(number(now, "/subscriptions")),
        count(number(now, "/channels")),
        number(now, "/log_bytes") / MIB,
    )?;
    let total = |name: &str| count(number(now, &format!("/totals/{name}")));
    writeln!(
        out,
        "Since start    {} connections, {} refused, {} too slow; {} resumed, {} not; {} messages lost",
        total("opened"),
        total("refused"),
        total("slow"),
        total("recovered"),
        total("unrecovered"),
        total("lost"),
    )
}

fn worst(out: &mut String, now: &Value, clients: Option<&Value>) -> std::fmt::Result {
    let list = clients.unwrap_or(now)["worst"].as_array();
    let list = list.map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        return writeln!(out, "\nNobody is behind.");
    }
    let row = |cells: [&str; 7]| {
        let [rank, behind, messages, subscriptions, socket, id, peer] = cells;
        let row = format!(
            "{rank:>3} {behind:>10} {messages:>10} {subscriptions:>14}  {socket:<7} {id:<10} {peer}"
        );
        row.trim_end().to_owned()
    };
    let (id, peer) = clients.map_or(("", ""), |_| ("id", "address"));
    let head = [
        "#",
        "behind",
        "messages",
        "subscriptions",
        "socket",
        id,
        peer,
    ];
    writeln!(out, "\n{}", row(head))?;
    for (rank, client) in (1..).zip(list) {
        let socket = if client["blocked"] == true {
            "full"
        } else {
            "open"
        };
        let cells = [
            &*rank.to_string(),
            &time(number(client, "/ms")),
            &count(number(client, "/messages")),
            &count(number(client, "/subscriptions")),
            socket,
            &plain(&client["id"]),
            &plain(&client["peer"]),
        ];
        writeln!(out, "{}", row(cells))?;
    }
    Ok(())
}

/// The times within which half and 99 % of what was delivered between two looks arrived.
fn delivery(now: &Value, before: &Value) -> Option<(f64, f64)> {
    let list = |value: &Value, name: &str| -> Option<Vec<f64>> {
        let list = value["delivery"][name].as_array()?;
        Some(list.iter().filter_map(Value::as_f64).collect())
    };
    let bounds = list(now, "bounds_ms")?;
    let (now, before) = (list(now, "buckets")?, list(before, "buckets")?);
    let counts: Vec<f64> = now.iter().zip(before).map(|(now, was)| now - was).collect();
    Some((
        quantile(&bounds, &counts, 0.5)?,
        quantile(&bounds, &counts, 0.99)?,
    ))
}

/// Where in the buckets this share of the observations ends, as far as the bounds tell.
fn quantile(bounds: &[f64], counts: &[f64], share: f64) -> Option<f64> {
    let total: f64 = counts.iter().sum();
    if total <= 0.0 {
        return None;
    }
    let mut left = total * share;
    for (index, count) in counts.iter().enumerate() {
        let below = index.checked_sub(1).and_then(|below| bounds.get(below));
        let low = below.copied().unwrap_or(0.0);
        let high = bounds.get(index).copied().unwrap_or(low);
        if left <= *count {
            return Some(low + (high - low) * left / count);
        }
        left -= count;
    }
    bounds.last().copied()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or(0.0)
}

/// A text of the server's, without what a terminal would take as a command.
fn plain(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A whole number with commas.
fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Milliseconds as people say them.
fn time(millis: f64) -> String {
    if millis >= 1000.0 {
        format!("{:.1} s", millis / 1000.0)
    } else if millis >= 10.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{millis:.2} ms")
    }
}

/// Seconds as people say them.
fn span(seconds: f64) -> String {
    // Below 2^53, where the server's whole milliseconds are exact.
    let s = seconds as u64;
    match (s / 86_400, s / 3600 % 24, s / 60 % 60) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", s % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
