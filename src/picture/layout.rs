//! The positions of a topology's boxes and lines.
//!
//! Each layer is one or more rows of boxes. Between the rows are channels with level tracks: a line
//! leaves a box at its lower edge, follows its track, and drops to the upper edges of the boxes below.
//! To boxes in later rows it runs down a lane at the left. So no line crosses a box, and no two lines
//! have a track, a drop or a lane in common.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    Ink, Line,
    topology::{Kind, Layer, Node, Topology, Way},
};

/// The distance between a box and its text.
const PAD: usize = 10;
/// The distance between boxes. Widths of boxes are multiples of it, so that their middles are
/// multiples of half of it.
const GRID: usize = 16;
/// The distance between tracks, and between lanes.
const TRACK: usize = 10;
/// The distance between a row of boxes and the nearest track; an arrow has room in it.
const APPROACH: usize = 16;
/// The width of a box or line in the legend.
const SAMPLE: usize = 28;
/// The margin of the picture.
const MARGIN: usize = 16;
/// A row gets no wider, unless a single box is.
const WIDTH: usize = 1200;
const BOX_LEAST: usize = 128;
/// A name longer than this continues on the next line.
const NAME_MOST: usize = 26;
/// So does other text; an IPv6 address with a range of ports stays whole.
const TEXT_MOST: usize = 56;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// A piece of text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) rect: Rect,
    pub(super) ink: Ink,
    pub(super) words: String,
}

/// A box with its text.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) rect: Rect,
    pub(super) kind: Kind,
    /// The number of the colour of the lines that leave it.
    pub(super) colour: Option<usize>,
    pub(super) texts: Vec<Text>,
}

/// A line from one box to another.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) way: Way,
    /// The indexes of the boxes.
    pub(super) ends: (usize, usize),
    pub(super) points: Vec<(usize, usize)>,
    /// Whether the connection works.
    pub(super) works: bool,
}

/// A place where lines of one kind part.
#[derive(Debug)]
pub(super) struct Dot {
    pub(super) way: Way,
    pub(super) at: (usize, usize),
}

/// An entry of the legend: a piece of a box or of a line, and its meaning.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) of: SampleOf,
    pub(super) rect: Rect,
    pub(super) text: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleOf {
    Box(Kind),
    Way(Way),
    Broken,
}

/// All elements with their positions.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) host: Rect,
    pub(super) title: Vec<Text>,
    pub(super) shapes: Vec<Shape>,
    pub(super) wires: Vec<Wire>,
    pub(super) dots: Vec<Dot>,
    pub(super) legend: Vec<Sample>,
}

/// All lines of one kind that leave one box.
struct Route {
    way: Way,
    from: usize,
    /// Where they leave the box.
    exit: usize,
    /// The lane to rows that are not next.
    lane: Option<usize>,
    drops: Vec<Drop>,
}

struct Drop {
    to: usize,
    x: usize,
    works: bool,
}

impl Layout {
    /// Places a topology; the title is that of the host.
    pub(super) fn of(topology: &Topology, title: &Line) -> Self {
        let mut shapes: Vec<_> = (0..topology.nodes.len()).map(|i| shape(topology, i)).collect();
        let rows = Rows::of(&topology.nodes, &shapes);
        let mut routes = routes(topology, &rows);
        let lanes = routes.iter().filter(|route| route.lane.is_some()).count();
        let left = (MARGIN + PAD + (lanes + 1) * TRACK).next_multiple_of(GRID);
        let widest = rows.rows.iter().map(|row| row_width(row, &shapes)).max().unwrap_or_default();
        // The line from the internet passes beside the title.
        let least = 2 * line_width(title) + 8 * GRID;
        let content = widest.max(least).next_multiple_of(2 * GRID);
        rows.place(&topology.nodes, &mut shapes, left + content / 2);
        place_exits(&mut routes, &shapes);
        place_drops(&mut routes, &shapes, &rows);
        let tracks = Tracks::of(&routes, &rows);
        let mut layout = Self { width: left + content + PAD + MARGIN, ..Self::default() };
        let channels = layout.place_rows(&rows, &topology.nodes, &mut shapes, title, &tracks);
        layout.shapes = shapes;
        for (i, route) in routes.iter().enumerate() {
            let track =
                |channel| Some(channels[channel] + APPROACH + tracks.of_route(i, channel)? * TRACK);
            layout.wires(route, &rows, &track);
            layout.dots(route, &rows, &track);
        }
        layout.place_legend();
        layout
    }

    /// Gives rows their heights from the top to the bottom, and the host its box. Returns the upper
    /// edges of the channels above the rows.
    fn place_rows(
        &mut self,
        rows: &Rows,
        nodes: &[Node],
        shapes: &mut [Shape],
        title: &Line,
        tracks: &Tracks,
    ) -> Vec<usize> {
        let layer = |row: &[usize]| row.first().map(|i| nodes[*i].layer);
        let first = rows.rows.iter().position(|row| layer(row) > Some(Layer::Outside));
        let first = first.unwrap_or(rows.rows.len());
        let mut channels = Vec::new();
        let mut y = MARGIN;
        for at in 0..=rows.rows.len() {
            if at == first {
                y += if at == 0 { 0 } else { APPROACH };
                self.host = Rect { x: MARGIN, y, width: self.width - 2 * MARGIN, height: 0 };
                self.title = placed(title, MARGIN + PAD, y + PAD);
                y += 2 * PAD + line_height(title);
                self.host.height = y - self.host.y;
            }
            let Some(row) = rows.rows.get(at) else { break };
            channels.push(y);
            y += tracks.height(at);
            for i in row {
                shapes[*i].shift(0, y);
            }
            y += row.iter().map(|i| shapes[*i].rect.height).max().unwrap_or_default();
            if matches!(layer(row), Some(Layer::Links | Layer::Segments | Layer::Stacked)) {
                self.host.height = y + PAD - self.host.y;
                y += PAD;
            }
        }
        self.height = y + MARGIN;
        channels
    }

    fn wires(&mut self, route: &Route, rows: &Rows, track: &dyn Fn(usize) -> Option<usize>) {
        let Route { way, from, exit, lane, .. } = *route;
        let start = self.shapes[from].rect.bottom();
        for drop in &route.drops {
            let first = rows.of[from] + 1;
            let last = rows.of[drop.to];
            let mut points = vec![(exit, start)];
            points.extend(track(first).map(|y| (exit, y)));
            if let (true, Some(lane)) = (first != last, lane) {
                points.extend(track(first).map(|y| (lane, y)));
                points.extend(track(last).map(|y| (lane, y)));
            }
            points.extend(track(last).map(|y| (drop.x, y)));
            points.push((drop.x, self.shapes[drop.to].rect.y));
            points.dedup();
            self.wires.push(Wire { way, ends: (from, drop.to), points, works: drop.works });
        }
    }

    /// Marks where three or more pieces of a line meet, in contrast to where lines only cross.
    fn dots(&mut self, route: &Route, rows: &Rows, track: &dyn Fn(usize) -> Option<usize>) {
        let first = rows.of[route.from] + 1;
        let channels: Vec<_> = (first..rows.rows.len()).filter(|c| track(*c).is_some()).collect();
        for channel in &channels {
            let Some(y) = track(*channel) else { continue };
            let mut upright: Vec<usize> = drops_in(route, rows, *channel).collect();
            upright.extend((*channel == first).then_some(route.exit));
            if let Some(lane) = route.lane {
                let pieces = [channels.first(), channels.last()].map(|end| end != Some(channel));
                upright.extend(pieces.into_iter().filter(|goes_on| *goes_on).map(|_| lane));
            }
            let (Some(least), Some(most)) = (upright.iter().min(), upright.iter().max()) else {
                continue;
            };
            let mut places = upright.clone();
            places.sort_unstable();
            places.dedup();
            for x in &places {
                let level = usize::from(x > least) + usize::from(x < most);
                if level + upright.iter().filter(|other| *other == x).count() > 2 {
                    self.dots.push(Dot { way: route.way, at: (*x, y) });
                }
            }
        }
    }

    /// Says below the picture what the boxes and lines in it mean.
    fn place_legend(&mut self) {
        let mut kinds: Vec<_> = self.shapes.iter().map(|shape| shape.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut ways: Vec<_> = self.wires.iter().map(|wire| wire.way).collect();
        ways.sort_unstable();
        // One cable stands for all.
        ways.dedup_by_key(|way| if let Way::Cable(_) = way { Way::Cable(0) } else { *way });
        let broken = self.wires.iter().any(|wire| !wire.works);
        let samples =
            kinds.into_iter().map(SampleOf::Box).chain(ways.into_iter().map(SampleOf::Way));
        let (mut x, mut y) = (MARGIN, self.height + PAD);
        for of in samples.chain(broken.then_some(SampleOf::Broken)) {
            let Some(words) = meaning(of) else { continue };
            let width = words.width() * letter(Ink::Faint);
            if x > MARGIN && x + SAMPLE + PAD + width > self.width - MARGIN {
                (x, y) = (MARGIN, y + height(Ink::Plain));
            }
            let rect = Rect { x, y: y + 2, width: SAMPLE, height: height(Ink::Faint) - 4 };
            let text = Rect { x: x + SAMPLE + PAD, y, width, height: height(Ink::Faint) };
            let text = Text { rect: text, ink: Ink::Faint, words: words.to_owned() };
            x = text.rect.x + width + 2 * PAD;
            self.legend.push(Sample { of, rect, text });
        }
        if !self.legend.is_empty() {
            self.height = y + height(Ink::Plain) + MARGIN;
        }
    }
}

/// What a box or a line stands for, if that is not written in it.
fn meaning(of: SampleOf) -> Option<&'static str> {
    match of {
        SampleOf::Box(Kind::Internet | Kind::Published | Kind::Folded) => None,
        SampleOf::Box(Kind::Link) => Some("link of the host"),
        SampleOf::Box(Kind::Segment) => Some("network"),
        SampleOf::Box(Kind::Foreign) => Some("bridge of another program"),
        SampleOf::Box(Kind::Target) => Some("target (network namespace)"),
        SampleOf::Box(Kind::Beyond) => Some("not a namespace of this host"),
        SampleOf::Way(Way::Uplink) => Some("default route"),
        SampleOf::Way(Way::Cable(_)) => Some("connection, in the colour of its network"),
        SampleOf::Way(Way::Masquerade) => Some("masquerade"),
        SampleOf::Way(Way::Published) => Some("published port"),
        SampleOf::Broken => Some("down or gone"),
    }
}

impl Rect {
    pub(super) fn bottom(&self) -> usize {
        self.y + self.height
    }

    fn middle(&self) -> usize {
        self.x + self.width / 2
    }
}

impl Shape {
    fn shift(&mut self, x: usize, y: usize) {
        let rects = self.texts.iter_mut().map(|text| &mut text.rect).chain([&mut self.rect]);
        for rect in rects {
            rect.x += x;
            rect.y += y;
        }
    }
}

/// The boxes in rows, by index.
struct Rows {
    rows: Vec<Vec<usize>>,
    /// The row of each box.
    of: Vec<usize>,
}

impl Rows {
    fn of(nodes: &[Node], shapes: &[Shape]) -> Self {
        let mut order: Vec<_> = (0..nodes.len()).collect();
        order.sort_by_key(|i| nodes[*i].layer);
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let mut width = 0;
        for i in order {
            let is_next = rows.last().is_none_or(|row| nodes[row[0]].layer != nodes[i].layer);
            width += GRID + shapes[i].rect.width;
            match rows.last_mut() {
                Some(row) if !is_next && width <= WIDTH => row.push(i),
                _ => {
                    rows.push(vec![i]);
                    width = shapes[i].rect.width;
                }
            }
        }
        let mut of = vec![0; nodes.len()];
        for (row, i) in
            rows.iter().enumerate().flat_map(|(row, all)| all.iter().map(move |i| (row, i)))
        {
            of[*i] = row;
        }
        Self { rows, of }
    }

    /// Places each row around the middle; the further rows of a layer begin where its first does.
    fn place(&self, nodes: &[Node], shapes: &mut [Shape], middle: usize) {
        let mut start = (None, 0);
        for row in &self.rows {
            let layer = row.first().map(|i| nodes[*i].layer);
            let centred = middle - row_width(row, shapes) / 2;
            start = (layer, if start.0 == layer { start.1.min(centred) } else { centred });
            let mut x = start.1;
            for i in row {
                shapes[*i].shift(x, 0);
                x += shapes[*i].rect.width + GRID;
            }
        }
    }
}

fn row_width(row: &[usize], shapes: &[Shape]) -> usize {
    let widths: usize = row.iter().map(|i| shapes[*i].rect.width).sum();
    widths + row.len().saturating_sub(1) * GRID
}

/// Gives lines that pass a row their lanes. The positions at boxes are still to be found.
fn routes(topology: &Topology, rows: &Rows) -> Vec<Route> {
    let mut lanes = 0;
    let mut routes = Vec::new();
    for net in &topology.nets {
        let next = rows.of[net.from] + 1;
        let is_long = net.to.iter().any(|(to, _)| rows.of[*to] != next);
        let lane = is_long.then_some(MARGIN + PAD + lanes * TRACK);
        lanes += usize::from(is_long);
        let drops = net.to.iter().map(|&(to, works)| Drop { to, x: 0, works }).collect();
        routes.push(Route { way: net.way, from: net.from, exit: 0, lane, drops });
    }
    routes
}

/// The positions of this many lines at the edge of a box, around its middle.
fn spread(rect: Rect, count: usize) -> impl Iterator<Item = usize> {
    let first = rect.middle() - count.saturating_sub(1) * GRID / 2;
    (0..count).map(move |i| first + i * GRID)
}

fn place_exits(routes: &mut [Route], shapes: &[Shape]) {
    for (i, shape) in shapes.iter().enumerate() {
        let mut leaving: Vec<_> = routes.iter_mut().filter(|route| route.from == i).collect();
        let places: Vec<_> = spread(shape.rect, leaving.len()).collect();
        for (route, x) in leaving.iter_mut().zip(places) {
            route.exit = x;
        }
    }
}

/// Places the ends of lines at the upper edges of boxes: none below the exit of another line, and none
/// on another.
fn place_drops(routes: &mut [Route], shapes: &[Shape], rows: &Rows) {
    let exits: Vec<_> = routes.iter().map(|route| (rows.of[route.from] + 1, route.exit)).collect();
    for (i, shape) in shapes.iter().enumerate() {
        let row = rows.of[i];
        let mut coming: Vec<(usize, &mut Drop)> = Vec::new();
        for (route, all) in routes.iter_mut().enumerate() {
            coming
                .extend(all.drops.iter_mut().filter(|drop| drop.to == i).map(|drop| (route, drop)));
        }
        let mut taken: Vec<usize> = Vec::new();
        let places: Vec<_> = spread(shape.rect, coming.len()).collect();
        for ((route, drop), mut x) in coming.into_iter().zip(places) {
            let is_exit =
                |x| exits.iter().enumerate().any(|(r, exit)| r != route && *exit == (row, x));
            while taken.contains(&x) || is_exit(x) {
                x += GRID / 2;
            }
            taken.push(x);
            drop.x = x;
        }
    }
}

/// The positions of a route's drops into the row below a channel.
fn drops_in(route: &Route, rows: &Rows, channel: usize) -> impl Iterator<Item = usize> {
    route.drops.iter().filter(move |drop| rows.of[drop.to] == channel).map(|drop| drop.x)
}

/// The tracks in the channels above the rows.
struct Tracks {
    /// By route and channel.
    of: Vec<Vec<Option<usize>>>,
    /// The number of tracks of each channel.
    count: Vec<usize>,
}

impl Tracks {
    /// Gives each route the first track in a channel where it meets no other.
    fn of(routes: &[Route], rows: &Rows) -> Self {
        let channels = rows.rows.len();
        let mut found =
            Self { of: vec![vec![None; channels]; routes.len()], count: vec![0; channels] };
        for channel in 0..channels {
            let spans =
                routes.iter().enumerate().filter_map(|(i, r)| Some((i, span(r, rows, channel)?)));
            let mut spans: Vec<_> = spans.collect();
            spans.sort_by_key(|(_, (start, _))| *start);
            let mut ends: Vec<usize> = Vec::new();
            for (i, (start, end)) in spans {
                let free = ends.iter().position(|taken| taken + GRID <= start);
                let track = free.unwrap_or(ends.len());
                match ends.get_mut(track) {
                    Some(taken) => *taken = end,
                    None => ends.push(end),
                }
                found.of[i][channel] = Some(track);
            }
            found.count[channel] = ends.len();
        }
        found
    }

    fn of_route(&self, route: usize, channel: usize) -> Option<usize> {
        *self.of[route].get(channel)?
    }

    fn height(&self, channel: usize) -> usize {
        match (channel, self.count[channel]) {
            (0, _) => 0,
            (_, tracks) => 2 * APPROACH + tracks.saturating_sub(1) * TRACK,
        }
    }
}

/// The part of a channel that a route's track takes, unless it goes straight down.
fn span(route: &Route, rows: &Rows, channel: usize) -> Option<(usize, usize)> {
    let mut places: Vec<_> = drops_in(route, rows, channel).collect();
    let starts = rows.of[route.from] + 1 == channel;
    if starts || !places.is_empty() {
        places.extend(route.lane);
    }
    places.extend(starts.then_some(route.exit));
    let (least, most) = (*places.iter().min()?, *places.iter().max()?);
    (least < most).then_some((least, most))
}

/// A box with its text, not placed yet.
fn shape(topology: &Topology, at: usize) -> Shape {
    let node = &topology.nodes[at];
    let lines: Vec<_> = node.lines.iter().flat_map(folded).collect();
    let mut texts = Vec::new();
    let mut y = PAD;
    for line in &lines {
        texts.extend(placed(line, PAD, y));
        y += line_height(line);
    }
    let coming = topology.nets.iter().flat_map(|net| &net.to).filter(|(to, _)| *to == at).count();
    let widest = lines.iter().map(line_width).max().unwrap_or_default() + 2 * PAD;
    // Twice the room that the ends of lines need, so that they can give way to others.
    let width = widest.max(BOX_LEAST).max(2 * (coming + 1) * GRID).next_multiple_of(GRID);
    let colour = topology.nets.iter().find_map(|net| match net.way {
        Way::Cable(colour) if net.from == at => Some(colour),
        _ => None,
    });
    let rect = Rect { x: 0, y: 0, width, height: y + PAD };
    Shape { rect, kind: node.kind, colour, texts }
}

/// The font size.
pub(super) fn font(ink: Ink) -> usize {
    match ink {
        Ink::Name => 16,
        Ink::Faint => 11,
        _ => 13,
    }
}

/// The width of a character, at least that of common monospaced fonts.
fn letter(ink: Ink) -> usize {
    (font(ink) * 5).div_ceil(8)
}

/// The height of a line.
fn height(ink: Ink) -> usize {
    font(ink) * 11 / 8
}

/// The height of a line; an empty one separates paragraphs.
fn line_height(line: &Line) -> usize {
    line.0.iter().map(|(ink, _)| height(*ink)).max().unwrap_or(PAD)
}

fn line_width(line: &Line) -> usize {
    let widths: usize = line.0.iter().map(|(ink, words)| words.width() * letter(*ink) + PAD).sum();
    widths.saturating_sub(PAD)
}

/// The pieces of a line from this place on.
fn placed(line: &Line, mut x: usize, y: usize) -> Vec<Text> {
    let height = line_height(line);
    let mut texts = Vec::new();
    for (ink, words) in &line.0 {
        let width = words.width() * letter(*ink);
        let rect = Rect { x, y, width, height };
        texts.push(Text { rect, ink: *ink, words: words.clone() });
        x += width + PAD;
    }
    texts
}

/// A line as several, where it is too long for a box.
fn folded(line: &Line) -> Vec<Line> {
    let most = TEXT_MOST * letter(Ink::Plain);
    let mut lines: Vec<Line> = Vec::new();
    if line.0.is_empty() {
        return vec![line.clone()];
    }
    for (ink, words) in &line.0 {
        let letters = if *ink == Ink::Name { NAME_MOST } else { TEXT_MOST };
        for (part, words) in broken(words, letters).into_iter().enumerate() {
            let piece = Line(vec![(*ink, words)]);
            match lines.last_mut() {
                Some(line) if part == 0 && line_width(line) + PAD + line_width(&piece) <= most => {
                    line.0.extend(piece.0);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

/// Breaks text that is too long behind a space or another character that separates words, if there
/// is one.
fn broken(words: &str, most: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = words;
    while rest.width() > most {
        let (mut width, mut fits) = (0, 0);
        for c in rest.chars() {
            width += c.width().unwrap_or_default();
            if width > most {
                break;
            }
            fits += c.len_utf8();
        }
        let behind = |separators: &[char]| rest[..fits].rfind(separators).map(|at| at + 1);
        let at = behind(&[' ']).or_else(|| behind(&['-', '_', '.', '/'])).unwrap_or(fits);
        let (part, further) = rest.split_at(at);
        parts.push(part.trim_end().to_owned());
        rest = further;
    }
    parts.push(rest.to_owned());
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{model::graph::Graph, picture::sample};

    /// A piece of a line.
    type Piece = ((usize, usize), (usize, usize));

    fn layout(graph: &Graph, fold: bool) -> Layout {
        let title = Line(vec![(Ink::Name, "host".into()), (Ink::Plain, "does not forward".into())]);
        Layout::of(&Topology::of(graph, fold), &title)
    }

    fn graphs() -> Vec<Graph> {
        let mut long = sample::of(2);
        long.segments[0].ports.push(sample::port(&"x".repeat(64), 9));
        long.links.push(sample::link(&"w".repeat(300)));
        let mut graphs: Vec<_> = [0, 1, 3, 60, 200].into_iter().map(sample::of).collect();
        graphs.extend([Graph::default(), sample::mixed(), sample::odd(), long]);
        graphs
    }

    fn overlap(a: &Rect, b: &Rect) -> bool {
        a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
    }

    fn is_within(inner: &Rect, outer: &Rect) -> bool {
        inner.x >= outer.x
            && inner.y >= outer.y
            && inner.x + inner.width <= outer.x + outer.width
            && inner.bottom() <= outer.bottom()
    }

    fn all_texts(layout: &Layout) -> Vec<&Text> {
        let in_boxes = layout.shapes.iter().flat_map(|shape| &shape.texts);
        let legend = layout.legend.iter().map(|sample| &sample.text);
        layout.title.iter().chain(in_boxes).chain(legend).collect()
    }

    fn nothing_lies_on_anything(layout: &Layout) {
        let all = Rect { x: 0, y: 0, width: layout.width, height: layout.height };
        let texts = all_texts(layout);
        let boxes: Vec<_> = layout.shapes.iter().map(|shape| &shape.rect).collect();
        let samples = layout.legend.iter().map(|sample| &sample.rect);
        for (i, text) in texts.iter().enumerate() {
            assert!(is_within(&text.rect, &all), "{text:?} is in the picture");
            let other = texts[i + 1..].iter().find(|other| overlap(&text.rect, &other.rect));
            assert!(other.is_none(), "{text:?} and {other:?}");
        }
        for shape in &layout.shapes {
            assert!(shape.texts.iter().all(|text| is_within(&text.rect, &shape.rect)), "{shape:?}");
        }
        for text in layout.title.iter().chain(layout.legend.iter().map(|sample| &sample.text)) {
            assert!(!boxes.iter().any(|rect| overlap(rect, &text.rect)), "{text:?} is on a box");
        }
        let rects: Vec<_> = boxes.iter().copied().chain(samples).collect();
        for (i, rect) in rects.iter().enumerate() {
            assert!(is_within(rect, &all), "{rect:?} is in the picture");
            let apart = !overlap(rect, &layout.host) || is_within(rect, &layout.host);
            assert!(apart, "{rect:?} is in the host or outside");
            let other = rects[i + 1..].iter().find(|other| overlap(rect, other));
            assert!(other.is_none(), "{rect:?} and {other:?}");
        }
    }

    fn pieces(wire: &Wire) -> impl Iterator<Item = Piece> {
        wire.points.windows(2).map(|ends| (ends[0].min(ends[1]), ends[0].max(ends[1])))
    }

    /// Lines neither cross boxes or texts, nor lie on lines that begin at another box.
    fn lines_can_be_followed(layout: &Layout) {
        let texts = all_texts(layout);
        // The lines of a kind that leave a box share their pieces.
        let mut owners: HashMap<Piece, (Way, usize)> = HashMap::new();
        for wire in &layout.wires {
            let owner = (wire.way, wire.ends.0);
            for piece in pieces(wire) {
                let other = owners.insert(piece, owner);
                assert!(other.is_none_or(|other| other == owner), "{wire:?} lies on another line");
            }
        }
        let owned: Vec<_> = owners.into_iter().collect();
        for (i, (piece, owner)) in owned.iter().enumerate() {
            let ((x1, y1), (x2, y2)) = *piece;
            assert!(x1 == x2 || y1 == y2, "{piece:?} is upright or level");
            assert!(x2 < layout.width && y2 < layout.height, "{piece:?} is in the picture");
            let line = Rect { x: x1, y: y1, width: x2 - x1 + 1, height: y2 - y1 + 1 };
            let text = texts.iter().find(|text| overlap(&text.rect, &line));
            assert!(text.is_none(), "{piece:?} goes through {text:?}");
            let inside = |rect: &Rect| Rect {
                x: rect.x + 1,
                y: rect.y + 1,
                width: rect.width - 2,
                height: rect.height - 2,
            };
            let shape = layout.shapes.iter().find(|shape| overlap(&inside(&shape.rect), &line));
            assert!(shape.is_none(), "{piece:?} goes through {shape:?}");
            for (other, _) in owned[i + 1..].iter().filter(|(_, other)| other != owner) {
                let ((a1, b1), (a2, b2)) = *other;
                let upright = x1 == x2 && a1 == a2 && x1 == a1 && y1.max(b1) < y2.min(b2);
                let level = y1 == y2 && b1 == b2 && y1 == b1 && x1.max(a1) < x2.min(a2);
                assert!(!upright && !level, "{piece:?} lies on {other:?}");
            }
        }
        for wire in &layout.wires {
            let (from, to) = (layout.shapes[wire.ends.0].rect, layout.shapes[wire.ends.1].rect);
            let [start, .., end] = wire.points[..] else { panic!("{wire:?} has two ends") };
            assert!(start.1 == from.bottom() && (from.x..from.x + from.width).contains(&start.0));
            assert!(end.1 == to.y && (to.x..to.x + to.width).contains(&end.0), "{wire:?}");
        }
    }

    #[test]
    fn a_picture_can_be_read() {
        for graph in graphs() {
            for fold in [false, true] {
                nothing_lies_on_anything(&layout(&graph, fold));
                lines_can_be_followed(&layout(&graph, fold));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_picture_of_any_host_can_be_read(graph in sample::any_host(), fold: bool) {
            let layout = layout(&graph, fold);
            nothing_lies_on_anything(&layout);
            lines_can_be_followed(&layout);
        }
    }

    #[test]
    fn everybody_is_in_the_picture() {
        let layout = layout(&sample::of(60), false);
        for target in 0..60 {
            let name = format!("web{target}");
            assert!(all_texts(&layout).iter().any(|text| text.words == name), "{name}");
        }
        assert!(layout.width <= WIDTH + 200, "{} is for a screen", layout.width);
    }

    #[test]
    fn long_names_continue_on_the_next_line() {
        assert_eq!(broken("short", 8), ["short"]);
        assert_eq!(broken("project_backend-1", 10), ["project_", "backend-1"]);
        assert_eq!(broken(&"x".repeat(20), 8), ["xxxxxxxx", "xxxxxxxx", "xxxx"]);
        assert_eq!(broken("日本語日本語", 8), ["日本語日", "本語"]);
        let layout = layout(&sample::of(1), false);
        assert!(layout.width < 700, "{}", layout.width);
    }

    #[test]
    fn a_line_that_parts_has_a_dot_and_one_that_only_turns_has_none() {
        let dots = |endpoints| {
            let layout = layout(&sample::of(endpoints), false);
            layout.dots.iter().filter(|dot| matches!(dot.way, Way::Cable(_))).count()
        };
        assert_eq!(dots(1), 0);
        // To the left, down and to the right.
        assert_eq!(dots(3), 1);
    }
}
