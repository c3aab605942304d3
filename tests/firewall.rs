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

/// What somebody can do to netcord's own rules of `lab0`, and what shows it.
const DAMAGES_OF_NFTABLES: &[(&str, &str)] = &[
    ("nft flush chain inet netcord forward", "not there: rule inet netcord forward iifname vmap"),
    ("nft flush chain inet netcord raw", "endpoints must not reach the host's 127.0.0.1"),
    ("nft flush chain inet netcord published", "map @ports6 "),
    (
        "nft flush chain inet netcord output; nft flush chain inet netcord prerouting",
        "jump published",
    ),
    (
        "nft flush chain inet netcord published; nft delete map inet netcord ports4
         nft delete map inet netcord ranges6-at",
        "map @ports4 ",
    ),
    ("nft delete chain inet netcord postrouting", "not there: chain inet netcord postrouting"),
    (
        "nft delete rule inet netcord filter-lab0 handle \
         $(nft -a list chain inet netcord filter-lab0 | sed -n 's/.*drop.*# handle //p' | head -n1)",
        "not there: rule inet netcord filter-lab0",
    ),
    (
        "nft insert rule inet netcord forward accept",
        "not netcord's: rule inet netcord forward accept",
    ),
    ("nft insert rule inet netcord published return", "not netcord's: rule inet netcord published"),
    ("nft insert rule inet netcord nat-lab0 ip saddr 10.1.0.0/24 return", "10.1.0.0/24 return"),
    (
        "nft chain inet netcord forward '{ policy drop; }'",
        "not as it was made: chain inet netcord forward",
    ),
    (
        "nft add chain inet netcord mine '{ type filter hook forward priority 7; policy drop; }'",
        "not netcord's: chain inet netcord mine",
    ),
    (
        "nft delete element inet netcord bridges '{ \"lab0\" }'",
        "element inet netcord bridges { \"lab0\" }",
    ),
    ("nft delete element inet netcord nat '{ \"lab0\" }'", "{ \"lab0\" : jump nat-lab0 }"),
    (
        "nft delete element inet netcord filter '{ \"lab0\" }'; nft delete chain inet netcord filter-lab0",
        "not there: chain inet netcord filter-lab0",
    ),
    ("nft delete table inet netcord", "not there: table inet netcord"),
];

const DAMAGES_OF_IPTABLES: &[(&str, &str)] = &[
    ("iptables -F NETCORD-FORWARD", "iptables -t filter -I NETCORD-FORWARD 1"),
    (
        "iptables -D NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' \
         -j NETCORD-ISOLATE",
        "NETCORD-FORWARD to NETCORD-ISOLATE",
    ),
    ("ip6tables -F NETCORD-ISOLATE", "ip6tables -t filter -A NETCORD-ISOLATE"),
    ("iptables -t raw -F NETCORD-PREROUTING", "loopback 10.1.0.0/24"),
    ("iptables -t raw -F PREROUTING", "PREROUTING to NETCORD-PREROUTING"),
    ("iptables -t nat -F PREROUTING; iptables -t nat -F OUTPUT", "OUTPUT to NETCORD-DNAT"),
    ("ip6tables -t nat -F POSTROUTING; ip6tables -F FORWARD", "ip6tables -t nat -A POSTROUTING"),
    (
        "iptables -t nat -D NETCORD-POSTROUTING 1",
        "not there: iptables -t nat -I NETCORD-POSTROUTING 1",
    ),
    (
        "iptables -I NETCORD-FORWARD -j ACCEPT",
        "not netcord's: iptables -t filter -A NETCORD-FORWARD -j ACCEPT",
    ),
    (
        "iptables -t nat -I NETCORD-DNAT -p tcp -m comment --comment 'no more of it' -j RETURN",
        "not netcord's: iptables -t nat -A NETCORD-DNAT -p tcp",
    ),
    (
        "for t in raw filter nat; do iptables -t $t -F; iptables -t $t -X; done",
        "not there: iptables -t nat -N NETCORD-DNAT",
    ),
    (
        "iptables-save | iptables-restore --noflush; ip6tables-save | ip6tables-restore --noflush",
        "there 2 times: ip6tables -t nat -A PREROUTING",
    ),
    (
        "iptables -A NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' \
         -j NETCORD-ISOLATE",
        "there 2 times: iptables -t filter -I NETCORD-FORWARD 1",
    ),
    (
        "for p in iptables ip6tables; do
             rule=$($p -S NETCORD-FORWARD | sed -n '2s/^-A//p')
             eval $p -D $rule; eval $p -A $rule
         done",
        "behind others: ip6tables -t filter -I NETCORD-FORWARD 1",
    ),
    (
        "rule=$(iptables -t nat -S NETCORD-POSTROUTING | sed -n '2s/^-A//p')
         eval iptables -t nat -D $rule; eval iptables -t nat -A $rule",
        "behind others: iptables -t nat -I NETCORD-POSTROUTING 1",
    ),
];

/// Each of them is named by `doctor` and by `repair --check`, and mended by `repair` and by asking
/// again for the existing networks; the published port opens again.
fn damages_are_named_and_mended(firewall: &'static str, kind: &str, damages: &[(&str, &str)]) {
    let lab = Lab::with_firewall(firewall);
    lab.neighbour("outside").netns(&["web"]);
    lab.netcord(&format!("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64 {kind}")).ok();
    lab.netcord("attach lab0 web").ok();
    let bridge = format!("bridge lab0 {kind}");
    let mut again = vec!["repair", "attach lab0 web", &bridge];
    if kind != "--internal" {
        lab.serve("web", 80);
        lab.netcord("publish web 8080:80 127.0.0.1:8081:80").ok();
        again.push("publish web 8080:80");
    }
    let before = lab.snapshot();
    for (number, (damage, evidence)) in damages.iter().enumerate() {
        // Each damage meets one of them, and each of them a few.
        let mends = again[number % again.len()];
        lab.sh(damage).ok();
        for looks in ["doctor", "repair --check"] {
            let told = lab.netcord(looks).exits(1).stdout;
            assert!(told.contains(evidence), "{looks} after `{damage}`: {told}");
        }
        lab.netcord(mends).ok();
        before.assert_same(&lab.snapshot(), &format!("{mends} after `{damage}`"));
        for looks in ["doctor", "repair --check"] {
            assert_eq!(lab.netcord(looks).ok(), "", "{mends} after `{damage}`");
        }
        if kind != "--internal" {
            assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web", "{damage}");
        }
    }
}

#[test]
fn damages_of_our_table_are_named_and_mended() {
    damages_are_named_and_mended("nftables", "", DAMAGES_OF_NFTABLES);
}

#[test]
fn damages_of_our_table_are_named_and_mended_on_networks_of_all_kinds() {
    // These have more rules than others, or others.
    let (of_chains, _) = DAMAGES_OF_NFTABLES.split_at(8);
    for kind in ["--internal", "--isolate", "--no-spoof"] {
        damages_are_named_and_mended("nftables", kind, &of_chains[6..]);
        damages_are_named_and_mended("iptables", kind, &DAMAGES_OF_IPTABLES[1..3]);
    }
}

#[test]
fn damages_of_what_keeps_open_networks_apart_from_others_are_named_and_mended() {
    let of_nftables = [
        ("nft flush chain inet netcord from-open", "not there: rule inet netcord from-open drop"),
        (
            "nft insert rule inet netcord from-open return",
            "not netcord's: rule inet netcord from-open",
        ),
        (
            "nft delete element inet netcord open '{ \"lab0\" }'",
            "element inet netcord open { \"lab0\" }",
        ),
        (
            "nft flush chain inet netcord filter-lab0; nft flush chain inet netcord from-open
             nft delete chain inet netcord from-open; nft delete set inet netcord open",
            "not there: chain inet netcord from-open",
        ),
    ];
    damages_are_named_and_mended("nftables", "--open", &of_nftables);
    let of_iptables = [
        ("iptables -F NETCORD-FROM-OPEN", "not there: iptables -t filter -A NETCORD-FROM-OPEN"),
        ("ip6tables -t raw -F NETCORD-FROM-OPEN", "-I NETCORD-FROM-OPEN 1 -i lab0"),
        (
            "iptables -A NETCORD-FROM-OPEN -j RETURN",
            "not netcord's: iptables -t filter -A NETCORD-FROM-OPEN -j RETURN",
        ),
        (
            "rule=$(iptables -S NETCORD-FROM-OPEN | sed -n '2s/^-A//p')
             eval iptables -D $rule; eval iptables -A $rule",
            "behind others: iptables -t filter -I NETCORD-FROM-OPEN 1",
        ),
    ];
    damages_are_named_and_mended("iptables", "--open", &of_iptables);
}

#[test]
fn damages_of_our_chains_are_named_and_mended() {
    damages_are_named_and_mended("iptables", "", DAMAGES_OF_IPTABLES);
}

#[test]
fn rules_that_were_restored_on_top_of_themselves_go_with_their_network() {
    for (firewall, twice) in [
        ("iptables", "for p in iptables ip6tables; do $p-save | $p-restore --noflush; done"),
        ("nftables", "nft list table inet netcord >/run/table; nft -f /run/table"),
    ] {
        let lab = Lab::with_firewall(firewall);
        lab.netns(&["web"]);
        let before = lab.snapshot();
        lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
        lab.netcord("attach lab0 web -p 8080:80").ok();
        lab.sh(twice).ok();
        lab.netcord("detach lab0 web").ok();
        assert!(lab.rules_of_ports().is_empty(), "{firewall}");
        lab.netcord("rm lab0").ok();
        before.assert_same(&lab.snapshot(), firewall);
    }
}

#[test]
fn a_rule_that_is_made_again_denies_before_others_accept() {
    let lab = host("iptables");
    lab.sh("iptables -D NETCORD-FORWARD 1; iptables -t nat -D NETCORD-POSTROUTING 1").ok();
    lab.netcord("repair").ok();
    let first = |table: &str, chain: &str| {
        lab.sh(&format!("iptables -t {table} -S {chain} 1; iptables -t {table} -S {chain} 2")).ok()
    };
    assert!(first("filter", "NETCORD-FORWARD").contains("-j NETCORD-ISOLATE"));
    assert!(first("nat", "NETCORD-POSTROUTING").contains("masquerade tcp"));
}

#[test]
fn the_script_of_a_mend_does_the_same() {
    let lab = host("nftables");
    let before = lab.snapshot();
    let damage = "nft insert rule inet netcord forward drop; nft flush chain inet netcord published
                  nft insert rule inet netcord filter-lab0 accept";
    lab.sh(damage).ok();
    let script = lab.netcord("--dry-run bridge lab0").ok();
    lab.pipe_to_sh(&format!("{script}\n")).ok();
    before.assert_same(&lab.snapshot(), "by hand");
}

#[test]
fn rules_of_a_bridge_of_others_are_named_and_mended() {
    for (firewall, damage, evidence) in [
        ("nftables", "nft flush chain inet netcord nat-br0", "rule inet netcord nat-br0"),
        ("iptables", "iptables -F NETCORD-FORWARD", "netcord:br0 in 10.7.0.0/24"),
    ] {
        for mends in ["repair", "publish guest 8082:80"] {
            let lab = host(firewall);
            for network in ["lab1", "lab2", "lab0"] {
                let endpoints = [("lab0", "web"), ("lab1", "db")];
                for (_, name) in endpoints.iter().filter(|(of, _)| *of == network) {
                    lab.netcord(&format!("detach {network} {name}")).ok();
                }
                lab.netcord(&format!("rm {network}")).ok();
            }
            let before = lab.snapshot();
            lab.sh(damage).ok();
            for looks in ["doctor", "repair --check"] {
                let told = lab.netcord(looks).exits(1).stdout;
                assert!(told.contains(evidence), "{looks} after `{damage}`: {told}");
            }
            lab.netcord(mends).ok();
            before.assert_same(&lab.snapshot(), &format!("{mends} after `{damage}`"));
        }
    }
}

/// What dockerd makes on a host, as far as it concerns what is forwarded.
const LIKE_DOCKER: &str = "iptables -P FORWARD DROP; iptables -N DOCKER-USER
    iptables -A DOCKER-USER -j RETURN; iptables -A FORWARD -j DOCKER-USER";

#[test]
fn repair_plans_as_the_verbs_do_where_all_rules_were_flushed() {
    for firewall in crate::support::FIREWALLS {
        let lab = Lab::with_firewall(firewall);
        lab.neighbour("outside").netns(&["web", "guest"]);
        lab.sh("ip link add br0 address 02:00:00:00:00:07 type bridge
                ip addr add 10.7.0.1/24 dev br0; ip link set br0 addrgenmode none up")
            .ok();
        lab.serve("guest", 80);
        lab.sh(LIKE_DOCKER).ok();
        lab.netcord("bridge lab0 --subnet 10.1.0.0/24").ok();
        lab.netcord("attach lab0 web -p 8080:80").ok();
        lab.netcord("attach br0 guest -p 8082:80").ok();
        let before = lab.snapshot();
        assert_eq!(lab.netcord("repair --check").ok(), "", "{firewall}");
        for mends in ["repair", "publish guest 8082:80"] {
            lab.sh("nft flush ruleset").ok();
            // docker's chains are gone, and with them what they were asked to let by.
            lab.netcord(mends).ok();
            assert_eq!(lab.fetch("outside", "http://192.0.2.1:8082").ok(), "guest", "{mends}");
            lab.netcord("repair").ok();
            assert_eq!(lab.netcord("repair --check").ok(), "", "{mends} on {firewall}");
            // docker makes them again, and what netcord needs there comes back.
            lab.sh(LIKE_DOCKER).ok();
            if firewall == "nftables" {
                // An accept of our chains' comes before a policy of the same table.
                lab.netcord("repair --check").exits(1);
            }
            lab.netcord("repair").ok();
            // Docker's own jump comes behind netcord's now.
            let sorted = |snapshot: &Snapshot| snapshot.mapped(str::to_owned);
            let when = format!("{mends} on {firewall}");
            sorted(&before).assert_same(&sorted(&lab.snapshot()), &when);
        }
    }
}
