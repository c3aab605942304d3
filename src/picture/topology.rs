//! A graph as boxes in layers, and the lines between them, for the pictures that are laid out here.
//!
//! A namespace is one box, however many networks it is in.

use super::{Ink, Line, words};
use crate::model::{
    EndpointState,
    graph::{End, Graph, HostLink, Inside, OtherHost, Port, Segment},
};

/// How many boxes of a kind are left when the others are folded into one.
const KEPT: usize = 3;

/// From top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    Outside,
    Links,
    Segments,
    /// Networks on top of a bridge.
    Stacked,
    Ends,
}

/// The kind of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// What is behind the default gateways.
    Internet,
    /// A link of the host.
    Link,
    /// Where connections to published ports are translated.
    Published,
    /// A network of netcord's.
    Segment,
    /// A bridge that netcord did not make.
    Foreign,
    /// A namespace.
    Target,
    /// The end of what can be seen.
    Beyond,
    /// Several boxes that differ only in their names and addresses.
    Folded,
}

/// The kind of the lines that leave a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// From the internet to the links of the default routes.
    Uplink,
    /// A veth pair, or another connection: one colour for each link or network.
    Cable(usize),
    /// From a link to the networks whose packets get its address.
    Masquerade,
    /// From published ports to their targets.
    Published,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) layer: Layer,
    pub(super) kind: Kind,
    pub(super) lines: Vec<Line>,
}

/// A line from one box to others, all in layers below it.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) way: Way,
    pub(super) from: usize,
    /// Each box, and whether the connection works.
    pub(super) to: Vec<(usize, bool)>,
}

#[derive(Debug, Default)]
pub(super) struct Topology {
    pub(super) nodes: Vec<Node>,
    pub(super) nets: Vec<Net>,
}

/// A link inside a namespace, and how it is connected.
struct Attachment<'g> {
    /// The node of the network or the link of the host.
    at: usize,
    network: &'g str,
    port: Option<&'g str>,
    state: EndpointState,
    inside: &'g Inside,
}

/// Something at the end of lines.
enum EndBox<'g> {
    Target(Vec<Attachment<'g>>),
    Other { kind: Kind, lines: Vec<Line>, at: Vec<(usize, bool)> },
}

impl Topology {
    /// With `fold`, more than a few boxes that are connected in the same way are folded into one.
    pub(super) fn of(graph: &Graph, fold: bool) -> Self {
        let mut made = Self::default();
        let internet = made.internet(graph);
        let links: Vec<_> = graph.links.iter().map(|link| made.link(link)).collect();
        let is_segment = |name: &String| graph.segments.iter().any(|s| s.name == *name);
        let is_stacked =
            |s: &Segment| s.macvlan.is_some() && s.parent.as_ref().is_some_and(is_segment);
        let layer = |s| if is_stacked(s) { Layer::Stacked } else { Layer::Segments };
        let segments: Vec<_> =
            graph.segments.iter().map(|segment| made.segment(segment, layer(segment))).collect();
        let mut ends = Vec::new();
        for (link, at) in graph.links.iter().zip(&links) {
            for inside in &link.inside {
                let state = EndpointState::Up;
                let attachment =
                    Attachment { at: *at, network: &link.name, port: None, state, inside };
                add(&mut ends, attachment);
            }
        }
        let node_of = |name: &str| {
            let link = graph.links.iter().position(|link| link.name == name).map(|i| links[i]);
            link.or_else(|| graph.segments.iter().position(|s| s.name == name).map(|i| segments[i]))
        };
        let mut cables = Vec::new();
        let mut wires = Vec::new();
        for (segment, at) in graph.segments.iter().zip(&segments) {
            for port in &segment.ports {
                let works = words::trouble(port.state).is_none();
                match &port.end {
                    End::Inside(inside) => {
                        let (network, state) = (segment.name.as_str(), port.state);
                        let port = port.link.as_deref();
                        add(&mut ends, Attachment { at: *at, network, port, state, inside });
                    }
                    End::Wire { link_kind } if link_kind.is_empty() => {
                        let wire = made.node(Layer::Links, Kind::Link, wire_lines(port));
                        wires.push((segment, wire));
                        made.net(Way::Cable(0), wire, vec![(*at, works)]);
                    }
                    End::Wire { .. } => ends.push(beyond(port, *at)),
                    // Between two bridges, a veth pair is a port of both.
                    End::Host { link } => match node_of(link) {
                        Some(other) => made.net(Way::Cable(0), other, vec![(*at, works)]),
                        None => cables.push((port, link, *at)),
                    },
                }
            }
            let parent = segment.parent.as_deref().filter(|_| segment.macvlan.is_some());
            if let Some(parent) = parent.and_then(node_of) {
                made.net(Way::Cable(0), parent, vec![(*at, true)]);
            }
            ends.extend(segment.peers.iter().map(|other| other_host(other, *at)));
        }
        ends.extend(between_bridges(&cables));
        for segment in &graph.segments {
            for link in &segment.masquerade_by {
                if let (Some(from), Some(to)) = (node_of(link), node_of(&segment.name)) {
                    made.net(Way::Masquerade, from, vec![(to, true)]);
                }
            }
        }
        let published = made.published(graph, internet);
        for group in groups(ends, fold) {
            made.ends(group, published);
        }
        if let Some(internet) = internet {
            let gateways = graph.links.iter().map(|link| (&link.name, &link.gateways));
            let gateways = gateways.chain(graph.segments.iter().map(|s| (&s.name, &s.gateways)));
            for (name, _) in gateways.filter(|(_, gateways)| !gateways.is_empty()) {
                let wire = wires.iter().find(|(segment, _)| segment.name == *name);
                let to = wire.map(|(_, wire)| *wire).or_else(|| node_of(name));
                made.net(Way::Uplink, internet, to.map(|to| (to, true)).into_iter().collect());
            }
        }
        made.colour();
        made
    }

    /// Adds what is behind the gateways, if there are any, or if ports are published to it.
    fn internet(&mut self, graph: &Graph) -> Option<usize> {
        let has_gateway = graph.links.iter().any(|link| !link.gateways.is_empty())
            || graph.segments.iter().any(|segment| !segment.gateways.is_empty());
        (has_gateway || is_public(graph)).then(|| {
            let lines = vec![Line(vec![(Ink::Name, "internet".into())])];
            self.node(Layer::Outside, Kind::Internet, lines)
        })
    }

    fn link(&mut self, link: &HostLink) -> usize {
        let mut title = vec![(Ink::Name, words::plain(&link.name))];
        let kind = words::kind(link);
        title.extend((!kind.is_empty()).then_some((Ink::Plain, kind)));
        title.extend((!link.up).then(|| (Ink::Bad, "down".to_owned())));
        let mut lines = vec![Line(title)];
        lines.extend(link.addresses.iter().map(|a| one(Ink::Address, a.to_string())));
        lines.extend(link.mac.map(|mac| one(Ink::Faint, mac.to_string())));
        lines.extend(link.gateways.iter().map(|g| one(Ink::Plain, format!("default via {g}"))));
        self.node(Layer::Links, Kind::Link, lines)
    }

    fn segment(&mut self, segment: &Segment, layer: Layer) -> usize {
        let mut title = vec![(Ink::Name, words::plain(&segment.name))];
        title.push((Ink::Plain, words::mode(segment)));
        title.extend((!segment.up).then(|| (Ink::Bad, "down".to_owned())));
        let mut lines = vec![Line(title)];
        lines.extend(segment.addresses.iter().map(|a| one(Ink::Address, a.to_string())));
        lines.extend(segment.mac.map(|mac| one(Ink::Faint, mac.to_string())));
        lines.extend(segment.gateways.iter().map(|g| one(Ink::Plain, format!("default via {g}"))));
        lines.extend(words::properties(segment).into_iter().map(|word| one(Ink::Plain, word)));
        let kind = if segment.foreign { Kind::Foreign } else { Kind::Segment };
        self.node(layer, kind, lines)
    }

    /// Adds the box where the arrows to the targets with published ports begin, if there are any.
    fn published(&mut self, graph: &Graph, internet: Option<usize>) -> Option<usize> {
        let count: usize = graph.insides().map(|inside| inside.published.len()).sum();
        if count == 0 {
            return None;
        }
        let lines = vec![one(Ink::Name, "published ports"), one(Ink::Plain, count.to_string())];
        let node = self.node(Layer::Links, Kind::Published, lines);
        if let (Some(internet), true) = (internet, is_public(graph)) {
            self.net(Way::Published, internet, vec![(node, true)]);
        }
        Some(node)
    }

    /// Adds the boxes of a group: all of them, or a few and one for the others.
    fn ends(&mut self, mut group: Vec<EndBox<'_>>, published: Option<usize>) {
        let folded = if group.len() > KEPT + 1 { group.split_off(KEPT) } else { Vec::new() };
        for end in &group {
            self.end(end.kind(), end.lines(), end, published);
        }
        if let Some(first) = folded.first() {
            let lines = vec![one(Ink::Name, format!("+{} more", folded.len()))];
            self.end(Kind::Folded, lines, first, published);
        }
    }

    /// Adds a box with the lines that lead to this end.
    fn end(&mut self, kind: Kind, lines: Vec<Line>, end: &EndBox<'_>, published: Option<usize>) {
        let node = self.node(Layer::Ends, kind, lines);
        for (from, works) in end.connections() {
            self.net(Way::Cable(0), from, vec![(node, works)]);
        }
        if let Some(from) = published.filter(|_| end.is_published()) {
            self.net(Way::Published, from, vec![(node, true)]);
        }
    }

    fn node(&mut self, layer: Layer, kind: Kind, lines: Vec<Line>) -> usize {
        self.nodes.push(Node { layer, kind, lines });
        self.nodes.len() - 1
    }

    /// Adds ends to the line of this kind that begins at this box. Lines lead down only.
    fn net(&mut self, way: Way, from: usize, mut to: Vec<(usize, bool)>) {
        to.retain(|(to, _)| self.nodes[from].layer < self.nodes[*to].layer);
        match self.nets.iter_mut().find(|net| net.from == from && net.way == way) {
            Some(net) => net.to.extend(to),
            None if to.is_empty() => {}
            None => self.nets.push(Net { way, from, to }),
        }
    }

    /// Gives each cable a colour, from the left to the right.
    fn colour(&mut self) {
        self.nets.sort_by_key(|net| net.from);
        let cables = self.nets.iter_mut().filter(|net| net.way == Way::Cable(0));
        for (colour, net) in cables.enumerate() {
            net.way = Way::Cable(colour);
        }
    }
}

impl EndBox<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Target(_) => Kind::Target,
            Self::Other { kind, .. } => *kind,
        }
    }

    fn connections(&self) -> Vec<(usize, bool)> {
        let of_target = |a: &Attachment<'_>| (a.at, words::trouble(a.state).is_none());
        match self {
            Self::Target(attachments) => attachments.iter().map(of_target).collect(),
            Self::Other { at, .. } => at.clone(),
        }
    }

    fn is_published(&self) -> bool {
        match self {
            Self::Target(attachments) => attachments.iter().any(|a| !a.inside.published.is_empty()),
            Self::Other { .. } => false,
        }
    }

    fn lines(&self) -> Vec<Line> {
        let attachments = match self {
            Self::Target(attachments) => attachments,
            Self::Other { lines, .. } => return lines.clone(),
        };
        let mut lines: Vec<_> =
            attachments.first().map(|a| one(Ink::Name, words::who(a.inside))).into_iter().collect();
        for attachment in attachments {
            if attachments.len() > 1 {
                lines.push(Line::default());
            }
            lines.extend(attachment_lines(attachment, attachments.len() > 1));
        }
        lines
    }
}

/// Adds a link inside to the box of its namespace. Of two that are unknown nobody can say that they
/// are the same.
fn add<'g>(ends: &mut Vec<EndBox<'g>>, attachment: Attachment<'g>) {
    let key = |inside: &Inside| (inside.cookie, words::who(inside));
    let inside = attachment.inside;
    let is_known = inside.cookie.or(inside.nsid.map(|_| 0)).is_some() || inside.target.is_some();
    let same = ends.iter_mut().find_map(|end| match end {
        EndBox::Target(found) if is_known && key(found[0].inside) == key(inside) => Some(found),
        _ => None,
    });
    match same {
        Some(found) => found.push(attachment),
        None => ends.push(EndBox::Target(vec![attachment])),
    }
}

/// Those that are connected in the same way, in the order of the first of each; each alone if
/// nothing is to be folded.
fn groups(ends: Vec<EndBox<'_>>, fold: bool) -> Vec<Vec<EndBox<'_>>> {
    let key = |end: &EndBox<'_>| (end.kind(), end.connections(), end.is_published());
    let mut groups: Vec<Vec<EndBox<'_>>> = Vec::new();
    for end in ends {
        match groups.iter_mut().find(|group| fold && key(&group[0]) == key(&end)) {
            Some(group) => group.push(end),
            None => groups.push(vec![end]),
        }
    }
    groups
}

/// Whether a port is published on more than the host's loopback.
fn is_public(graph: &Graph) -> bool {
    graph.insides().flat_map(|i| &i.published).any(|port| !port.host_ip.is_loopback())
}

fn attachment_lines(attachment: &Attachment<'_>, names_network: bool) -> Vec<Line> {
    let Attachment { network, port, state, inside, .. } = attachment;
    let mut title = Vec::new();
    title.extend(names_network.then(|| (Ink::Plain, format!("{}:", words::plain(network)))));
    let pair: Vec<_> =
        port.iter().copied().chain(inside.link.as_deref()).map(words::plain).collect();
    title.extend((!pair.is_empty()).then(|| (Ink::Plain, pair.join(" – "))));
    title.extend(words::trouble(*state).map(|word| (Ink::Bad, word.to_owned())));
    let mut lines: Vec<_> = (!title.is_empty()).then_some(Line(title)).into_iter().collect();
    lines.extend(inside.addresses.iter().map(|a| one(Ink::Address, a.to_string())));
    lines.extend(inside.mac.map(|mac| one(Ink::Faint, mac.to_string())));
    lines.extend(inside.gateways.iter().map(|g| one(Ink::Plain, format!("via {g}"))));
    lines.extend(
        inside.published.iter().map(|port| {
            one(Ink::Open, format!("{} → {}", port.host_side(), words::inner_port(port)))
        }),
    );
    lines
}

/// A link of hardware that is a port of a bridge.
fn wire_lines(port: &Port) -> Vec<Line> {
    let mut title = vec![(Ink::Name, words::port_name(port).unwrap_or_default())];
    title.extend(words::trouble(port.state).map(|word| (Ink::Bad, word.to_owned())));
    vec![Line(title), one(Ink::Plain, "bridge port")]
}

fn beyond(port: &Port, at: usize) -> EndBox<'static> {
    let trouble = words::trouble(port.state);
    let mut title = vec![(Ink::Name, words::port_name(port).unwrap_or_default())];
    title.extend(trouble.map(|word| (Ink::Bad, word.to_owned())));
    let what = words::beyond(&port.end).unwrap_or_default();
    let lines = vec![Line(title), one(Ink::Plain, what)];
    EndBox::Other { kind: Kind::Beyond, lines, at: vec![(at, trouble.is_none())] }
}

/// A box for each veth pair between two bridges; for a port whose other end is nowhere too.
fn between_bridges<'g>(cables: &[(&'g Port, &'g String, usize)]) -> Vec<EndBox<'g>> {
    let mut found = Vec::new();
    for (port, link, at) in cables {
        let other = cables.iter().find(|(other, _, _)| other.link.as_ref() == Some(link));
        let is_first = other.is_none_or(|(other, _, _)| port.link <= other.link);
        if !is_first {
            continue;
        }
        let works = |port: &Port| words::trouble(port.state).is_none();
        let mut ends = vec![(*at, works(port))];
        ends.extend(other.map(|(other, _, at)| (*at, works(other))));
        let name = words::port_name(port).unwrap_or_default();
        let lines = vec![
            one(Ink::Name, format!("{name} – {}", words::plain(link))),
            one(Ink::Plain, "veth pair of the host"),
        ];
        found.push(EndBox::Other { kind: Kind::Beyond, lines, at: ends });
    }
    found
}

fn other_host(other: &OtherHost, at: usize) -> EndBox<'static> {
    let mut lines = vec![one(Ink::Name, words::other_host(other))];
    lines.extend(other.subnets.iter().map(|subnet| one(Ink::Address, subnet.to_string())));
    lines.extend(words::by(other).map(|by| one(Ink::Plain, by)));
    EndBox::Other { kind: Kind::Beyond, lines, at: vec![(at, true)] }
}

fn one(ink: Ink, text: impl Into<String>) -> Line {
    Line(vec![(ink, text.into())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::sample;

    fn titled<'t>(topology: &'t Topology, name: &str) -> Vec<&'t Node> {
        topology.nodes.iter().filter(|node| node.lines[0].0[0].1 == name).collect()
    }

    #[test]
    fn a_target_on_three_networks_is_one_box_with_three_lines() {
        let mut graph = sample::of(1);
        graph.segments.extend(["back", "lan"].map(|name| sample::segment(name, 1)));
        let topology = Topology::of(&graph, false);
        assert_eq!(titled(&topology, "web0").len(), 1);
        let web = topology.nodes.iter().position(|n| n.lines[0].0[0].1 == "web0").unwrap();
        let cables = topology.nets.iter().filter(|net| matches!(net.way, Way::Cable(_)));
        assert_eq!(cables.filter(|net| net.to.contains(&(web, true))).count(), 3);
    }

    #[test]
    fn namespaces_of_which_nothing_is_known_are_not_taken_for_one() {
        let mut graph = sample::of(0);
        for link in ["a", "b"] {
            let mut port = sample::port("x", 9);
            port.link = Some(link.into());
            port.end = End::Inside(Inside::default());
            graph.segments[0].ports.push(port);
        }
        assert_eq!(titled(&Topology::of(&graph, false), "no name").len(), 2);
    }

    #[test]
    fn what_is_connected_in_the_same_way_is_folded() {
        let graph = sample::of(60);
        let count = |fold| Topology::of(&graph, fold).nodes.len();
        assert!(count(false) > 60);
        // Of those with a published port, and of those without.
        let topology = Topology::of(&graph, true);
        assert_eq!(titled(&topology, "+9 more").len(), 1, "{topology:?}");
        assert_eq!(titled(&topology, "+45 more").len(), 1, "{topology:?}");
        assert!(Topology::of(&sample::of(3), true).nodes.iter().all(|n| n.kind != Kind::Folded));
    }

    #[test]
    fn ports_on_the_loopback_alone_are_not_published_to_the_internet() {
        let mut graph = sample::of(1);
        let arrows = |graph: &Graph| {
            let topology = Topology::of(graph, false);
            topology.nets.iter().filter(|net| net.way == Way::Published).count()
        };
        assert_eq!(arrows(&graph), 2, "from the internet to the host, and on to the target");
        let End::Inside(inside) = &mut graph.segments[0].ports[0].end else { unreachable!() };
        inside.published = vec!["127.0.0.1:8080 -> 10.7.0.2:80/tcp".parse().unwrap()];
        assert_eq!(arrows(&graph), 1);
    }
}
