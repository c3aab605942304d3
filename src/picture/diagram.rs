//! A graph as nodes and edges, for formats whose renderers do the layout.

use std::collections::HashMap;

use super::words;
use crate::model::graph::{End, Graph, HostLink, Inside, Port, Segment};

/// The kind of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// A link of the host.
    Link,
    /// A bridge, or a macvlan network.
    Segment,
    /// A bridge that netcord did not make.
    Foreign,
    /// A published port.
    Published,
    /// A namespace.
    Target,
    /// The end of what can be seen.
    Beyond,
}

impl NodeKind {
    /// Returns whether it is a part of the host.
    pub(super) fn is_of_host(self) -> bool {
        !matches!(self, Self::Target | Self::Beyond)
    }
}

/// The kind of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeKind {
    /// A veth pair, or another connection.
    Cable,
    /// A connection that is down.
    Broken,
    /// From a link to the link below it.
    On,
    /// From a segment to the link whose address its packets get.
    Masquerade,
    /// From a published port to its endpoint.
    Published,
}

pub(super) struct Node {
    pub(super) id: String,
    pub(super) kind: NodeKind,
    /// The first line is the name.
    pub(super) lines: Vec<String>,
}

pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) kind: EdgeKind,
    pub(super) label: String,
}

#[derive(Default)]
pub(super) struct Diagram {
    /// The host's name and properties.
    pub(super) host: Vec<String>,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    /// The index of each namespace's node.
    targets: HashMap<(Option<u64>, String), usize>,
    /// The node of each link of the host.
    links: HashMap<String, String>,
}

impl Diagram {
    pub(super) fn of(graph: &Graph) -> Self {
        let host = vec!["host".to_owned(), words::forwarding(graph.forwarding).to_owned()];
        let mut diagram = Self { host, ..Self::default() };
        for link in &graph.links {
            let id = diagram.node(NodeKind::Link, link_lines(link));
            diagram.links.insert(link.name.clone(), id);
        }
        for segment in &graph.segments {
            let kind = if segment.foreign { NodeKind::Foreign } else { NodeKind::Segment };
            let id = diagram.node(kind, segment_lines(segment));
            diagram.links.insert(segment.name.clone(), id.clone());
            let ports = segment.ports.iter().filter_map(|port| port.link.clone());
            diagram.links.extend(ports.map(|port| (port, id.clone())));
        }
        for link in &graph.links {
            let id = diagram.links[&link.name].clone();
            if let Some(lower) = &link.lower {
                diagram.lower(&id, link, lower);
            }
            if let Some(master) = &link.master {
                diagram.between(&id, master, EdgeKind::On, "");
            }
            for inside in &link.inside {
                diagram.cable(&id, inside, "", EdgeKind::Cable);
            }
        }
        for segment in &graph.segments {
            diagram.segment(segment);
        }
        diagram
    }

    /// Adds the edge from a link of the host to the one below it, or to its peer. A veth pair is
    /// drawn once, from the bridge port if one end is a port.
    fn lower(&mut self, id: &str, link: &HostLink, lower: &str) {
        let is_port = self.links.get(lower).is_some_and(|id| id.starts_with('s'));
        match link.kind.as_str() {
            "veth" if is_port || link.name.as_str() > lower => {}
            "veth" => self.between(id, lower, EdgeKind::Cable, ""),
            _ => self.between(id, lower, EdgeKind::On, ""),
        }
    }

    fn segment(&mut self, segment: &Segment) {
        let id = self.links[&segment.name].clone();
        if segment.macvlan.is_some()
            && let Some(parent) = &segment.parent
        {
            self.between(&id, parent, EdgeKind::On, "");
        }
        for link in &segment.masquerade_by {
            self.between(&id, link, EdgeKind::Masquerade, "masquerade");
        }
        for port in &segment.ports {
            self.port(&id, port);
        }
        for other in &segment.peers {
            let mut lines = vec![words::other_host(other)];
            lines.extend(other.subnets.iter().map(ToString::to_string));
            let node = self.node(NodeKind::Beyond, lines);
            self.edge(&id, &node, EdgeKind::Cable, words::by(other).unwrap_or_default());
        }
    }

    fn port(&mut self, segment: &str, port: &Port) {
        let name = words::port_name(port).unwrap_or_default();
        let (label, kind) = match words::trouble(port.state) {
            Some(trouble) => (format!("{name} {trouble}").trim().to_owned(), EdgeKind::Broken),
            None => (name, EdgeKind::Cable),
        };
        match &port.end {
            End::Inside(inside) => self.cable(segment, inside, &label, kind),
            End::Host { link } => {
                // A veth pair between two bridges is a port of both, and is drawn once.
                let is_other_port = self.links.get(link).is_some_and(|id| id.starts_with('s'));
                if !is_other_port || port.link.as_ref() < Some(link) {
                    self.between(segment, link, kind, &label);
                }
            }
            End::Wire { .. } => {
                let beyond = words::beyond(&port.end).unwrap_or_default();
                let to = self.node(NodeKind::Beyond, vec![beyond]);
                self.edge(segment, &to, kind, label);
            }
        }
    }

    /// Adds the edge to a namespace, and its published ports.
    fn cable(&mut self, from: &str, inside: &Inside, label: &str, kind: EdgeKind) {
        let key = (inside.cookie, words::who(inside));
        let at = if let Some(at) = self.targets.get(&key) {
            *at
        } else {
            self.node(NodeKind::Target, vec![key.1.clone()]);
            self.targets.insert(key, self.nodes.len() - 1);
            self.nodes.len() - 1
        };
        self.nodes[at].lines.extend(inside_lines(inside));
        let target = self.nodes[at].id.clone();
        self.edge(from, &target, kind, label.to_owned());
        for published in &inside.published {
            let port = self.node(NodeKind::Published, vec![published.host_side()]);
            self.edge(&port, &target, EdgeKind::Published, words::inner_port(published));
        }
    }

    /// Adds an edge to a link of the host, if that has a node.
    fn between(&mut self, from: &str, link: &str, kind: EdgeKind, label: &str) {
        if let Some(to) = self.links.get(link).cloned() {
            self.edge(from, &to, kind, label.to_owned());
        }
    }

    fn edge(&mut self, from: &str, to: &str, kind: EdgeKind, label: String) {
        self.edges.push(Edge { from: from.to_owned(), to: to.to_owned(), kind, label });
    }

    fn node(&mut self, kind: NodeKind, lines: Vec<String>) -> String {
        let letter = match kind {
            NodeKind::Link => 'l',
            NodeKind::Segment | NodeKind::Foreign => 's',
            NodeKind::Published => 'p',
            NodeKind::Target => 't',
            NodeKind::Beyond => 'b',
        };
        let id = format!("{letter}{}", self.nodes.len());
        self.nodes.push(Node { id: id.clone(), kind, lines });
        id
    }
}

fn link_lines(link: &HostLink) -> Vec<String> {
    let down = if link.up { "" } else { "down" };
    let about = [words::kind(link), down.to_owned()].join(" ").trim().to_owned();
    let mut lines = vec![words::plain(&link.name)];
    lines.extend((!about.is_empty()).then_some(about));
    lines.extend(link.addresses.iter().map(ToString::to_string));
    lines.extend(link.mac.map(|mac| mac.to_string()));
    lines.extend(words::via(&link.gateways).map(|via| format!("default {via}")));
    lines
}

fn segment_lines(segment: &Segment) -> Vec<String> {
    let down = if segment.up { "" } else { " down" };
    let mut lines = vec![words::plain(&segment.name), format!("{}{down}", words::mode(segment))];
    lines.extend(segment.addresses.iter().map(ToString::to_string));
    lines.extend(segment.mac.map(|mac| mac.to_string()));
    lines.extend(words::via(&segment.gateways).map(|via| format!("default {via}")));
    lines.extend(words::properties(segment));
    lines
}

fn inside_lines(inside: &Inside) -> Vec<String> {
    let mut first: Vec<_> = inside.link.iter().map(|link| words::plain(link)).collect();
    let mut addresses = inside.addresses.iter().map(ToString::to_string);
    first.extend(addresses.next());
    let mut lines = vec![first.join(" ")];
    lines.extend(addresses);
    lines.extend(inside.mac.map(|mac| mac.to_string()));
    lines.extend(words::via(&inside.gateways));
    lines.retain(|line| !line.is_empty());
    lines
}
