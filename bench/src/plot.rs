//! Plots in SVG: a logarithmic axis below, a linear one from 0 at the side, lines with a legend.

use std::fmt::Write as _;

/// A line of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its name in the legend.
    pub(crate) name: &'static str,
    /// Its points: x above 0, y from 0.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 50.0;

/// Colours that can be told apart, also without red and green (Okabe and Ito 2008).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

/// A plot of these lines.
pub(crate) fn chart(title: &str, x_label: &str, y_label: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let x_low = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let x_high = points().map(|point| point.0).fold(0.0, f64::max);
    let y_high = points().map(|point| point.1).fold(0.0, f64::max);
    let step = round_step(y_high / 5.0);
    let y_top = (y_high / step).ceil().max(1.0) * step;
    let across = (x_high / x_low).log10().max(f64::MIN_POSITIVE);
    let x = |value: f64| LEFT + (value / x_low).log10() / across * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / y_top * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    };
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    text(f64::midpoint(LEFT, right), HEIGHT - 12.0, "middle", x_label);
    text(8.0, TOP - 8.0, "start", y_label);
    let mut lines = String::new();
    let mut tick = 0.0;
    while tick <= y_top * 1.001 {
        text(LEFT - 8.0, y(tick) + 4.0, "end", &short(tick));
        let _ = writeln!(
            lines,
            "<path d=\"M{LEFT} {0:.1}H{right}\" stroke=\"#ddd\"/>",
            y(tick)
        );
        tick += step;
    }
    let mut decade = 10_f64.powf(x_low.log10().ceil());
    while decade <= x_high * 1.001 {
        text(x(decade), bottom + 18.0, "middle", &short(decade));
        let _ = writeln!(
            lines,
            "<path d=\"M{0:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>",
            x(decade)
        );
        decade *= 10.0;
    }
    svg.push_str(&lines);
    for (number, (line, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let path = path.join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
        let (at, down) = (LEFT + 14.0, TOP + 16.0 + 18.0 * number as f64);
        let _ = writeln!(
            svg,
            "<path d=\"M{at} {0:.1}h22\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{1}\" y=\"{down:.1}\">{2}</text>",
            down - 4.0,
            at + 30.0,
            line.name
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(steps[3])
}

/// A number with k or M where it is long.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e4 => format!("{}k", value / 1e3),
        value => format!("{}", (value * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_its_axes_its_lines_and_their_names() {
        let points = vec![(1_000.0, 10.0), (1_000_000.0, 42.0)];
        let series = [Series {
            name: "cost",
            points,
        }];
        let svg = chart("What it costs", "sessions", "ns", &series);
        for part in ["What it costs", ">10k<", ">1M<", ">50<", ">cost<"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        // From the left edge to the right one, and as high as 42 of 50.
        assert!(svg.contains("points=\"70.0,304.8 740.0,96.2\""), "{svg}");
    }
}
