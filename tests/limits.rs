//! Limits of the kernel, told in words.

use crate::support::Lab;

/// `BR_MAX_PORTS` of the kernel's bridge, less the number that stands for none.
const BRIDGE_PORTS: usize = 1023;

#[test]
fn a_full_bridge_says_so_and_takes_a_thousand_targets_at_once() {
    let lab = Lab::new();
    lab.sh(&format!("for n in $(seq 0 {BRIDGE_PORTS}); do ip netns add n$n; done")).ok();
    lab.netcord("bridge lab0").ok();
    let all: Vec<_> = (0..BRIDGE_PORTS).map(|n| format!("n{n}")).collect();
    let addresses = lab.netcord(&format!("attach lab0 {}", all.join(" "))).ok();
    let different: std::collections::BTreeSet<_> = addresses.lines().collect();
    assert_eq!(different.len(), BRIDGE_PORTS);
    let before = lab.sh("ip -br link | wc -l; cat /run/netcord/*/network-lab0.json").ok();
    lab.netcord(&format!("attach lab0 n{BRIDGE_PORTS}")).fails(4, &["is full", "1023 ports"]);
    let after = lab.sh("ip -br link | wc -l; cat /run/netcord/*/network-lab0.json").ok();
    assert!(before == after, "nothing is left of it");
    lab.netcord("detach lab0 n7").ok();
    lab.netcord(&format!("attach lab0 n{BRIDGE_PORTS}")).ok();
}

#[test]
fn an_address_pool_that_is_used_up_says_so() {
    let lab = Lab::new();
    lab.netns(&["a", "b"]).netcord("bridge lab0 --subnet 10.1.0.0/30").ok();
    lab.netcord("attach lab0 a").ok();
    lab.netcord("attach lab0 b").fails(4, &["no free address left in 10.1.0.0/30"]);
    lab.netcord("detach lab0 a").ok();
    assert_eq!(lab.netcord("attach lab0 b").ok(), "10.1.0.2");
}

#[test]
fn a_kernel_without_ipv6_says_so() {
    let lab = Lab::new();
    // As a kernel that was started with ipv6.disable=1 shows it.
    lab.sh("mkdir -p /run/empty && mount --bind /run/empty /proc/sys/net/ipv6").ok();
    lab.netcord("bridge lab0 --ipv6").fails(6, &["no IPv6"]);
    lab.netns(&["web"]).netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web").ok();
}
