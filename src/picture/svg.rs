//! A graph as SVG: boxes, lines and text at the positions of `layout`.

use std::fmt::Write;

use super::{
    Ink, Line,
    layout::{Dot, Layout, Rect, Sample, SampleOf, Shape, Text, Wire, font},
    topology::{Kind, Topology, Way},
    words,
};
use crate::model::graph::Graph;

/// With a background of its own, which is dark if the reader prefers dark colours.
const STYLE: &str = "
  text { font-family: 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace; fill: #1c2328; white-space: pre }
  rect { fill: #fff; stroke: #5b6770 }
  polyline { fill: none; stroke: #5b6770; stroke-width: 1.5 }
  circle { stroke: none; fill: #5b6770 }
  .paper { stroke: none }
  .host { fill: #f2f4f5 }
  .internet rect { fill: #e8edf1 }
  .segment rect { fill: #e3f1fa; stroke-width: 2.5 }
  .foreign rect { fill: #e4e4e4; stroke-width: 2; stroke-dasharray: 6 3 }
  .beyond rect { stroke-dasharray: 2 3 }
  .folded rect { stroke-dasharray: 8 2 }
  .published rect, rect.published { fill: #e0f2df; stroke: #1d6b1a }
  .masquerade { stroke-dasharray: 7 4 }
  .broken { stroke-dasharray: 2 3 }
  .name { font-weight: bold }
  .faint { fill: #55616a }
  .address { fill: #0b5a86 }
  .open { fill: #1d6b1a }
  .bad { fill: #b3261e; font-weight: bold }
";

const DARK: &str = "
  @media (prefers-color-scheme: dark) {
    text { fill: #e3e8eb }
    rect { fill: #20262b; stroke: #8d99a1 }
    polyline { stroke: #8d99a1 }
    circle { fill: #8d99a1 }
    .paper { fill: #14181b }
    .host { fill: #1a1f23 }
    .internet rect { fill: #262e35 }
    .segment rect { fill: #12303f }
    .foreign rect { fill: #33383c }
    .published rect, rect.published { fill: #17321a; stroke: #8fdc8b }
    .faint { fill: #a3afb7 }
    .address { fill: #8fd0f5 }
    .open { fill: #8fdc8b }
    .bad { fill: #ff8a80 }
";

/// The colours of lines, on light and on dark paper. Green is that of published ports, red that of
/// what does not work.
const COLOURS: [(&str, &str); 8] = [
    ("#0b6aa8", "#6fb4dd"),
    ("#b35900", "#f0a35e"),
    ("#7d3fa0", "#c79be0"),
    ("#00767d", "#5cc9cf"),
    ("#9c2d6b", "#ec8fc0"),
    ("#6b6100", "#d3c65a"),
    ("#45557d", "#a3b4de"),
    ("#74452a", "#d2a283"),
];
const OPEN: (&str, &str) = ("#1d6b1a", "#8fdc8b");
const BAD: (&str, &str) = ("#b3261e", "#ff8a80");

/// Returns an SVG document; with `fold`, many boxes of a kind are folded into one.
pub fn draw(graph: &Graph, fold: bool) -> String {
    let title = Line(vec![
        (Ink::Name, "host".into()),
        (Ink::Plain, words::forwarding(graph.forwarding).into()),
    ]);
    let layout = Layout::of(&Topology::of(graph, fold), &title);
    let Layout { width, height, host, title, shapes, wires, dots, legend } = &layout;
    let paper = Rect { x: 0, y: 0, width: *width, height: *height };
    let mut lines = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title desc\">"
        ),
        "<title id=\"title\">The network of a host</title>".into(),
        format!("<desc id=\"desc\">{}</desc>", escaped(&words::summary(graph))),
        format!("<style>{STYLE}{}{DARK}{}  }}\n</style>", colours(|(light, _)| light), colours(|(_, dark)| dark)),
        "<defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"10\" refY=\"5\" markerWidth=\"10\" \
         markerHeight=\"10\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"head\" \
         d=\"M0 1 10 5 0 9z\"/></marker></defs>"
            .into(),
        rect(&paper, "paper", 0),
        rect(host, "host", 5),
    ];
    lines.extend(title.iter().map(text));
    lines.extend(wires.iter().map(wire));
    lines.extend(dots.iter().map(dot));
    lines.extend(shapes.iter().enumerate().map(|(i, shape)| group(i, shape)));
    lines.extend(legend.iter().map(sample));
    lines.push("</svg>\n".into());
    lines.join("\n")
}

/// The rules for the colours of lines.
fn colours(pick: fn((&'static str, &'static str)) -> &'static str) -> String {
    let mut rules = String::new();
    let mut rule = |class: &str, colour: &str| {
        _ = writeln!(
            rules,
            "    polyline.{class}, .{class} > rect {{ stroke: {colour} }} circle.{class} {{ fill: {colour} }}"
        );
    };
    for (i, colour) in COLOURS.into_iter().enumerate() {
        rule(&format!("n{i}"), pick(colour));
    }
    rule("published", pick(OPEN));
    rule("broken", pick(BAD));
    _ = writeln!(rules, "    .head {{ fill: {} }}", pick(OPEN));
    rules
}

/// The classes of a line.
fn way(way: Way) -> String {
    match way {
        Way::Uplink => "wire".into(),
        Way::Cable(colour) => format!("wire n{}", colour % COLOURS.len()),
        Way::Masquerade => "wire masquerade".into(),
        Way::Published => "wire published".into(),
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Internet => "internet",
        Kind::Link => "link",
        Kind::Published => "published",
        Kind::Segment => "segment",
        Kind::Foreign => "foreign",
        Kind::Target => "target",
        Kind::Beyond => "beyond",
        Kind::Folded => "folded",
    }
}

/// A box with its text.
fn group(index: usize, shape: &Shape) -> String {
    let colour = shape.colour.map(|colour| format!(" n{}", colour % COLOURS.len()));
    let class = format!("box {}{}", kind(shape.kind), colour.unwrap_or_default());
    let mut lines =
        vec![format!("<g class=\"{class}\" id=\"b{index}\">"), rect(&shape.rect, "", 5)];
    lines.extend(shape.texts.iter().map(text));
    lines.push("</g>".into());
    lines.join("\n")
}

/// A line; the last piece of one that does not work is drawn in another way.
fn wire(wire: &Wire) -> String {
    let (from, to) = wire.ends;
    let ends = format!("data-from=\"b{from}\" data-to=\"b{to}\"");
    let class = way(wire.way);
    let arrow = if wire.way == Way::Published { " marker-end=\"url(#arrow)\"" } else { "" };
    if wire.works {
        return polyline(&class, &format!("{ends}{arrow}"), &wire.points);
    }
    let last = wire.points.len().saturating_sub(2);
    let broken = polyline("wire broken", &ends, &wire.points[last..]);
    if last == 0 {
        broken
    } else {
        format!("{}\n{broken}", polyline(&class, &ends, &wire.points[..=last]))
    }
}

fn polyline(class: &str, attributes: &str, points: &[(usize, usize)]) -> String {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
    format!("<polyline class=\"{class}\" {attributes} points=\"{}\"/>", points.join(" "))
}

fn dot(dot: &Dot) -> String {
    let (x, y) = dot.at;
    format!("<circle class=\"{}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>", way(dot.way))
}

fn sample(sample: &Sample) -> String {
    let Sample { of, rect: at, text: words } = sample;
    let middle = at.y + at.height / 2;
    let line = |class: &str, attributes: &str| {
        polyline(class, attributes, &[(at.x, middle), (at.x + at.width, middle)])
    };
    let drawn = match of {
        SampleOf::Box(of) => format!("<g class=\"{}\">{}</g>", kind(*of), rect(at, "", 3)),
        SampleOf::Way(Way::Published) => line(&way(Way::Published), "marker-end=\"url(#arrow)\""),
        SampleOf::Way(of) => line(&way(*of), ""),
        SampleOf::Broken => line("wire broken", ""),
    };
    format!("{drawn}\n{}", text(words))
}

fn text(text: &Text) -> String {
    let class = match text.ink {
        Ink::Plain => "plain",
        Ink::Faint => "faint",
        Ink::Name => "name",
        Ink::Address => "address",
        Ink::Open => "open",
        Ink::Bad => "bad",
    };
    format!(
        "<text class=\"{class}\" x=\"{}\" y=\"{}\" font-size=\"{}\">{}</text>",
        text.rect.x,
        // Where the letters stand; a quarter of the line is below.
        text.rect.bottom() - text.rect.height / 4,
        font(text.ink),
        escaped(&text.words)
    )
}

fn rect(rect: &Rect, class: &str, round: usize) -> String {
    let Rect { x, y, width, height } = rect;
    format!(
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\"/>"
    )
}

/// Escapes text for XML and HTML. Characters that XML forbids are already replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_ascii() => out.push(c),
            // As a number, so that the encoding of the file does not matter.
            c => drop(write!(out, "&#{};", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::sample;

    #[test]
    fn names_cannot_be_markup() {
        let text = draw(&sample::odd(), false);
        assert!(text.is_ascii() && !text.contains('\u{1b}'));
        assert!(text.contains("&lt;i&gt;&amp;amp;") && !text.contains("<i>"));
        assert_eq!(text.matches("<text ").count(), text.matches("</text>").count());
        assert!(text.lines().filter(|l| l.starts_with("<text")).all(|l| l.ends_with("</text>")));
    }

    #[test]
    fn it_says_what_it_shows() {
        let text = draw(&sample::of(3), false);
        assert!(text.contains("1 network with 3 endpoints and 1 published port."));
        assert!(text.contains(">web2</text>") && text.contains(">10.7.0.4/24</text>"));
    }

    #[test]
    fn names_are_larger_than_macs() {
        assert!(font(Ink::Name) > font(Ink::Plain) && font(Ink::Plain) > font(Ink::Faint));
    }
}
