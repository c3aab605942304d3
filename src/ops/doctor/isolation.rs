//! Ports of bridges that are isolated where their network is not, or the other way round.

use super::seen::Seen;
use crate::model::{Finding, Flag};

/// Endpoints that somebody cut off from the others, or let at them.
pub(super) fn isolated(seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for end in seen.examined().filter(|end| end.endpoint.is_some()) {
        let (Some(segment), Some(port)) = (seen.segment_of(end), &end.outer) else { continue };
        let wanted = segment.network().has(Flag::Isolate);
        if port.isolated == wanted || !segment.bridge.as_ref().is_some_and(|b| port.is_port_of(b)) {
            continue;
        }
        let (what, is, word) = if wanted {
            ("it reaches other endpoints, which its network keeps apart", "off", "on")
        } else {
            ("it does not reach other isolated ports: somebody isolated its own", "on", "off")
        };
        found.push(
            Finding::error(seen.place(end), what)
                .shown_by(format!("{}: isolated {is}", port.name))
                .mended_by(format!("bridge link set dev {} isolated {word}", port.name)),
        );
    }
    found
}
