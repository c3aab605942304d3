//! A graph for Mermaid, which Markdown viewers render.

use super::diagram::{Diagram, EdgeKind, Node, NodeKind};
use crate::model::graph::Graph;

const CLASSES: &str = "  classDef segment fill:#cfe8f7,stroke:#28638a,color:#000
  classDef foreign fill:#e4e4e4,stroke:#666,color:#000,stroke-dasharray:4
  classDef published fill:#d3f0d0,stroke:#2f7a2b,color:#000
";

/// Returns the input for `mermaid`.
pub fn draw(graph: &Graph) -> String {
    let diagram = Diagram::of(graph);
    let mut lines = vec!["flowchart LR".to_owned()];
    lines.push(format!("  subgraph host[{}]", quoted(&diagram.host)));
    let (host, others): (Vec<_>, Vec<_>) =
        diagram.nodes.iter().partition(|node| node.kind.is_of_host());
    lines.extend(host.into_iter().map(|n| format!("    {}", node(n))));
    lines.push("  end".into());
    lines.extend(others.into_iter().map(|n| format!("  {}", node(n))));
    for edge in &diagram.edges {
        let arrow = match edge.kind {
            EdgeKind::Cable => "---",
            EdgeKind::Broken => "-.-",
            EdgeKind::On => "===",
            EdgeKind::Masquerade => "-.->",
            EdgeKind::Published => "-->",
        };
        let label = match edge.label.as_str() {
            "" => String::new(),
            label => format!("|{}|", quoted(&[label])),
        };
        lines.push(format!("  {} {arrow}{label} {}", edge.from, edge.to));
    }
    format!("{}\n{CLASSES}", lines.join("\n"))
}

fn node(node: &Node) -> String {
    let (id, text) = (&node.id, quoted(&node.lines));
    match node.kind {
        NodeKind::Link => format!("{id}[{text}]"),
        NodeKind::Segment => format!("{id}[{text}]:::segment"),
        NodeKind::Foreign => format!("{id}[{text}]:::foreign"),
        NodeKind::Published => format!("{id}>{text}]:::published"),
        NodeKind::Target | NodeKind::Beyond => format!("{id}({text})"),
    }
}

/// Returns a quoted string of several lines, with markup characters as numeric entities.
fn quoted(lines: &[impl AsRef<str>]) -> String {
    let escape = |line: &str| {
        line.chars()
            .map(|c| match c {
                c if c.is_alphanumeric() || " .:/,()-_".contains(c) => c.to_string(),
                c => format!("#{};", u32::from(c)),
            })
            .collect::<String>()
    };
    let lines: Vec<_> = lines.iter().map(|line| escape(line.as_ref())).collect();
    format!("\"{}\"", lines.join("<br/>"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::sample;

    #[test]
    fn names_cannot_end_a_string() {
        assert_eq!(quoted(&[r#"a"b"#, "<i>#1;"]), r#""a#34;b<br/>#60;i#62;#35;1#59;""#);
        for line in draw(&sample::odd()).lines() {
            assert_eq!(line.matches('"').count() % 2, 0, "{line}");
        }
    }
}
