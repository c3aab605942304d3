//! A chosen source address for what leaves a network.

use crate::support::{FIREWALLS, Lab};

const BRIDGE: &str = "bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64";
const CHOSEN: &str = "--outbound-addr 192.0.2.5 --outbound-addr 2001:db8::5";

#[test]
fn what_leaves_has_the_chosen_address() {
    for firewall in FIREWALLS {
        let lab = Lab::with_firewall(firewall);
        lab.neighbour("outside").netns(&["web"]);
        lab.sh("ip -n web link set lo up; ip addr add 192.0.2.5/24 dev eth0
                ip addr add 2001:db8::5/64 nodad dev eth0")
            .ok();
        lab.serve_ports("outside", &[80]);
        lab.netcord(&format!("{BRIDGE} {CHOSEN}")).ok();
        lab.netcord("attach lab0 web").ok();
        let arrives = || {
            lab.reaches("web", "tcp 192.0.2.2:80", "outside:80 from 192.0.2.5");
            lab.reaches("web", "tcp [2001:db8::2]:80", "outside:80 from 2001:db8::5");
            lab.until_within("web", "ping -qc1 -W1 192.0.2.2");
        };
        arrives();
        for to in ["192.0.2.2:80", "[2001:db8::2]:80"] {
            let path = lab.netcord(&format!("trace web {to}")).ok();
            let chosen = if to.starts_with('[') { "2001:db8::5" } else { "192.0.2.5" };
            assert!(path.contains(chosen), "{firewall}: {path}");
        }
        lab.netcord("doctor").ok();
        lab.netcord("repair --check").ok();

        // The same again is no change, another one is refused, and its export makes it again.
        let after = lab.snapshot();
        lab.netcord(BRIDGE).ok();
        lab.netcord(&format!("{BRIDGE} {CHOSEN}")).ok();
        lab.netcord(&format!("{BRIDGE} --outbound-addr 192.0.2.6"))
            .fails(4, &["outbound-addr is 192.0.2.5, not 192.0.2.6"]);
        let exported = lab.netcord("export").ok();
        assert!(exported.contains(CHOSEN), "{exported}");

        // It outlives its record, and rules that others changed come back.
        lab.sh("rm -r /run/netcord").ok();
        lab.netcord("repair").ok();
        after.assert_same(&lab.snapshot(), &format!("{firewall}: rebuilt"));
        assert_eq!(lab.netcord("export").ok(), exported);
        lab.sh(match firewall {
            "nftables" => "nft flush chain inet netcord nat-lab0",
            _ => "for t in iptables ip6tables; do $t -t nat -F NETCORD-POSTROUTING; done",
        })
        .ok();
        lab.netcord("repair --check").exits(1);
        lab.netcord("repair").ok();
        after.assert_same(&lab.snapshot(), &format!("{firewall}: repaired"));
        arrives();
    }
}

#[test]
fn an_address_that_no_reply_comes_back_to_is_refused() {
    let lab = Lab::new();
    let before = lab.snapshot();
    let v4 = "bridge lab0 --subnet 10.1.0.0/24";
    for (flags, words) in [
        ("--outbound-addr 127.0.0.1", "no reply would come back to 127.0.0.1"),
        ("--outbound-addr 0.0.0.0", "no reply would come back to 0.0.0.0"),
        ("--outbound-addr 224.0.0.1", "no reply would come back to 224.0.0.1"),
        ("--outbound-addr fe80::1", "no reply would come back to fe80::1"),
        ("--outbound-addr 192.0.2.5 --outbound-addr 192.0.2.6", "at most one per IP family"),
        ("--outbound-addr 2001:db8::5", "no subnet of its IP family"),
        ("--outbound-addr 192.0.2.5 --internal", "--internal exclude each other"),
        ("--outbound-addr 192.0.2.5 --no-masquerade", "--no-masquerade exclude each other"),
    ] {
        lab.netcord(&format!("{v4} {flags}")).fails(2, &[words]);
        before.assert_same(&lab.snapshot(), flags);
    }
    lab.netcord("create -d macvlan lan0 --parent eth0 --outbound-addr 192.0.2.5")
        .fails(2, &["driver macvlan does not support --outbound-addr"]);
}
