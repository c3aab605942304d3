//! The layout of the SVG picture.
//!
//! The host with its links and published ports is at the top. Below it are the segments, one after
//! the other: a bar, and its endpoints as cards in columns. A rail leads down from the bar beside
//! each column, and a stub from the rail to each card, so that lines never cross a card. A lane
//! leads from the host to each bar, or from a link if the segment is on top of one.

use unicode_width::UnicodeWidthStr;

use super::words;
use crate::model::graph::{Graph, HostLink, Inside, OtherHost, Port, Segment};

/// The width of a character, at least that of common monospaced fonts at [`FONT`].
const CHAR: usize = 8;
const LINE: usize = 18;
/// The font size.
pub(super) const FONT: usize = 13;
/// The distance between a box and its text.
const PAD: usize = 10;
/// The distance between boxes.
const GAP: usize = 14;
/// The space beside a column of cards, with its rail.
const GUTTER: usize = 28;
/// The distance between lanes.
const LANE: usize = 10;
/// The margin of the picture.
const MARGIN: usize = 16;
/// The width for which the number of columns is chosen.
const WIDTH: usize = 1200;
const CARD_LEAST: usize = 180;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// A box.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) rect: Rect,
    pub(super) class: &'static str,
}

/// A line of text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) rect: Rect,
    pub(super) words: String,
    pub(super) class: &'static str,
}

/// A line through points.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) points: Vec<(usize, usize)>,
    pub(super) class: &'static str,
}

/// All elements with their positions.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) shapes: Vec<Shape>,
    pub(super) wires: Vec<Wire>,
    pub(super) texts: Vec<Text>,
}

/// Pieces of a line, each with its CSS class.
type Words = Vec<(&'static str, String)>;

/// A box with lines of text.
struct Card {
    class: &'static str,
    lines: Vec<Words>,
}

/// A segment with its endpoints, or a link of the host with those on top of it.
struct Block {
    class: &'static str,
    /// The text of the bar, which wraps.
    head: Words,
    /// The link of the host at which the lane begins; `None`: at the host.
    from: Option<String>,
    cards: Vec<(Card, &'static str)>,
}

impl Layout {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut blocks: Vec<_> = graph.segments.iter().map(segment).collect();
        blocks.extend(graph.links.iter().filter(|l| !l.inside.is_empty()).map(beyond));
        let cards = || blocks.iter().flat_map(|b| &b.cards).map(|(card, _)| card);
        let card_width = cards().map(Card::width).max().unwrap_or_default().max(CARD_LEAST);
        let most = blocks.iter().map(|b| b.cards.len()).max().unwrap_or_default();
        // At least wide enough for the text of the bars and of the host.
        let columns = (WIDTH / (card_width + GUTTER)).clamp(1, most.max(3));
        let inner = columns * (card_width + GUTTER);
        let left = MARGIN + (blocks.len() + 1) * LANE;
        let mut layout = Self { width: left + inner + MARGIN, ..Self::default() };
        let (bottom, chips) = layout.host(graph, &blocks);
        let mut y = bottom + GAP;
        // Lanes that begin at links turn below each other.
        let mut starts = Vec::new();
        for (i, block) in blocks.iter().enumerate() {
            let lane = left - (i + 1) * LANE;
            starts.push(match block.from.as_ref().and_then(|n| chips.iter().find(|c| c.0 == *n)) {
                Some((_, x, top)) => {
                    y += LANE;
                    vec![(*x, *top), (*x, y), (lane, y)]
                }
                None => vec![(lane, bottom)],
            });
        }
        y += GAP;
        for (i, (block, mut points)) in blocks.iter().zip(starts).enumerate() {
            let bar = Rect { x: left, y, width: inner, height: 0 };
            let bar = layout.card(block.class, &flowed(&block.head, inner - 2 * PAD), bar);
            let lane = left - (i + 1) * LANE;
            let middle = bar.y + bar.height / 2;
            points.extend([(lane, middle), (bar.x, middle)]);
            layout.wires.push(Wire { points, class: "wire" });
            y = layout.columns(block, &bar, columns, card_width) + 2 * GAP;
        }
        layout.height = y - GAP + MARGIN;
        layout
    }

    /// Places the host's box; returns its lower edge, and where lanes begin at links: their names,
    /// and the middle of their lower edges.
    fn host(&mut self, graph: &Graph, blocks: &[Block]) -> (usize, Vec<(String, usize, usize)>) {
        let at = self.shapes.len();
        let width = self.width - 2 * MARGIN;
        let (x, right) = (MARGIN + PAD, MARGIN + width - PAD);
        let mut y = MARGIN + PAD;
        let title =
            vec![("name", "host".to_owned()), ("text", words::forwarding(graph.forwarding).into())];
        self.words(&title, x, y);
        y += LINE;
        let published = graph.insides().flat_map(|inside| {
            inside.published.iter().map(|port| {
                let (host, there) = (port.host_side(), words::inner_port(port));
                ("open", format!("{host} → {} {there}", words::who(inside)))
            })
        });
        for line in flowed(&published.collect(), width - 2 * PAD) {
            self.words(&line, x, y);
            y += LINE;
        }
        y += PAD;
        // Links at which a lane begins are in the last row, so that the lane crosses no other link.
        let is_left = |link: &&HostLink| blocks.iter().any(|b| b.from.as_ref() == Some(&link.name));
        let (left, others): (Vec<_>, Vec<_>) = graph.links.iter().partition(is_left);
        let mut chips: Vec<(String, usize, usize)> = Vec::new();
        let (mut at_x, mut row) = (x, 0);
        for link in others.into_iter().chain(left) {
            let card = chip(link);
            let chip_width = card.width();
            if at_x > x && at_x + chip_width > right {
                (at_x, y, row) = (x, y + row + GAP, 0);
                chips.clear();
            }
            let rect = Rect { x: at_x, y, width: chip_width, height: 0 };
            let rect = self.card(card.class, &card.lines, rect);
            chips.push((link.name.clone(), at_x + chip_width / 2, y + rect.height));
            at_x += chip_width + GAP;
            row = row.max(rect.height);
        }
        let bottom = y + row + PAD;
        // A link's name may be wider than everything else.
        let widest = self.shapes[at..].iter().map(|s| s.rect.x + s.rect.width).max();
        let texts = self.texts.iter().map(|t| t.rect.x + t.rect.width).max();
        self.width = self.width.max(widest.max(texts).unwrap_or_default() + PAD + MARGIN);
        let width = self.width - 2 * MARGIN;
        let rect = Rect { x: MARGIN, y: MARGIN, width, height: bottom - MARGIN };
        self.shapes.insert(at, Shape { rect, class: "host" });
        (bottom, chips)
    }

    /// Places the cards of a block, with rails and stubs; returns the lower edge of the lowest.
    fn columns(&mut self, block: &Block, bar: &Rect, columns: usize, width: usize) -> usize {
        let mut y = bar.y + bar.height;
        let mut rails: Vec<Option<usize>> = vec![None; columns];
        for row in block.cards.chunks(columns) {
            y += GAP;
            for (column, (card, wire)) in row.iter().enumerate() {
                let rail = bar.x + column * (width + GUTTER) + GUTTER / 2;
                let x = rail + GUTTER / 2;
                let rect = self.card(card.class, &card.lines, Rect { x, y, width, height: 0 });
                let middle = rect.y + PAD + LINE / 2;
                self.wires.push(Wire { points: vec![(rail, middle), (x, middle)], class: wire });
                rails[column] = Some(middle);
            }
            y += row.iter().map(|(card, _)| card.height()).max().unwrap_or_default();
        }
        for (column, end) in rails.into_iter().enumerate() {
            let rail = bar.x + column * (width + GUTTER) + GUTTER / 2;
            let points = |end| vec![(rail, bar.y + bar.height), (rail, end)];
            self.wires.extend(end.map(|end| Wire { points: points(end), class: "wire" }));
        }
        y
    }

    /// Places a box with lines of text; returns its rectangle with the final height.
    fn card(&mut self, class: &'static str, lines: &[Words], rect: Rect) -> Rect {
        let rect = Rect { height: lines.len() * LINE + 2 * PAD, ..rect };
        self.shapes.push(Shape { rect, class });
        for (i, line) in lines.iter().enumerate() {
            self.words(line, rect.x + PAD, rect.y + PAD + i * LINE);
        }
        rect
    }

    fn words(&mut self, line: &Words, mut x: usize, y: usize) {
        for (class, words) in line {
            let width = words.width() * CHAR;
            let rect = Rect { x, y, width, height: LINE };
            self.texts.push(Text { rect, words: words.clone(), class });
            x += width + 2 * CHAR;
        }
    }
}

impl Card {
    fn width(&self) -> usize {
        self.lines.iter().map(|line| line_width(line)).max().unwrap_or_default() + 2 * PAD
    }

    fn height(&self) -> usize {
        self.lines.len() * LINE + 2 * PAD
    }
}

fn line_width(line: &[(&'static str, String)]) -> usize {
    let letters: usize = line.iter().map(|(_, words)| words.width() + 2).sum();
    letters.saturating_sub(2) * CHAR
}

/// Wraps pieces into as many lines as needed.
fn flowed(pieces: &Words, width: usize) -> Vec<Words> {
    let mut lines: Vec<Words> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if line_width(line) + (piece.1.width() + 2) * CHAR <= width => {
                line.push(piece.clone());
            }
            _ => lines.push(vec![piece.clone()]),
        }
    }
    lines
}

fn chip(link: &HostLink) -> Card {
    let mut title = vec![("name", words::plain(&link.name))];
    let kind = words::kind(link);
    title.extend((!kind.is_empty()).then_some(("text", kind)));
    title.extend((!link.up).then(|| ("bad", "down".to_owned())));
    let mut lines = vec![title];
    lines.extend(link.addresses.iter().map(|a| vec![("address", a.to_string())]));
    lines.extend(link.mac.map(|mac| vec![("faint", mac.to_string())]));
    lines.extend(link.gateways.iter().map(|g| vec![("text", format!("default via {g}"))]));
    Card { class: "link", lines }
}

fn segment(segment: &Segment) -> Block {
    let mut head = vec![("name", words::plain(&segment.name)), ("text", words::mode(segment))];
    head.extend((!segment.up).then(|| ("bad", "down".to_owned())));
    head.extend(segment.addresses.iter().map(|a| ("address", a.to_string())));
    head.extend(segment.mac.map(|mac| ("faint", mac.to_string())));
    head.extend(segment.gateways.iter().map(|g| ("text", format!("default via {g}"))));
    head.extend(words::properties(segment).into_iter().map(|word| ("text", word)));
    let from = segment.macvlan.and(segment.parent.clone());
    let class = if segment.foreign { "foreign" } else { "segment" };
    let others = segment.peers.iter().map(other_host);
    Block { class, head, from, cards: segment.ports.iter().map(port).chain(others).collect() }
}

fn other_host(other: &OtherHost) -> (Card, &'static str) {
    let mut lines = vec![vec![("name", words::other_host(other))]];
    lines.extend(other.subnets.iter().map(|subnet| vec![("address", subnet.to_string())]));
    lines.extend(words::by(other).map(|by| vec![("text", by)]));
    (Card { class: "beyond", lines }, "wire")
}

/// The block of a link: the links on top of it, or its peer, in other namespaces.
fn beyond(link: &HostLink) -> Block {
    let head = vec![("name", words::plain(&link.name)), ("text", words::kind(link))];
    let cards = link
        .inside
        .iter()
        .map(|inside| {
            let lines = vec![vec![("name", words::who(inside))]];
            (Card { class: "endpoint", lines: with_details(lines, None, inside) }, "wire")
        })
        .collect();
    Block { class: "link", head, from: Some(link.name.clone()), cards }
}

fn port(port: &Port) -> (Card, &'static str) {
    let name = words::port_name(port);
    let trouble = words::trouble(port.state);
    let wire = if trouble.is_some() { "broken" } else { "wire" };
    let trouble = trouble.map(|word| ("bad", word.to_owned()));
    let Some(inside) = port.inside() else {
        let mut title = vec![("name", name.unwrap_or_default())];
        title.extend(trouble);
        let what = words::beyond(&port.end).unwrap_or_default();
        return (Card { class: "beyond", lines: vec![title, vec![("text", what)]] }, wire);
    };
    let mut title = vec![("name", words::who(inside))];
    title.extend(trouble);
    let lines = with_details(vec![title], name, inside);
    (Card { class: "endpoint", lines }, wire)
}

fn with_details(mut lines: Vec<Words>, port: Option<String>, inside: &Inside) -> Vec<Words> {
    let link = inside.link.as_deref().map(words::plain);
    let pair: Vec<_> = port.into_iter().chain(link).collect();
    lines.extend((!pair.is_empty()).then(|| vec![("text", pair.join(" – "))]));
    lines.extend(inside.addresses.iter().map(|a| vec![("address", a.to_string())]));
    lines.extend(inside.mac.map(|mac| vec![("faint", mac.to_string())]));
    lines.extend(inside.gateways.iter().map(|g| vec![("text", format!("via {g}"))]));
    lines.extend(
        inside.published.iter().map(|port| {
            vec![("open", format!("{} → {}", port.host_side(), words::inner_port(port)))]
        }),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::sample;

    fn overlap(a: &Rect, b: &Rect) -> bool {
        a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
    }

    fn is_within(inner: &Rect, outer: &Rect) -> bool {
        inner.x >= outer.x
            && inner.y >= outer.y
            && inner.x + inner.width <= outer.x + outer.width
            && inner.y + inner.height <= outer.y + outer.height
    }

    fn graphs() -> Vec<Graph> {
        let mut long = sample::of(2);
        long.segments[0].ports.push(sample::port(&"x".repeat(63), 9));
        long.links.push(sample::link(&"w".repeat(300)));
        let mut graphs: Vec<_> = [0, 1, 3, 60, 200].into_iter().map(sample::of).collect();
        graphs.extend([Graph::default(), sample::mixed(), sample::odd(), long]);
        graphs
    }

    #[test]
    fn nothing_lies_on_anything() {
        for graph in graphs() {
            let layout = Layout::of(&graph);
            let all = Rect { x: 0, y: 0, width: layout.width, height: layout.height };
            for (i, text) in layout.texts.iter().enumerate() {
                assert!(is_within(&text.rect, &all), "{text:?} is in the picture");
                for other in &layout.texts[i + 1..] {
                    assert!(!overlap(&text.rect, &other.rect), "{text:?} and {other:?}");
                }
                // Text must be inside of every box that it touches.
                for shape in layout.shapes.iter().filter(|s| overlap(&s.rect, &text.rect)) {
                    assert!(is_within(&text.rect, &shape.rect), "{text:?} is in {shape:?}");
                }
            }
            for (i, shape) in layout.shapes.iter().enumerate() {
                assert!(is_within(&shape.rect, &all), "{shape:?} is in the picture");
                for other in &layout.shapes[i + 1..] {
                    let apart = !overlap(&shape.rect, &other.rect);
                    assert!(apart || is_within(&other.rect, &shape.rect), "{shape:?}, {other:?}");
                }
            }
        }
    }

    #[test]
    fn no_line_goes_through_a_text() {
        for graph in graphs() {
            let layout = Layout::of(&graph);
            for wire in &layout.wires {
                for ends in wire.points.windows(2) {
                    let ((x1, y1), (x2, y2)) = (ends[0], ends[1]);
                    assert!(x1 == x2 || y1 == y2, "{wire:?} is upright or level");
                    let (x, y) = (x1.min(x2), y1.min(y2));
                    let rect =
                        Rect { x, y, width: x1.abs_diff(x2) + 1, height: y1.abs_diff(y2) + 1 };
                    let text = layout.texts.iter().find(|text| overlap(&text.rect, &rect));
                    assert!(text.is_none(), "{wire:?} goes through {text:?}");
                }
            }
        }
    }

    #[test]
    fn everybody_is_in_the_picture() {
        let layout = Layout::of(&sample::of(60));
        for target in 0..60 {
            let name = format!("web{target}");
            assert!(layout.texts.iter().any(|text| text.words == name), "{name}");
        }
        assert!(layout.width <= WIDTH + 200, "{} is for a screen", layout.width);
    }
}
