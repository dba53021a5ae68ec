//! The report as one page without scripts or anything from elsewhere: pictures in SVG over simulated time.

use std::fmt::Write;

use super::{Report, Row, percentile};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 70.0;

/// A line of a picture.
struct Line {
    label: &'static str,
    color: &'static str,
    values: Vec<f64>,
}

fn line(rows: &[Row], label: &'static str, color: &'static str, of: fn(&Row) -> f64) -> Line {
    Line {
        label,
        color,
        values: rows.iter().map(of).collect(),
    }
}

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let rows = &report.rows;
    let delay = |row: &Row, percent| percentile(&mut row.delays.clone(), percent) as f64 / 1000.0;
    let pictures = [
        (
            "Connections",
            vec![line(rows, "connected", "#2563eb", |r| r.connected as f64)],
        ),
        (
            "Deliveries per interval",
            vec![line(rows, "delivered", "#059669", |r| r.delivered as f64)],
        ),
        (
            "Delivery latency of fast clients, ms",
            vec![
                Line {
                    label: "p50",
                    color: "#059669",
                    values: rows.iter().map(|r| delay(r, 50)).collect(),
                },
                Line {
                    label: "p99",
                    color: "#dc2626",
                    values: rows.iter().map(|r| delay(r, 99)).collect(),
                },
            ],
        ),
        (
            "Lag of the client that is furthest behind, seqs",
            vec![line(rows, "lag", "#7c3aed", |r| r.lag as f64)],
        ),
        (
            "Admissions per interval",
            vec![
                line(rows, "admitted", "#2563eb", |r| r.admitted as f64),
                line(rows, "refused", "#dc2626", |r| r.refused as f64),
            ],
        ),
    ];
    let verdict = if report.passed() { "passed" } else { "failed" };
    let title = format!("{} seed {}: {verdict}", report.name, report.seed);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:14px system-ui,sans-serif;margin:24px;max-width:1000px}}\
         svg{{display:block;margin-bottom:18px}}pre{{background:#f4f4f5;padding:12px;overflow:auto}}\
         text{{font:11px system-ui,sans-serif;fill:#3f3f46}}</style><h1>{title}</h1>"
    );
    for (name, lines) in pictures {
        picture(&mut page, report, name, &lines);
    }
    let _ = write!(page, "<pre>{}</pre></html>", escaped(&report.to_string()));
    page
}

/// Draws lines over time, with a mark for each fault. Writing to a string never fails.
fn picture(page: &mut String, report: &Report, name: &str, lines: &[Line]) {
    let end = report.simulated.as_secs_f64().max(1.0);
    let x = |seconds: f64| LEFT + (WIDTH - LEFT) * seconds / end;
    let all = lines.iter().flat_map(|line| line.values.iter());
    let top = all.fold(1.0_f64, |top, value| top.max(*value));
    let y = |value: f64| HEIGHT - (HEIGHT - 20.0) * value / top;
    let _ = write!(
        page,
        "<h2>{name}</h2><svg width=\"{WIDTH}\" height=\"{}\" role=\"img\" aria-label=\"{name}\">\
         <line x1=\"{LEFT}\" y1=\"{HEIGHT}\" x2=\"{WIDTH}\" y2=\"{HEIGHT}\" stroke=\"#a1a1aa\"/>\
         <text x=\"{}\" y=\"24\" text-anchor=\"end\">{top:.1}</text>\
         <text x=\"{}\" y=\"{HEIGHT}\" text-anchor=\"end\">0</text>\
         <text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{end:.0} s</text>",
        HEIGHT + 20.0,
        LEFT - 6.0,
        LEFT - 6.0,
        HEIGHT + 14.0,
    );
    for (at, fault) in &report.faults {
        let at = at.as_secs_f64();
        let _ = write!(
            page,
            "<line x1=\"{0:.1}\" y1=\"10\" x2=\"{0:.1}\" y2=\"{HEIGHT}\" stroke=\"#f59e0b\" \
             stroke-dasharray=\"3 3\"><title>{at:.2} s: {1}</title></line>",
            x(at),
            escaped(&format!("{fault:?}")),
        );
    }
    for (number, line) in lines.iter().enumerate() {
        let points = line.values.iter().zip(&report.rows);
        let points: Vec<String> = points
            .map(|(value, row)| format!("{:.1},{:.1}", x(row.at.as_secs_f64()), y(*value)))
            .collect();
        let _ = write!(
            page,
            "<polyline fill=\"none\" stroke=\"{0}\" stroke-width=\"1.5\" points=\"{1}\"/>\
             <text x=\"{2}\" y=\"12\" style=\"fill:{0}\">{3}</text>",
            line.color,
            points.join(" "),
            LEFT + 80.0 * number as f64,
            line.label,
        );
    }
    page.push_str("</svg>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
