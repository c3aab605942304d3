//! The two firewalls: what only one of them promises, and the way from one to the other.

use crate::support::{Lab, NETCORD, Snapshot};

/// A host with networks, endpoints and published ports of all kinds.
fn host(firewall: &'static str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    lab.neighbour("outside").netns(&["web", "db", "guest"]);
    lab.sh("ip link add br0 address 02:00:00:00:00:07 type bridge
            ip addr add 10.7.0.1/24 dev br0; ip link set br0 addrgenmode none up")
        .ok();
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
    lab.netcord("bridge lab1 --subnet 10.2.0.0/24 --isolate").ok();
    lab.netcord("bridge lab2 --subnet 10.3.0.0/24 --internal").ok();
    lab.netcord("attach lab0 web -p 8080:80 -p 5353:53/udp -p 7000-7009:7000-7009").ok();
    lab.netcord("attach lab1 db -p 192.0.2.1:8081:80 -p 6000-6004:5000-5004").ok();
    lab.netcord("attach br0 guest -p 8082:80").ok();
    lab
}

/// Without what is another on every host: records, and links that netcord did not make.
fn comparable(lab: &Lab) -> Snapshot {
    let is_own = |line: &str| {
        line.starts_with("record ") || line.contains("eth0:") || line.contains("wire:")
    };
    lab.snapshot().without(is_own).mapped(crate::explain::without_hashes)
}

#[test]
fn rules_move_to_the_firewall_that_is_asked_for() {
    let (lab, on_nftables, on_iptables) = (host("nftables"), host("nftables"), host("iptables"));
    lab.serve("web", 80);
    for (firewall, twin) in [("iptables", &on_iptables), ("nftables", &on_nftables)] {
        let run = lab.netcord_on(firewall, "bridge lab0").exits(0);
        assert!(run.stderr.contains(&format!("in {firewall} now")), "{}", run.stderr);
        comparable(&lab).assert_same(&comparable(twin), firewall);
        assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
        assert_eq!(lab.netcord_on(firewall, "bridge lab0").exits(0).stderr, "", "once");
    }
}

#[test]
fn the_script_of_a_move_does_the_same() {
    let lab = host("nftables");
    let before = lab.snapshot();
    let script = lab.netcord_on("iptables", "--dry-run publish web 8083:83").ok();
    before.assert_same(&lab.snapshot(), "a dry run");
    lab.pipe_to_sh(&format!("{script}\n")).ok();
    let by_netcord = host("nftables");
    by_netcord.netcord_on("iptables", "publish web 8083:83").ok();
    comparable(&lab).assert_same(&comparable(&by_netcord), "by hand");
}

#[test]
fn a_killed_move_is_finished_by_the_same_command() {
    let twin = host("iptables");
    twin.netcord("bridge lab0").ok();
    for tenth in [20, 40, 60, 80] {
        let lab = host("nftables");
        lab.sh(&format!(
            "timeout --foreground -s KILL 0.0{tenth} {NETCORD} --firewall iptables bridge lab0 || true"
        ))
        .ok();
        lab.netcord_on("iptables", "bridge lab0").ok();
        comparable(&lab).assert_same(&comparable(&twin), &format!("killed after {tenth} ms"));
    }
}

#[test]
fn rules_left_in_the_other_firewall_are_named_and_taken_away() {
    let lab = host("nftables");
    let before = lab.snapshot();
    // As after a move whose second half was lost with the records.
    lab.sh("nft list ruleset >/run/whole; mkdir /run/kept; cp -r /run/netcord/. /run/kept").ok();
    lab.netcord_on("iptables", "bridge lab0").ok();
    lab.sh("cp -r /run/kept/. /run/netcord/; nft -f /run/whole").ok();
    assert_eq!(lab.sh(&format!("{NETCORD} prune")).ok(), "rules in iptables");
    before.assert_same(&lab.snapshot(), "without the leftovers");
    assert_eq!(lab.sh(&format!("{NETCORD} prune")).ok(), "");
}

#[test]
fn what_no_record_knows_is_named_and_taken_away() {
    let lab = host("nftables");
    let before = lab.snapshot();
    lab.sh("nft add element inet netcord ports4 '{ tcp . 9000 comment \"netcord:lab9/old\" : 10.1.0.9 . 80 }'
            nft add chain inet netcord nat-lab9
            nft add element inet netcord nat '{ \"lab9\" : jump nat-lab9 }'")
        .ok();
    lab.netcord("publish web 9000:90").fails(4, &["9000", "netcord prune"]);
    let pruned = lab.netcord("prune").ok();
    assert_eq!(
        pruned,
        "port 0.0.0.0:9000 -> 10.1.0.9:80/tcp in nftables\nrules of lab9 in nftables"
    );
    before.assert_same(&lab.snapshot(), "without what was strange");
    lab.netcord("publish web 9000:90").ok();
}

#[test]
fn a_flushed_table_is_noticed_by_the_next_command_and_made_again() {
    let lab = host("nftables");
    let before = lab.snapshot();
    for next in
        ["bridge lab1 --isolate", "attach lab0 web", "publish db 6000-6004:5000-5004", "prune"]
    {
        lab.sh("nft flush ruleset").ok();
        let run = lab.netcord(next).exits(0);
        assert!(run.stderr.contains("was gone"), "{next}: {}", run.stderr);
        before.assert_same(&lab.snapshot(), next);
        assert_eq!(lab.netcord(next).exits(0).stderr, "", "{next}");
    }
}

#[test]
fn no_other_program_is_needed() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web"]);
    lab.serve("web", 80);
    // A link that forwards listens to more.
    lab.sh("mkdir /run/empty; sysctl -qw net/ipv6/conf/all/forwarding=1").ok();
    let before = lab.snapshot();
    let alone = |words: &str| {
        lab.sh(&format!(
            "unshare --mount sh -euc '
                for dir in /usr/local/sbin /usr/local/bin /usr/sbin; do
                    mount --bind /run/empty $dir; done
                exec {NETCORD} {words}'"
        ))
        .ok()
    };
    alone("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64");
    alone("attach lab0 web -p 8080:80");
    alone("publish web 5353:53/udp");
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    assert_eq!(lab.fetch("outside", "http://[2001:db8::1]:8080").ok(), "web");
    alone("detach lab0 web");
    alone("rm lab0");
    before.assert_same(&lab.snapshot(), "without a program");
}

#[test]
fn a_kernel_without_nftables_gets_iptables() {
    let lab = Lab::new();
    let traced = lab
        .sh(&format!("strace -e trace=socket {NETCORD} --dry-run bridge lab0 2>&1 >/dev/null"))
        .ok();
    let sockets = traced.lines().filter(|line| line.starts_with("socket("));
    let at = sockets.enumerate().find(|(_, line)| line.contains("NETLINK_NETFILTER")).unwrap().0;
    let run = lab.sh(&format!(
        "strace -qq -o /dev/null -e trace=socket \
             -e inject=socket:error=EPROTONOSUPPORT:when={} {NETCORD} --dry-run bridge lab0",
        at + 1
    ));
    let script = run.ok();
    assert!(script.contains("iptables -w") && !script.contains("nft "), "{script}");
}

#[test]
fn ten_thousand_ports_are_published_at_once_and_one_more_costs_what_the_first_did() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24").ok();
    lab.netcord("attach lab0 web").ok();
    let before = lab.snapshot();
    let sends = |words: &str| {
        let traced = format!(
            "strace -f -e trace=sendto,sendmsg,execve -o /run/sends {NETCORD} {words} >/dev/null
             grep -c -e send -e execve /run/sends"
        );
        lab.sh(&traced).ok()
    };
    // The first one is for the network, too.
    lab.netcord("publish web 8079:79").ok();
    let first = sends("publish web 8080:80");
    let specs = "$(seq 10000 19999 | sed 's/.*/&:&/')";
    // A user's own host may not ask for more room than for 100 at once.
    let [few, more]: [u32; 2] =
        [&first, &sends(&format!("publish web {specs}"))].map(|n| n.parse().unwrap());
    assert_eq!(more, few - 1 + 10_000 / 100, "as few transactions as there is room for");
    assert_eq!(lab.rules_of_ports().len(), 10_002);
    assert_eq!(sends("publish web 8081:81"), first, "the next one");
    lab.sh(&format!("{NETCORD} publish web {specs} >/dev/null")).ok();
    assert_eq!(lab.rules_of_ports().len(), 10_003, "none is there twice");
    lab.netcord("unpublish web --all").ok();
    before.assert_same(&lab.snapshot(), "all of them taken back");
}
