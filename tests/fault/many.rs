//! Faults where an endpoint has 500 published ports (with iptables as many as a restore takes). That is bounded: what many ports cost is a few
//! transactions more, and of the calls of each kind some stand for all.

use crate::{
    support::{Lab, Stage},
    traced::{Call, changing_calls, failing_at, killed_at},
    watched::States,
};

/// How many ports an endpoint has, and how few cost about the same.
const MANY: usize = 500;
const FEW: usize = 5;

/// Not the machine's root, iptables takes no more than these in one restore.
const RESTORED: usize = 120;

/// A socket of somebody who is not the machine's root holds this many at once.
const AT_ONCE: usize = 100;

/// At how many calls of a run something happens, evenly spread.
const POINTS: usize = 3;

/// A name, a firewall, a command and how many ports it is about.
type Many = (&'static str, &'static str, &'static str, usize);

pub(crate) const TRIALS: [Many; 4] = [
    ("many_ports::detach", "", "detach lab0 web", MANY),
    ("many_ports::publish", "", "publish web PORTS", MANY),
    ("many_ports::detach_iptables", "--firewall iptables", "detach lab0 web", RESTORED),
    ("many_ports::publish_iptables", "--firewall iptables", "publish web PORTS", RESTORED),
];

fn stage(firewall: &str, command: &str, ports: usize) -> Stage {
    let specs: Vec<_> = (0..ports).map(|i| format!("{}:80", 10_000 + i)).collect();
    let (specs, publish) = (specs.join(" "), format!("-p {}", specs.join(" -p ")));
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.netcord(&format!("{firewall} bridge lab0 --subnet 172.20.0.0/16")).ok();
    lab.netcord("attach lab0 web").ok();
    let inverse = if command.starts_with("detach") {
        lab.netcord(&format!("publish web {specs}")).ok();
        format!("attach lab0 web {publish}")
    } else {
        "unpublish web --all".to_owned()
    };
    Stage { lab, command: command.replace("PORTS", &specs), inverse }
}

/// Killed, and failing, at some of the calls that change something.
pub(crate) fn struck(firewall: &str, command: &str, ports: usize) {
    let (few, many) = (stage(firewall, command, FEW), stage(firewall, command, ports));
    let states = States::of(&many);
    let calls = changing_calls(&many);
    let more = calls.len().saturating_sub(changing_calls(&few).len());
    // A transaction that does not hold all comes in several; each is asked for an answer. A record
    // that is long is written in several goes.
    let bound = 2 * ports / AT_ONCE + 2;
    assert!(more <= bound, "{command}: {more} calls more with {ports} ports than with {FEW}");
    let points = spread(&calls);
    killed_at(&many, &states, &points);
    failing_at(&many, &states, command.starts_with("detach"), &points);
}

/// Some of many, the first and the last among them.
fn spread(calls: &[Call]) -> Vec<Call> {
    let last = calls.len() - 1;
    (0..POINTS).map(|i| calls[i * last / (POINTS - 1)].clone()).collect()
}
