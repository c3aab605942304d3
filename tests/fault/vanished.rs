//! What a target, or somebody on the host, takes away while netcord works: what is gone is undone.

use crate::{
    support::{FIREWALLS, Lab, NETCORD},
    watched,
};

/// What is taken away, and by which command, of an attachment of `web` by `port` to `lab0`.
const THIEVES: [(&str, &str); 7] = [
    ("the link inside", "ip -n web link del eth0"),
    ("its name", "ip -n web link set eth0 down name other"),
    ("the link, into another namespace", "ip -n web link set eth0 netns db name stolen"),
    ("the host end", "ip link del port"),
    ("the bridge", "ip link del lab0"),
    ("the name of the namespace", "umount /run/netns/web; rm /run/netns/web"),
    ("all rules", "nft flush ruleset; for t in filter nat; do iptables -t $t -F; done"),
];

const THIEVES_OF_MACVLAN: [(&str, &str); 3] =
    [THIEVES[0], THIEVES[1], ("the parent", "ip link del eth0")];

const NETWORK: &str = "ip netns add web; ip netns add db; netcord bridge lab0 --subnet 10.7.0.0/24 \
                       --subnet fd00:7::/64 --isolate --no-spoof";
const PHYSICAL: &str =
    "ip netns add web; ip netns add db; ip link add eth0 type veth peer name wire
                        ip addr add 192.0.2.1/24 dev eth0; ip link set eth0 up; ip link set wire up
                        netcord macvlan lab0 --parent eth0 --host-access";

const ATTACH: &str = "attach lab0 web -p 8080:80 --host-ifname port";
const DETACH: &str = "detach lab0 web";
const MACVLAN: &str = "attach lab0 web --ip 192.0.2.9";

/// No plan has more steps.
const STEPS_MAX: usize = 100;

/// Each thief comes before one step of so many.
const STRIDE: usize = 3;

pub(crate) fn while_attaching() {
    each(NETWORK, "", ATTACH, &THIEVES);
    each(PHYSICAL, "", MACVLAN, &THIEVES_OF_MACVLAN);
}

pub(crate) fn while_detaching() {
    each(NETWORK, ATTACH, DETACH, &THIEVES);
    each(PHYSICAL, MACVLAN, DETACH, &THIEVES_OF_MACVLAN);
}

/// Some take away before the first step, some before the second, and so on: a host is not cheap.
fn each(setup: &str, first: &str, command: &str, thieves: &[(&str, &str)]) {
    for (i, thief) in thieves.iter().enumerate() {
        let firewall = FIREWALLS[i % FIREWALLS.len()];
        at_some_steps(firewall, setup, (first, command), *thief, i % STRIDE);
    }
}

/// Takes something away before a step, in a host of its own for each of some steps; whatever comes of
/// it, nothing is left to do by hand, and nothing is left over.
fn at_some_steps(
    firewall: &'static str,
    setup: &str,
    (first, command): (&str, &str),
    (what, how): (&str, &str),
    begin: usize,
) {
    for at in (begin..STEPS_MAX).step_by(STRIDE) {
        let lab = Lab::with_firewall(firewall);
        lab.sh(&format!("netcord() {{ {NETCORD} --firewall {firewall} \"$@\"; }}; {setup}")).ok();
        if !first.is_empty() {
            lab.netcord(first).ok();
        }
        let run = watched::with_thief(&lab, firewall, command, at, how);
        let when = format!("{firewall}: {command}, {what} gone before step {at}");
        assert!(run.code < 8, "{when}: {}: {}", run.code, run.stderr);
        assert!(!run.stderr.contains("by hand"), "{when}: {}", run.stderr);
        let is_over = lab.sh("[ ! -e /run/stolen ]").code == 0;
        lab.netcord("prune").ok();
        lab.netcord("reset").ok();
        let left = "! ip -o link | grep -q netcord; ! nft list tables | grep -q netcord
                    ! iptables-save | grep -q -i netcord; [ -z \"$(find /run/netcord -name '*.json')\" ]";
        let run = lab.sh(left);
        assert_eq!(run.code, 0, "{when}: something is left over");
        if is_over {
            assert!(at > begin, "{command} has steps");
            return;
        }
    }
    panic!("{command} does not end");
}
