//! `repair`: it reports and repairs each damage, and nothing else.

use crate::support::{FIREWALLS, Lab, NETCORD, Snapshot};

/// A host with a bit of everything.
fn whole(firewall: &'static str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    lab.neighbour("outside").netns(&["web", "db"]);
    let pid = lab.null_mode_process();
    lab.sh(&format!(
        "netcord() {{ {NETCORD} --firewall {firewall} \"$@\"; }}
         netcord bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --no-spoof
         netcord bridge lab1 --subnet 172.21.0.0/16 --isolate
         netcord macvlan lan0 --parent eth0 --host-access; netcord none made
         netcord attach lab0 web -p 8080:80 -p 5353:53/udp --host-ifname webport
         netcord attach lab1 web --gateway 172.21.0.1; netcord attach lab0 {pid} --name named
         netcord attach lab1 made; netcord attach lan0 db --ip 192.0.2.9"
    ))
    .ok();
    lab
}

/// A cable that is laid anew is the last of the host's links, and so are its filters. Which groups
/// of IPv6's a link listens to is the kernel's own.
fn look(lab: &Lab) -> Snapshot {
    lab.snapshot().mapped(str::to_owned).without(|line| line.starts_with("fdb 33:33:"))
}

/// What can be done to it with either firewall.
const DAMAGES: &[&str] = &[
    "ip link set lab0 down",
    "ip addr del 172.20.0.1/16 dev lab0",
    "ip addr del fd00:1::1/64 dev lab0",
    "ip link set lab0 alias ''",
    "ip link set lab0 address 02:00:00:00:00:99",
    "ip link set lab0 mtu 1400",
    "ip link set lab0 group 0",
    "ip link set lab0 type bridge stp_state 1",
    "ip link set lab0 type bridge forward_delay 500",
    "ip link set lab0 address 02:00:00:00:00:99 group 7 mtu 1300 type bridge stp_state 1 forward_delay 400",
    "sysctl -qw net/ipv4/ip_forward=0",
    "sysctl -qw net/ipv6/conf/lab0/accept_ra=1",
    "sysctl -qw net/ipv6/conf/lab0/accept_redirects=1",
    "sysctl -qw net/ipv6/conf/lab1/disable_ipv6=0",
    "sysctl -qw net/ipv6/conf/webport/disable_ipv6=0",
    "sysctl -qw net/ipv6/conf/all/forwarding=0",
    "ip netns exec web sysctl -qw net/ipv6/conf/eth0/accept_ra=1",
    "ip netns exec web sysctl -qw net/ipv6/conf/eth1/disable_ipv6=0",
    "ip -n web link set eth0 mtu 1400",
    "ip -n web link set eth0 address 02:00:00:00:00:99",
    "ip -n web link set eth0 down; ip -n web link set eth0 name other",
    "ip -n web addr del 127.0.0.1/8 dev lo",
    "ip -n web -6 addr del fd00:1::2/64 dev eth0",
    "ip -n web link set eth0 down",
    "ip -n web addr del 172.20.0.2/16 dev eth0",
    "ip -n web route del default via 172.21.0.1",
    "ip -n web link set lo down",
    "ip link set webport alias ''",
    "ip link set webport nomaster",
    "ip link set webport down",
    "ip link set webport group 0",
    "ip link set webport address 02:00:00:00:00:99",
    "tc filter del dev webport ingress",
    "ip link set webport mtu 1400",
    "ip link del webport",
    "tc qdisc del dev webport clsact",
    "rm /run/netns/named",
    "ip -n made link set lo down",
    "ip -n db addr del 192.0.2.9/24 dev eth0",
    "ip link set lan0 down",
    "ip link set lan0 alias ''",
    "ip link set lan0 address 02:00:00:00:00:99",
    "ip link set lan0 mtu 1400 group 0",
    "ip link set lan0 type macvlan mode private",
    "sysctl -qw net/ipv4/conf/lan0/arp_ignore=0",
    "sysctl -qw net/ipv6/conf/lan0/accept_ra=1",
    "ip route del 192.0.2.9 dev lan0",
    "ip neigh del 192.0.2.9 dev lan0",
    "ip -n db link set eth0 address 02:00:00:00:00:99",
    "ip -n db link set eth0 mtu 1400",
    "ip -n db link set eth0 group 0",
    "ip -n db link set eth0 alias ''",
    "ip -n db link set eth0 type macvlan mode vepa",
    "ip -n db neigh del 192.0.2.1 dev eth0",
    "bridge link set dev $(ip -o link show master lab1 | sed 's/^[0-9]*: //; s/@.*//; q') isolated off",
];

const OF_NFTABLES: [&str; 5] = [
    "nft flush ruleset",
    "nft flush chain inet netcord filter-lab0",
    "nft flush chain inet netcord nat-lab1",
    "nft delete element inet netcord filter '{ \"lab0\" }'",
    "nft flush map inet netcord ports4",
];

const OF_IPTABLES: [&str; 6] = [
    "iptables -D NETCORD-ISOLATE -i lab1 -o lab1 -m conntrack ! --ctstate DNAT -m comment --comment 'netcord:lab1 isolate 172.21.0.0/16' -j DROP; iptables -A NETCORD-ISOLATE -m comment --comment 'netcord:lab1 isolate 172.21.0.0/16' -j ACCEPT",
    "ip6tables -R NETCORD-FORWARD 2 -i other -m comment --comment 'netcord:lab0 out fd00:1::/64' -j ACCEPT",
    "iptables -t nat -R NETCORD-DNAT 1 -p tcp --dport 8080 -m comment --comment 'netcord:lab0/web publish 0.0.0.0:8080 -> 172.20.0.2:80/tcp' -j DNAT --to-destination 172.20.0.9:80",
    "for t in raw filter nat; do iptables -t $t -F; ip6tables -t $t -F; done",
    "for t in raw filter nat; do iptables -t $t -F; iptables -t $t -X; done",
    "iptables -D FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD",
];

#[test]
fn every_damage_is_told_of_and_mended_once() {
    // Links are the same with either firewall. Each host has some of the damages.
    let (some, others) = DAMAGES.split_at(DAMAGES.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| each_is_mended_once("nftables", &[some, &OF_NFTABLES].concat()));
        scope.spawn(|| each_is_mended_once("iptables", &[others, &OF_IPTABLES].concat()));
    });
}

fn each_is_mended_once(firewall: &'static str, damages: &[&str]) {
    let lab = whole(firewall);
    let before = look(&lab);
    assert_eq!(lab.netcord("repair --check").ok(), "", "nothing has drifted");
    assert_eq!(lab.netcord("repair").ok(), "");
    before.assert_same(&look(&lab), "nothing was repaired");
    for damage in damages {
        lab.sh(damage).ok();
        let broken = look(&lab);
        let told = lab.netcord("repair --check");
        assert!(!told.stdout.is_empty(), "`{damage}` is reported: {}", told.stderr);
        let told = told.exits(1);
        broken.assert_same(&look(&lab), "a check changes nothing");
        let repaired = lab.netcord("repair").ok();
        assert_eq!(told.stdout.trim_end(), repaired, "{damage}");
        before.assert_same(&look(&lab), damage);
        assert_eq!(lab.netcord("repair --check").ok(), "", "{damage}");
    }
}

/// What can be done to the links of an attachment that can be taken back where they are.
const CHANGES: &[&str] = &[
    "ip link set webport address 02:00:00:00:00:99",
    "ip link set webport mtu 1400",
    "ip link set webport group 0",
    "ip link set webport group 7 mtu 1300 address 02:00:00:00:00:99",
    "ip -n web link set eth0 address 02:00:00:00:00:99",
    "ip -n web link set eth0 mtu 1400",
    "ip -n web link set eth0 mtu 1000",
    "ip -n web link set eth0 address 02:00:00:00:00:98 mtu 1300; ip link set webport mtu 1300",
];

#[test]
fn a_link_that_was_changed_stays_where_it_can_be_changed_back() {
    for firewall in FIREWALLS {
        let lab = whole(firewall);
        let links =
            "ip -o link show webport | cut -d: -f1; ip -n web -o link show eth0 | cut -d: -f1";
        let before = (look(&lab), lab.sh(links).ok());
        for change in CHANGES {
            // Somebody's own, which would go with the link.
            lab.sh(&format!("ip -n web addr add 10.99.0.1/32 dev eth0; {change}")).ok();
            let told = lab.netcord("repair --check").exits(1).stdout;
            assert!(!told.contains("link del"), "{change}: {told}");
            lab.netcord("repair").ok();
            assert_eq!(lab.sh(links).ok(), before.1, "{change}: the links are the same");
            lab.sh("ip -n web addr del 10.99.0.1/32 dev eth0").ok();
            before.0.assert_same(&look(&lab), change);
        }
    }
}

#[test]
fn a_link_of_somebody_s_under_the_name_of_ours_is_not_changed() {
    let lab = whole("nftables");
    lab.sh("ip -n web link set eth0 down; ip -n web link set eth0 name ours
            ip -n web link add eth0 address 02:00:00:00:00:77 type veth peer name other")
        .ok();
    lab.netcord("repair");
    assert_eq!(
        lab.sh("ip -n web -br link show eth0 | awk '{ print $3 }'").ok(),
        "02:00:00:00:00:77"
    );
}

#[test]
fn a_foreign_alias_is_back_after_a_failure() {
    for firewall in FIREWALLS {
        let lab = whole(firewall);
        for (link, verb, setting) in [
            ("lab0", "bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --no-spoof", "lab0"),
            ("webport", "attach lab0 web", "webport"),
            ("lan0", "macvlan lan0 --parent eth0 --host-access", "lan0"),
        ] {
            // A later step fails, since a sysctl cannot be written.
            lab.sh(&format!(
                "ip link set {link} alias \"it's mine\"
                 sysctl -qw net/ipv6/conf/{setting}/accept_redirects=1 \
                     net/ipv6/conf/{setting}/accept_ra=1
                 sysctl -qw net/ipv6/conf/{setting}/disable_ipv6=$((1 - $(cat /proc/sys/net/ipv6/conf/{setting}/disable_ipv6)))"
            ))
            .ok();
            let before = look(&lab);
            let read_only =
                "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys";
            let run = lab.sh(&format!("{read_only}; {NETCORD} --firewall {firewall} {verb}"));
            lab.sh("umount /proc/sys").ok();
            assert_ne!(run.code, 0, "{verb}: {}", run.stdout);
            before.assert_same(&look(&lab), verb);
            lab.netcord("repair").ok();
        }
    }
}

#[test]
fn all_damages_at_once_are_mended_at_once() {
    for firewall in FIREWALLS {
        let lab = whole(firewall);
        let before = look(&lab);
        let own: &[&str] = if firewall == "nftables" { &OF_NFTABLES[..1] } else { &OF_IPTABLES };
        // A link that lost its group and its alias is nobody's, so not ours to mend.
        let marked = |damage: &&&str| !damage.contains(" group ");
        for damage in DAMAGES.iter().chain(own).filter(marked) {
            // One may stand in the way of another.
            lab.sh(&format!("({damage}) || true")).ok();
        }
        lab.netcord("repair").ok();
        before.assert_same(&look(&lab), firewall);
    }
}

#[test]
fn a_check_names_what_is_missing_and_how_it_is_made() {
    let lab = whole("nftables");
    lab.sh("ip -n web link set eth0 down; ip addr del 172.20.0.1/16 dev lab0").ok();
    let told = lab.netcord("repair --check").exits(1).stdout;
    assert!(
        told.contains("network lab0: ") && told.contains("ip addr add 172.20.0.1/16"),
        "{told}"
    );
    assert!(told.contains("endpoint lab0/web: "), "{told}");
    let json: serde_json::Value =
        serde_json::from_str(&lab.netcord("--format json repair --check").exits(1).stdout).unwrap();
    assert!(json["drift"].as_array().unwrap().iter().any(|d| d["of"] == "network lab0"), "{json}");
}

#[test]
fn the_dead_are_left_to_prune() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let pid = lab.null_mode_process();
    lab.netcord(&format!("attach lab0 {pid}")).ok();
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until("! ip -br link | grep -q ^nc");
    assert_eq!(lab.netcord("repair --check").ok(), "");
    assert_eq!(lab.netcord("repair").ok(), "");
    assert_eq!(lab.netcord("ps -q").ok(), "");
}

#[test]
fn a_firewall_that_came_meanwhile_lets_the_network_by_again() {
    let lab = Lab::with_firewall("nftables");
    lab.neighbour("outside").netns(&["web"]);
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord("attach lab0 web").ok();
    assert_eq!(lab.netcord("repair --check").ok(), "");
    lab.sh("iptables -P FORWARD DROP").ok();
    let call = "ip netns exec web ping -c1 -W1 192.0.2.2";
    lab.sh(call).exits(1);
    let told = lab.netcord("repair --check").exits(1);
    assert!(told.stdout.starts_with("network lab0: "), "{}", told.stdout);
    lab.netcord("repair").ok();
    lab.sh(call).ok();
    assert_eq!(lab.netcord("repair --check").ok(), "");
    assert_eq!(lab.netcord("doctor").ok(), "");
}
