//! What netcord is meant to reach, and whether it does.

use crate::{
    contender::{
        Netavark, NetcordCni,
        Operation::{Attach, AttachPublish, Detach, DetachPublished},
    },
    growth::find,
    report::Results,
};

/// An attach takes at most so many times the floor.
const FLOOR: f64 = 2.5;
/// An attach is at least so many times faster than that of a peer.
const PEERS: [(&str, f64); 4] =
    [("script", 10.0), ("CNI", 10.0), ("netavark", 10.0), ("docker", 20.0)];
/// An ADD with a port mapping takes at most so many times an attach with a published port.
const PLUGIN: f64 = 1.2;
/// netcord in netavark's place is at least so many times faster, with a port.
const DROP_IN: f64 = 5.0;
/// A published port adds to an attach at most so much.
const PUBLISHED: f64 = 1.3;
/// A detach takes at most so many times the floor's.
const DETACH: f64 = 1.3;
/// Connections through the last port take at most so many times those through the first.
const LAST_PORT: f64 = 1.2;

/// A line for each aim.
pub(crate) fn lines(results: &Results) -> Vec<String> {
    let turns = results.turns.as_ref();
    let times = |operation, name| turns.and_then(|turns| turns.times(operation, name));
    let mut lines = Vec::new();
    if turns.is_some() {
        let netcord = times(Attach, "netcord");
        let ratio = netcord.zip(times(Attach, "floor")).map(|(own, floor)| own.ratio(floor));
        lines.push(at_most("attach, of the floor", FLOOR, ratio));
        for (peer, wanted) in PEERS {
            let ratio = times(Attach, peer).zip(netcord).map(|(peer, own)| peer.ratio(own));
            lines.push(at_least(&format!("attach, faster than {peer}"), wanted, ratio));
        }
        let published = times(AttachPublish, "netcord");
        let plugin = times(AttachPublish, NetcordCni::NAME);
        let ratio = plugin.zip(published).map(|(plugin, own)| plugin.ratio(own));
        lines.push(at_most("ADD with a port as CNI plugin, of attach + publish", PLUGIN, ratio));
        let ratio = times(AttachPublish, "CNI").zip(plugin).map(|(peer, own)| peer.ratio(own));
        lines.push(at_least("ADD with a port, faster than the stock plugins", 10.0, ratio));
        for (what, operation) in [("setup", AttachPublish), ("teardown", DetachPublished)] {
            let pair = times(operation, "netavark").zip(times(operation, Netavark::DROP_IN));
            let ratio = pair.map(|(peer, own)| peer.ratio(own));
            let what = format!("{what} with a port in netavark's place, faster than netavark");
            lines.push(at_least(&what, DROP_IN, ratio));
        }
        let ratio = published.zip(netcord).map(|(with, without)| with.ratio(without));
        lines.push(at_most("attach + publish, of attach", PUBLISHED, ratio));
        let ratio = times(Detach, "netcord").zip(times(Detach, "floor"));
        let ratio = ratio.map(|(own, floor)| own.ratio(floor));
        lines.push(at_most("detach, of the floor's", DETACH, ratio));
    }
    if let Some(ports) = &results.ports {
        let own = find(&ports.connect, "netcord");
        let at = |number: &u16| own.and_then(|line| line.at(*number));
        let ends = ports.sizes.last().and_then(at).zip(ports.sizes.first().and_then(at));
        let what = format!(
            "connect through the {}th port, of the first",
            ports.sizes.last().copied().unwrap_or_default()
        );
        lines.push(at_most(&what, LAST_PORT, ends.map(|(last, first)| last.ratio(first))));
    }
    lines
}

fn at_most(what: &str, wanted: f64, found: Option<f64>) -> String {
    line(what, "at most", wanted, found, |found| found <= wanted)
}

fn at_least(what: &str, wanted: f64, found: Option<f64>) -> String {
    line(what, "at least", wanted, found, |found| found >= wanted)
}

fn line(
    what: &str,
    bound: &str,
    wanted: f64,
    found: Option<f64>,
    met: impl Fn(f64) -> bool,
) -> String {
    match found {
        None => format!("{what}: {bound} {wanted:.1} x: not measured"),
        Some(found) => {
            let met = if met(found) { "met" } else { "NOT met" };
            format!("{what}: {bound} {wanted:.1} x: {found:.2} x, {met}")
        }
    }
}
