//! A graph for Graphviz.

use super::diagram::{Diagram, EdgeKind, Node, NodeKind};
use crate::model::graph::Graph;

const HEAD: &str = "\
graph netcord {
  graph [rankdir=LR, fontname=\"monospace\", fontsize=12, nodesep=0.15, ranksep=1.2]
  node [shape=box, style=\"filled,rounded\", fillcolor=white, fontname=\"monospace\", fontsize=10]
  edge [fontname=\"monospace\", fontsize=9]
";

/// Returns the input for `dot`.
pub fn draw(graph: &Graph) -> String {
    let diagram = Diagram::of(graph);
    let mut lines = vec!["  subgraph cluster_host {".to_owned()];
    lines.push(format!("    label={}", quoted(&diagram.host)));
    lines.push("    style=\"filled,rounded\"; fillcolor=gray95".into());
    let (host, others): (Vec<_>, Vec<_>) =
        diagram.nodes.iter().partition(|node| node.kind.is_of_host());
    lines.extend(host.into_iter().map(|n| format!("    {}", node(n))));
    lines.push("  }".into());
    lines.extend(others.into_iter().map(|n| format!("  {}", node(n))));
    let is_of_host = |id: &str| diagram.nodes.iter().any(|n| n.id == id && n.kind.is_of_host());
    for edge in &diagram.edges {
        let mut attributes = match edge.kind {
            EdgeKind::Cable => vec![],
            EdgeKind::Broken => vec!["color=red, fontcolor=red, style=dotted"],
            EdgeKind::On => vec!["penwidth=2"],
            EdgeKind::Masquerade => vec!["dir=forward, style=dashed"],
            EdgeKind::Published => vec!["dir=forward, color=darkgreen, fontcolor=darkgreen"],
        };
        // The host's nodes on the left, others on the right.
        if is_of_host(&edge.from) && is_of_host(&edge.to) {
            attributes.push("constraint=false");
        }
        let label = format!("label={}", quoted(&[&edge.label]));
        if !edge.label.is_empty() {
            attributes.push(&label);
        }
        let attributes = match attributes.as_slice() {
            [] => String::new(),
            some => format!(" [{}]", some.join(", ")),
        };
        lines.push(format!("  {} -- {}{attributes}", edge.from, edge.to));
    }
    format!("{HEAD}{}\n}}\n", lines.join("\n"))
}

fn node(node: &Node) -> String {
    let look = match node.kind {
        NodeKind::Link | NodeKind::Target => "",
        NodeKind::Segment => ", fillcolor=lightblue",
        NodeKind::Foreign => ", fillcolor=lightgray, style=\"filled,dashed\"",
        NodeKind::Published => ", shape=cds, fillcolor=palegreen",
        NodeKind::Beyond => ", shape=plaintext, style=\"\"",
    };
    format!("{} [label={}{look}]", node.id, quoted(&node.lines))
}

/// Returns a quoted string of several lines.
fn quoted(lines: &[impl AsRef<str>]) -> String {
    let lines = lines.iter().map(|l| l.as_ref().replace('\\', "\\\\").replace('"', "\\\""));
    format!("\"{}\"", lines.collect::<Vec<_>>().join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::sample;

    #[test]
    fn names_cannot_end_a_string() {
        assert_eq!(quoted(&[r#"a"b"#, r"c\"]), r#""a\"b\nc\\""#);
        let text = draw(&sample::odd());
        for line in text.lines() {
            let bare = line.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(bare.matches('"').count() % 2, 0, "{line}");
        }
    }
}
