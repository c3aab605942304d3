//! A graph as SVG: boxes, lines and text at the positions of `layout`.

use std::fmt::Write;

use super::{
    layout::{FONT, Layout, Rect},
    words,
};
use crate::model::graph::Graph;

/// With a background of its own, which is dark if the reader prefers dark colours.
const STYLE: &str = "
  text { font-family: 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace; fill: #1c2328; white-space: pre }
  rect { fill: #fff; stroke: #5b6770 }
  .paper { stroke: none }
  .host { fill: #f2f4f5 }
  .segment { fill: #cfe8f7; stroke: #28638a }
  .foreign { fill: #e4e4e4; stroke-dasharray: 5 3 }
  .beyond { stroke-dasharray: 2 3 }
  .wire { fill: none; stroke: #5b6770; stroke-width: 1.5 }
  .broken { fill: none; stroke: #b3261e; stroke-width: 1.5; stroke-dasharray: 2 3 }
  .name { font-weight: bold }
  .faint { fill: #5b6770 }
  .address { fill: #0b5a86 }
  .open { fill: #1d6b1a }
  .bad { fill: #b3261e; font-weight: bold }
  @media (prefers-color-scheme: dark) {
    text { fill: #e3e8eb }
    rect { fill: #20262b; stroke: #8d99a1 }
    .paper { fill: #14181b }
    .host { fill: #1a1f23 }
    .segment { fill: #12384f; stroke: #6fb4dd }
    .foreign { fill: #33383c }
    .wire { stroke: #8d99a1 }
    .broken { stroke: #ff8a80 }
    .faint { fill: #9aa6ae }
    .address { fill: #8fd0f5 }
    .open { fill: #8fdc8b }
    .bad { fill: #ff8a80 }
  }
";

/// Returns an SVG document.
pub fn draw(graph: &Graph) -> String {
    let Layout { width, height, shapes, wires, texts } = Layout::of(graph);
    let mut lines = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title desc\">"
        ),
        "<title id=\"title\">The network of a host</title>".into(),
        format!("<desc id=\"desc\">{}</desc>", escaped(&words::summary(graph))),
        format!("<style>{STYLE}</style>"),
        rect(&Rect { x: 0, y: 0, width, height }, "paper"),
    ];
    lines.extend(shapes.iter().map(|shape| rect(&shape.rect, shape.class)));
    lines.extend(wires.iter().map(|wire| {
        let points = wire.points.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>();
        format!("<polyline class=\"{}\" points=\"{}\"/>", wire.class, points.join(" "))
    }));
    lines.extend(texts.iter().map(|text| {
        format!(
            "<text class=\"{}\" x=\"{}\" y=\"{}\" font-size=\"{FONT}\">{}</text>",
            text.class,
            text.rect.x,
            text.rect.y + FONT,
            escaped(&text.words)
        )
    }));
    lines.push("</svg>\n".into());
    lines.join("\n")
}

fn rect(rect: &Rect, class: &str) -> String {
    let Rect { x, y, width, height } = rect;
    let round = if class == "paper" { 0 } else { 5 };
    format!(
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\"/>"
    )
}

/// Escapes text for XML. Characters that XML forbids are already replaced.
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
        let text = draw(&sample::odd());
        assert!(text.is_ascii() && !text.contains('\u{1b}'));
        assert!(text.contains("&lt;i&gt;&amp;amp;") && !text.contains("<i>"));
        assert_eq!(text.matches("<text ").count(), text.matches("</text>").count());
        assert!(text.lines().filter(|l| l.starts_with("<text")).all(|l| l.ends_with("</text>")));
    }

    #[test]
    fn it_says_what_it_shows() {
        let text = draw(&sample::of(3));
        assert!(text.contains("1 network with 3 endpoints and 1 published port."));
        assert!(text.contains(">web2</text>") && text.contains(">10.7.0.4/24</text>"));
    }
}
