//! Curves as SVG: a white card, so that it reads on any page.

use std::fmt::Write as _;

/// One coordinate system.
pub(crate) struct Panel {
    /// Above it.
    pub(crate) title: &'static str,
    /// What goes to the right.
    pub(crate) x: Axis,
    /// What goes up: always by powers of ten.
    pub(crate) y_label: &'static str,
    /// The curves, each with its name and points.
    pub(crate) curves: Vec<Curve>,
}

/// The axis to the right.
pub(crate) struct Axis {
    /// Below it.
    pub(crate) label: &'static str,
    /// By powers of ten.
    pub(crate) logarithmic: bool,
    /// Where it is marked; the first and the last are its ends.
    pub(crate) ticks: Vec<u16>,
}

/// A name, and where its line goes.
pub(crate) type Curve = (&'static str, Vec<(u16, f64)>);

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 62.0;
/// What a letter of a name takes, at the right.
const LETTER: f64 = 6.6;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// Names at the ends of lines keep so far apart.
const LINE_HEIGHT: f64 = 15.0;

/// Colours that differ for the colour-blind too (Okabe and Ito); netcord has the strongest.
const COLOURS: [(&str, &str); 10] = [
    ("netcord", "#d55e00"),
    ("netcord --firewall iptables", "#cc79a7"),
    ("floor", "#555555"),
    ("no published port", "#555555"),
    ("script", "#0072b2"),
    ("CNI", "#009e73"),
    ("netavark", "#9c7a00"),
    ("docker", "#56b4e9"),
    ("reading the keys", "#555555"),
    ("peers", "#0072b2"),
];

/// Panels side by side.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let width = WIDTH * f64::from(u8::try_from(panels.len()).unwrap_or(u8::MAX));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" \
         width=\"{width}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" \
         fill=\"#1f2328\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#ffffff\"/>\n"
    );
    let mut left = 0.0;
    for panel in panels {
        _ = writeln!(svg, "<g transform=\"translate({left} 0)\">");
        draw(panel, &mut svg);
        svg.push_str("</g>\n");
        left += WIDTH;
    }
    svg + "</svg>\n"
}

fn draw(panel: &Panel, svg: &mut String) {
    let scale = Scale::of(panel);
    let (right, bottom) = (scale.right, HEIGHT - BOTTOM);
    _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"24\" font-weight=\"bold\">{}</text>", panel.title);
    for power in scale.bottom..=scale.top {
        let y = scale.y(10_f64.powi(power));
        _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#d1d9e0\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            grouped(10_f64.powi(power))
        );
    }
    for &tick in &panel.x.ticks {
        let x = scale.x(tick);
        _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {bottom}v5\" stroke=\"#59636e\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            grouped(f64::from(tick))
        );
    }
    _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {bottom}H{right}\" stroke=\"#59636e\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LEFT, right),
        bottom + 40.0,
        panel.x.label,
        f64::midpoint(TOP, bottom),
        panel.y_label
    );
    let mut names = Vec::new();
    for (name, points) in &panel.curves {
        let Some(last) = points.last() else { continue };
        let colour = colour(name);
        let places: Vec<_> =
            points.iter().map(|&(x, y)| format!("{:.1},{:.1}", scale.x(x), scale.y(y))).collect();
        _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        for (x, y) in points {
            let (x, y) = (scale.x(*x), scale.y(*y));
            _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        names.push((scale.y(last.1), *name));
    }
    for (y, name) in apart(names, bottom) {
        _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\">{name}</text>",
            right + 10.0,
            y + 4.0,
            colour(name)
        );
    }
}

/// From values to places.
struct Scale<'a> {
    axis: &'a Axis,
    /// Where lines end and names begin.
    right: f64,
    /// Powers of ten that everything is between.
    bottom: i32,
    top: i32,
}

impl<'a> Scale<'a> {
    fn of(panel: &'a Panel) -> Self {
        let values = || panel.curves.iter().flat_map(|(_, points)| points).map(|(_, y)| *y);
        let lowest = values().fold(f64::MAX, f64::min);
        let highest = values().fold(f64::MIN_POSITIVE, f64::max);
        let letters = panel.curves.iter().map(|(name, _)| name.len()).max();
        let letters = f64::from(u8::try_from(letters.unwrap_or_default()).unwrap_or(u8::MAX));
        let right = WIDTH - 24.0 - letters * LETTER;
        let mut scale = Self { axis: &panel.x, right, bottom: 0, top: 1 };
        while 10_f64.powi(scale.bottom) > lowest {
            scale.bottom -= 1;
        }
        while 10_f64.powi(scale.bottom + 1) <= lowest {
            scale.bottom += 1;
        }
        scale.top = scale.bottom + 1;
        while 10_f64.powi(scale.top) < highest {
            scale.top += 1;
        }
        scale
    }

    fn x(&self, value: u16) -> f64 {
        let place = |value: u16| {
            let value = f64::from(value);
            if self.axis.logarithmic { value.log10() } else { value }
        };
        let [first, .., last] = self.axis.ticks[..] else { return LEFT };
        let share = (place(value) - place(first)) / (place(last) - place(first));
        LEFT + share * (self.right - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = (f64::from(self.bottom), f64::from(self.top));
        let share = (value.log10() - low) / (high - low);
        (HEIGHT - BOTTOM) - share * (HEIGHT - BOTTOM - TOP)
    }
}

/// Moves names that would lie on each other apart, and none below the axis.
fn apart(mut names: Vec<(f64, &'static str)>, bottom: f64) -> Vec<(f64, &'static str)> {
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    for place in 1..names.len() {
        names[place].0 = names[place].0.max(names[place - 1].0 + LINE_HEIGHT);
    }
    let mut limit = bottom;
    for name in names.iter_mut().rev() {
        name.0 = name.0.min(limit);
        limit = name.0 - LINE_HEIGHT;
    }
    names
}

/// By the longest name that it begins with.
fn colour(name: &str) -> &'static str {
    let known = COLOURS.iter().filter(|(known, _)| name.starts_with(known));
    known.max_by_key(|(known, _)| known.len()).map_or("#1f2328", |(_, colour)| colour)
}

/// A number with a comma at the thousands.
fn grouped(value: f64) -> String {
    let text = value.to_string();
    match text.len() {
        4.. if !text.contains('.') => {
            let (thousands, rest) = text.split_at(text.len() - 3);
            format!("{thousands},{rest}")
        }
        _ => text,
    }
}
