//! A graph as a tree, for a terminal.

use unicode_width::UnicodeWidthStr;

use super::{Ink, Line, words};
use crate::model::graph::{Graph, HostLink, Inside, OtherHost, Port, Segment};

const GAP: &str = "  ";

/// A branch of the tree: its pieces, and the branches below it.
struct Branch {
    pieces: Vec<(Ink, String)>,
    /// The number of pieces that are aligned in columns. Pieces that do not fit continue below the
    /// others.
    columns: usize,
    below: Vec<Self>,
}

/// Returns the lines of the tree, for a terminal with this many columns; long names may exceed them.
pub fn draw(graph: &Graph, columns: usize) -> Vec<Line> {
    let mut branches: Vec<_> = graph.links.iter().map(host_link).collect();
    branches.extend(graph.segments.iter().map(segment));
    let mut lines = vec![Line(vec![
        (Ink::Name, "host".into()),
        (Ink::Plain, format!("{GAP}{}", words::forwarding(graph.forwarding))),
    ])];
    grow(&mut lines, "", &branches, columns);
    lines
}

fn host_link(link: &HostLink) -> Branch {
    let mut pieces = vec![(Ink::Name, words::plain(&link.name))];
    pieces.extend(some(Ink::Plain, words::kind(link)));
    if !link.up {
        pieces.push((Ink::Bad, "down".into()));
    }
    pieces.extend(link.addresses.iter().map(|a| (Ink::Address, a.to_string())));
    pieces.extend(link.mac.map(|mac| (Ink::Faint, mac.to_string())));
    pieces.extend(words::via(&link.gateways).map(|via| (Ink::Plain, format!("default {via}"))));
    let below: Vec<_> = link
        .inside
        .iter()
        .map(|inside| {
            let mut pieces = vec![(Ink::Name, words::who(inside))];
            pieces
                .extend(some(Ink::Plain, words::plain(inside.link.as_deref().unwrap_or_default())));
            let columns = pieces.len();
            pieces.extend(details(inside));
            Branch { pieces, columns, below: Vec::new() }
        })
        .collect();
    Branch { pieces, columns: 1, below: aligned(below) }
}

fn segment(segment: &Segment) -> Branch {
    let mut pieces =
        vec![(Ink::Name, words::plain(&segment.name)), (Ink::Plain, words::mode(segment))];
    if !segment.up {
        pieces.push((Ink::Bad, "down".into()));
    }
    pieces.extend(segment.addresses.iter().map(|a| (Ink::Address, a.to_string())));
    pieces.extend(segment.mac.map(|mac| (Ink::Faint, mac.to_string())));
    pieces.extend(words::via(&segment.gateways).map(|via| (Ink::Plain, format!("default {via}"))));
    pieces.extend(words::properties(segment).into_iter().map(|word| (Ink::Plain, word)));
    let mut below = aligned(segment.ports.iter().map(port).collect());
    below.extend(aligned(segment.peers.iter().map(other_host).collect()));
    Branch { pieces, columns: 1, below }
}

fn port(port: &Port) -> Branch {
    let mut pieces: Vec<_> =
        words::port_name(port).map(|name| (Ink::Faint, name)).into_iter().collect();
    match port.inside() {
        Some(inside) => {
            pieces.push((Ink::Name, words::who(inside)));
            let link = inside.link.as_deref().unwrap_or_default();
            pieces.extend(some(Ink::Plain, words::plain(link)));
        }
        None => pieces.extend(words::beyond(&port.end).map(|what| (Ink::Plain, what))),
    }
    let columns = pieces.len();
    pieces.extend(words::trouble(port.state).map(|word| (Ink::Bad, word.to_owned())));
    pieces.extend(port.inside().into_iter().flat_map(details));
    Branch { pieces, columns, below: Vec::new() }
}

fn other_host(other: &OtherHost) -> Branch {
    let mut pieces = vec![(Ink::Name, words::other_host(other))];
    pieces.extend(other.subnets.iter().map(|subnet| (Ink::Address, subnet.to_string())));
    pieces.extend(words::by(other).map(|by| (Ink::Plain, by)));
    Branch { pieces, columns: 1, below: Vec::new() }
}

/// Returns the properties of a link inside, without its name.
fn details(inside: &Inside) -> Vec<(Ink, String)> {
    let mut pieces: Vec<_> =
        inside.addresses.iter().map(|a| (Ink::Address, a.to_string())).collect();
    pieces.extend(inside.mac.map(|mac| (Ink::Faint, mac.to_string())));
    pieces.extend(words::via(&inside.gateways).map(|via| (Ink::Plain, via)));
    pieces.extend(inside.published.iter().map(|p| (Ink::Open, words::published(p))));
    pieces
}

fn some(ink: Ink, text: String) -> Option<(Ink, String)> {
    (!text.is_empty()).then_some((ink, text))
}

/// Aligns the first pieces of each branch, and the address after them.
fn aligned(mut branches: Vec<Branch>) -> Vec<Branch> {
    let deepest = branches.iter().map(|b| b.columns).max().unwrap_or_default();
    for column in 0..=deepest {
        let is_in = |branch: &Branch| {
            let address = branch.pieces.get(column).is_some_and(|(ink, _)| *ink == Ink::Address);
            column + 1 < branch.pieces.len() && (column < branch.columns || address)
        };
        let width = |branch: &Branch| match branch.pieces.get(column) {
            Some((_, text)) if is_in(branch) => text.width(),
            _ => 0,
        };
        let widest = branches.iter().map(width).max().unwrap_or_default();
        for branch in &mut branches {
            if is_in(branch) {
                let (_, text) = &mut branch.pieces[column];
                *text = padded(text, widest);
            }
        }
    }
    branches
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn grow(lines: &mut Vec<Line>, trunk: &str, branches: &[Branch], columns: usize) {
    for (i, branch) in branches.iter().enumerate() {
        let is_last = i + 1 == branches.len();
        let (fork, beside) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let beside = format!("{trunk}{beside}");
        // A second line leaves room for the vertical line to the items below.
        let inner = if branch.below.is_empty() { "   " } else { "│  " };
        write(lines, &format!("{trunk}{fork}"), &format!("{beside}{inner}"), branch, columns);
        grow(lines, &beside, &branch.below, columns);
    }
}

/// Writes a branch's pieces on one line, and those that do not fit below the columns.
fn write(lines: &mut Vec<Line>, first: &str, further: &str, branch: &Branch, room: usize) {
    let columns: usize =
        branch.pieces[..branch.columns].iter().map(|(_, t)| t.width() + GAP.len()).sum();
    let mut line = Line(vec![(Ink::Faint, first.to_owned())]);
    let mut width = first.width();
    let mut is_first = true;
    for (ink, text) in &branch.pieces {
        let text_width = text.trim_end().width();
        if !is_first && width + GAP.len() + text_width > room {
            finish(lines, &mut line);
            let indent = (first.width() + columns).min(room / 2).max(further.width());
            line.0.push((Ink::Faint, padded(further, indent)));
            width = indent;
            is_first = true;
        }
        if !is_first {
            line.0.push((Ink::Plain, GAP.into()));
            width += GAP.len();
        }
        line.0.push((*ink, text.clone()));
        width += text.width();
        is_first = false;
    }
    finish(lines, &mut line);
}

/// Ends a line, without trailing spaces.
fn finish(lines: &mut Vec<Line>, line: &mut Line) {
    let mut done = std::mem::take(line);
    while let Some((_, text)) = done.0.last_mut() {
        let trimmed = text.trim_end().len();
        text.truncate(trimmed);
        if !text.is_empty() {
            break;
        }
        done.0.pop();
    }
    lines.push(done);
}
