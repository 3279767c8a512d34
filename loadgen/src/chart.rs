//! Line charts as inline SVG. Colours come from the page's style sheet, so that they follow light and
//! dark.
//!
//! Deliberately absent: scripts. What a point is, the browser shows as its title.

use crate::html::escape;
use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 42.0;
/// Above so many points a chart shows the line alone.
const DOTS_MAX: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Log,
}

#[derive(Debug)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

#[derive(Debug)]
pub struct Chart {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub x_scale: Scale,
    pub y_scale: Scale,
    pub series: Vec<Series>,
    /// A vertical line with a word.
    pub mark: Option<(f64, String)>,
    /// Ticks of the x axis that take the place of round numbers.
    pub x_ticks: Option<Vec<(f64, String)>>,
}

/// One axis: from values to places on the page.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, scale: Scale, [from, to]: [f64; 2]) -> Self {
        let values = values.filter(|value| scale == Scale::Linear || *value > 0.0);
        let (mut low, mut high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if !low.is_finite() {
            (low, high) = (1.0, 10.0);
        }
        if low >= high {
            high = low + low.abs().max(1.0);
        }
        Self { scale, low, high, from, to }
    }

    /// A linear axis shows 0.
    fn with_zero(mut self) -> Self {
        if self.scale == Scale::Linear {
            self.low = self.low.min(0.0);
        }
        self
    }

    /// An axis of quantities begins at 0, or at a power of ten, and ends at a round number.
    fn rounded(mut self) -> Self {
        if self.scale == Scale::Log {
            self.low = 10f64.powf(self.low.log10().floor());
            self.high = 10f64.powf(self.high.log10().ceil());
        } else {
            self = self.with_zero();
            let step = self.step();
            self.high = (self.high / step).ceil() * step;
        }
        self
    }

    /// `None`: a logarithmic axis has no place for it.
    fn place(&self, value: f64) -> Option<f64> {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log if value > 0.0 => (value / self.low).ln() / (self.high / self.low).ln(),
            Scale::Log => return None,
        };
        Some(self.from + share * (self.to - self.from))
    }

    /// A round distance of which about five make up the axis.
    fn step(&self) -> f64 {
        let raw = (self.high - self.low) / 5.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= raw * 0.999);
        step.unwrap_or(10.0) * power
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = self.step();
                let first = (self.low / step).ceil() as i64;
                let last = (self.high / step * 1.000_001).floor() as i64;
                (first..=last).map(|tick| tick as f64 * step).collect()
            }
            Scale::Log => {
                let (first, last) =
                    (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
                let inner: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let all = (first..=last)
                    .flat_map(|power| inner.iter().map(move |step| step * 10f64.powi(power)));
                all.filter(|tick| (self.low * 0.999..=self.high * 1.001).contains(tick)).collect()
            }
        }
    }
}

impl Chart {
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::new(points().map(|point| point.0), self.x_scale, [LEFT, WIDTH - RIGHT]);
        let y = Axis::new(points().map(|point| point.1), self.y_scale, [HEIGHT - BOTTOM, TOP]);
        let (x, y) = (x.with_zero(), y.rounded());
        let mut out = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">",
            escape(&self.title)
        );
        self.draw_axes(&x, &y, &mut out);
        for (index, series) in self.series.iter().enumerate() {
            draw_series(series, index, &x, &y, &mut out);
        }
        if let Some((value, word)) = &self.mark
            && let Some(place) = x.place(*value)
        {
            let bottom = HEIGHT - BOTTOM;
            let (anchor, shift) = if place > WIDTH * 0.8 { ("end", -5.0) } else { ("start", 5.0) };
            write(
                &mut out,
                format_args!(
                    "<line class=\"mark\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/><text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                    place + shift,
                    TOP + 11.0,
                    escape(word)
                ),
            );
        }
        out.push_str("</svg>");
        if self.series.len() > 1 {
            out.push_str("<p class=\"legend\">");
            for (index, series) in self.series.iter().enumerate() {
                let name = escape(&series.name);
                write(&mut out, format_args!("<span class=\"s{index}\">{name}</span>"));
            }
            out.push_str("</p>");
        }
        out.push_str("</figure>");
        out
    }

    fn draw_axes(&self, x: &Axis, y: &Axis, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in y.ticks() {
            let Some(place) = y.place(tick) else { continue };
            write(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LEFT - 6.0,
                    place + 4.0,
                    number(tick)
                ),
            );
        }
        let ticks = || x.ticks().into_iter().map(|tick| (tick, number(tick))).collect();
        for (tick, text) in self.x_ticks.clone().unwrap_or_else(ticks) {
            let Some(place) = x.place(tick) else { continue };
            write(
                out,
                format_args!(
                    "<line class=\"axis\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/><text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    bottom + 4.0,
                    bottom + 16.0,
                    escape(&text)
                ),
            );
        }
        write(
            out,
            format_args!(
                "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                (LEFT + right) / 2.0,
                HEIGHT - 6.0,
                escape(&self.x_label)
            ),
        );
        let middle = (TOP + bottom) / 2.0;
        write(
            out,
            format_args!(
                "<text transform=\"translate(12 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                escape(&self.y_label)
            ),
        );
    }
}

fn draw_series(series: &Series, index: usize, x: &Axis, y: &Axis, out: &mut String) {
    let places: Vec<_> =
        series.points.iter().filter_map(|&(a, b)| Some((x.place(a)?, y.place(b)?, a, b))).collect();
    let line: Vec<String> = places.iter().map(|(a, b, ..)| format!("{a:.1},{b:.1}")).collect();
    write(out, format_args!("<polyline class=\"s{index}\" points=\"{}\"/>", line.join(" ")));
    if places.len() <= DOTS_MAX {
        for (a, b, x, y) in places {
            write(
                out,
                format_args!(
                    "<circle class=\"s{index}\" cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"2.6\"><title>{}: {} at {}</title></circle>",
                    escape(&series.name),
                    number(y),
                    number(x)
                ),
            );
        }
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

/// Short: `0.25`, `12.5`, `250`, `12.5k`, `3M`.
pub fn number(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.5, "12.5"),
            (100.0, "100"),
            (9_999.0, "9999"),
            (12_500.0, "12.5k"),
            (3e6, "3M"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn ticks_are_round_and_within() {
        let axis =
            |low: f64, high: f64, scale| Axis::new([low, high].into_iter(), scale, [0.0, 1.0]);
        assert_eq!(
            axis(0.0, 97.0, Scale::Linear).rounded().ticks(),
            [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
        );
        assert_eq!(
            axis(30.0, 9_000.0, Scale::Log).rounded().ticks(),
            [10.0, 100.0, 1000.0, 10_000.0]
        );
        assert_eq!(axis(1.0, 8.0, Scale::Log).ticks(), [1.0, 2.0, 5.0]);
        assert!(axis(5.0, 5.0, Scale::Linear).rounded().ticks().len() > 2);
    }

    #[test]
    fn a_chart_of_nothing_is_a_chart() {
        let chart = Chart {
            title: "a < b".to_owned(),
            x_label: String::new(),
            y_label: String::new(),
            x_scale: Scale::Log,
            y_scale: Scale::Log,
            series: vec![Series { name: String::new(), points: vec![(0.0, f64::MIN_POSITIVE)] }],
            mark: None,
            x_ticks: None,
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
