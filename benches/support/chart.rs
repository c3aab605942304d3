//! Curves as SVG: a card of its own, which is dark if the reader prefers dark colours.

use std::fmt::Write as _;

/// One coordinate system.
pub(crate) struct Panel {
    /// Above it: what the curves show.
    pub(crate) claim: String,
    /// Below the claim: what was measured.
    pub(crate) measured: &'static str,
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
pub(crate) type Curve = (String, Vec<(u16, f64)>);

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 356.0;
const LEFT: f64 = 62.0;
/// What a letter of a name takes, at the right.
const LETTER: f64 = 6.6;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 52.0;
/// Names at the ends of lines keep so far apart.
const LINE_HEIGHT: f64 = 15.0;

/// Colours on light and on dark paper, which differ for the colour-blind too (Okabe and Ito); netcord
/// has the strongest.
const COLOURS: [(&str, &str, &str); 10] = [
    ("netcord", "#d55e00", "#ff9447"),
    ("netcord --firewall iptables", "#b85c8f", "#e3a5c8"),
    ("floor", "#555555", "#a8b0b8"),
    ("no published port", "#555555", "#a8b0b8"),
    ("script", "#0072b2", "#5db2ea"),
    ("CNI", "#00805e", "#3fcfa2"),
    ("netavark", "#8a6a00", "#d9bd4a"),
    ("docker", "#2b88bd", "#8fd0f5"),
    ("reading the keys", "#555555", "#a8b0b8"),
    ("peers", "#0072b2", "#5db2ea"),
];

const STYLE: &str = "\
.paper { fill: #ffffff } text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d1d9e0 } \
.axis { stroke: #59636e }
polyline { fill: none; stroke-width: 2 }
";
const DARK: &str = "\
.paper { fill: #151b23 } text { fill: #e6edf3 } .faint { fill: #9198a1 } .grid { stroke: #3d444d } \
.axis { stroke: #9198a1 }
";

/// Panels side by side.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let width = WIDTH * f64::from(u8::try_from(panels.len()).unwrap_or(u8::MAX));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" \
         width=\"{width}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>\n{STYLE}{}@media (prefers-color-scheme: dark) {{\n{DARK}{}}}\n</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n",
        colours(|(_, light, _)| light),
        colours(|(_, _, dark)| dark)
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
    _ = writeln!(
        svg,
        "<text x=\"16\" y=\"24\" font-weight=\"bold\">{}</text>\n\
         <text class=\"faint\" x=\"16\" y=\"42\">{}</text>",
        panel.claim, panel.measured
    );
    for power in scale.bottom..=scale.top {
        let y = scale.y(10_f64.powi(power));
        _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" class=\"grid\"/>\
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
            "<path d=\"M{x:.1} {bottom}v5\" class=\"axis\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            grouped(f64::from(tick))
        );
    }
    _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {bottom}H{right}\" class=\"axis\"/>\
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
        let class = class(name);
        let places: Vec<_> =
            points.iter().map(|&(x, y)| format!("{:.1},{:.1}", scale.x(x), scale.y(y))).collect();
        _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", places.join(" "));
        for (x, y) in points {
            let (x, y) = (scale.x(*x), scale.y(*y));
            _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
        names.push((scale.y(last.1), name.as_str()));
    }
    for (y, name) in apart(names, bottom) {
        _ = writeln!(
            svg,
            "<text class=\"{}\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            class(name),
            right + 10.0,
            y + 4.0
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
fn apart(mut names: Vec<(f64, &str)>, bottom: f64) -> Vec<(f64, &str)> {
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

/// The rules for the colours of curves.
fn colours(pick: fn((&'static str, &'static str, &'static str)) -> &'static str) -> String {
    let mut rules = String::new();
    for (i, colour) in COLOURS.into_iter().enumerate() {
        let colour = pick(colour);
        _ = writeln!(
            rules,
            "polyline.c{i} {{ stroke: {colour} }} circle.c{i}, text.c{i} {{ fill: {colour} }}"
        );
    }
    rules
}

/// The class of a curve: that of the longest name that it begins with.
fn class(name: &str) -> String {
    let known = COLOURS.iter().enumerate().filter(|(_, (known, ..))| name.starts_with(known));
    let longest = known.max_by_key(|(_, (known, ..))| known.len());
    longest.map(|(i, _)| format!("c{i}")).unwrap_or_default()
}

/// A number with a comma at the thousands.
pub(crate) fn grouped(value: f64) -> String {
    let text = value.to_string();
    match text.len() {
        4.. if !text.contains('.') => {
            let (thousands, rest) = text.split_at(text.len() - 3);
            format!("{thousands},{rest}")
        }
        _ => text,
    }
}
