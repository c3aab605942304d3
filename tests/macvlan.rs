//! Macvlan networks: endpoints on the wire of the host's own link, which stays as it is.

use crate::support::{Lab, NETCORD, SCENARIOS, Snapshot};

/// A host with a neighbour `peer` on the wire of its `eth0`, and two namespaces.
fn wired() -> Lab {
    let lab = Lab::new();
    lab.neighbour("peer").netns(&["web", "db"]);
    lab
}

const RANGES: &str = "--ip-range 192.0.2.64/26 --ip-range 2001:db8::40/122";

/// With a network `lan0` on `eth0`, to which both are attached.
fn attached(flags: &str) -> Lab {
    let lab = wired();
    lab.netcord(&format!("macvlan lan0 --parent eth0 {RANGES} {flags}")).ok();
    lab.netcord("attach lan0 web db").ok();
    lab
}

/// A host, less the addresses that the kernel gives its links by itself, a moment later.
fn settled(lab: &Lab) -> Snapshot {
    lab.snapshot().without(|line| line.contains("inet6 fe80:"))
}

fn json(lab: &Lab, words: &str) -> serde_json::Value {
    serde_json::from_str(&lab.netcord(words).ok()).unwrap()
}

#[test]
fn endpoints_and_the_physical_network_reach_each_other() {
    let lab = wired();
    let run = lab.netcord(&format!("macvlan lan0 --parent eth0 {RANGES}")).exits(0);
    assert_eq!(run.stdout, "lan0\n");
    assert!(run.stderr.contains("--host-access"), "{}", run.stderr);
    assert_eq!(lab.netcord("attach lan0 web").ok(), "192.0.2.64\n2001:db8::40");
    lab.serve_ports("web", &[80]);
    lab.serve_ports("peer", &[80]);
    for (host, web) in [("192.0.2.2", "192.0.2.64"), ("[2001:db8::2]", "[2001:db8::40]")] {
        let bare = |address: &str| address.trim_matches(['[', ']']).to_owned();
        lab.reaches("web", &format!("tcp {host}:80"), &format!("peer:80 from {}", bare(web)));
        lab.reaches("peer", &format!("tcp {web}:80"), &format!("web:80 from {}", bare(host)));
    }
    // The router is the host's own, not an address that nobody has.
    let routes = lab.sh("ip -n web route show default; ip -n web -6 route show default").ok();
    assert!(routes.contains("via 192.0.2.2 ") && routes.contains("via 2001:db8::2 "), "{routes}");
    lab.sh("! ip -br link | grep -q -e lan0 -e ^nc").ok();
}

#[test]
fn endpoints_reach_each_other_in_bridge_mode_only() {
    for (mode, reach) in [("bridge", true), ("private", false), ("vepa", false)] {
        let lab = attached(&format!("--mode {mode}"));
        lab.reaches("web", "ping 192.0.2.2", "");
        for to in ["ping 192.0.2.65", "ping 2001:db8::41"] {
            if reach {
                lab.reaches("web", to, "");
            } else {
                lab.does_not_reach("web", to);
            }
        }
    }
}

#[test]
fn the_host_is_apart_unless_it_asks_for_access() {
    let lab = attached("");
    let lan = settled(&lab);
    for (host, web) in [("192.0.2.1", "192.0.2.64"), ("2001:db8::1", "2001:db8::40")] {
        lab.does_not_reach("host", &format!("ping {web}"));
        lab.does_not_reach("web", &format!("ping {host}"));
    }
    lan.assert_same(&settled(&lab), "after calls that nobody answered");

    for rp_filter in [0, 1] {
        let lab = wired();
        lab.sh(&format!("sysctl -qw net.ipv4.conf.all.rp_filter={rp_filter}")).ok();
        let run =
            lab.netcord(&format!("macvlan lan0 --parent eth0 {RANGES} --host-access")).exits(0);
        assert_eq!(run.stderr, "");
        lab.netcord("attach lan0 web db").ok();
        lab.serve_ports("web", &[80]);
        lab.serve_ports("host", &[81]);
        lab.reaches("host", "tcp 192.0.2.64:80", "web:80 from 192.0.2.1");
        lab.reaches("host", "udp 192.0.2.64:80", "web:80 from 192.0.2.1");
        lab.reaches("host", "tcp [2001:db8::40]:80", "web:80 from 2001:db8::1");
        lab.reaches("web", "tcp 192.0.2.1:81", "host:81 from 192.0.2.64");
        lab.reaches("web", "tcp [2001:db8::1]:81", "host:81 from 2001:db8::40");
        lab.reaches("db", "ping 192.0.2.1", "");
        // And the neighbour still finds the host where it always was.
        lab.reaches("peer", "tcp 192.0.2.1:81", "host:81 from 192.0.2.2");
        lab.reaches("peer", "tcp [2001:db8::1]:81", "host:81 from 2001:db8::2");
        lab.sh("mac=$(cat /sys/class/net/eth0/address)
                test \"$(ip -n peer neigh show 192.0.2.1 | grep -c $mac)\" = 1
                test \"$(ip -n peer neigh show 2001:db8::1 | grep -c $mac)\" = 1")
            .ok();
    }
}

#[test]
fn removal_leaves_the_host_as_it_was() {
    for flags in ["", "--host-access", "--mode private", "--mode passthru"] {
        let lab = wired();
        let before = lab.snapshot();
        let ours = "--ip 192.0.2.70";
        lab.netcord(&format!("macvlan lan0 --parent eth0 {flags}")).ok();
        let empty = lab.snapshot();
        lab.netcord(&format!("attach lan0 web {ours}")).ok();
        lab.netcord(&format!("attach lan0 web {ours}")).ok();
        lab.netcord("rm lan0").fails(4, &["netcord detach lan0 web"]);
        lab.netcord("detach lan0 web").ok();
        empty.assert_same(&lab.snapshot(), &format!("{flags}: detached"));
        lab.netcord("rm lan0").ok();
        before.assert_same(&lab.snapshot(), &format!("{flags}: removed"));
    }
}

#[test]
fn what_was_changed_by_hand_is_mended() {
    let lab = attached("--host-access");
    let whole = settled(&lab);
    for (damage, mend) in [
        ("ip link set lan0 down", "macvlan lan0 --parent eth0 --host-access"),
        ("ip link del lan0", "macvlan lan0 --parent eth0 --host-access"),
        ("ip neigh flush dev lan0 nud permanent", ""),
        ("ip -n web neigh flush dev eth0 nud permanent", ""),
        ("ip -n web link set eth0 down", ""),
        ("ip -n web link del eth0", ""),
    ] {
        lab.sh(damage).ok();
        if !mend.is_empty() {
            lab.netcord(mend).ok();
        }
        lab.netcord("attach lan0 web db").ok();
        whole.assert_same(&settled(&lab), damage);
    }
    // Without its link, what hung on it has gone already.
    lab.sh("ip link del lan0").ok();
    lab.netcord("detach lan0 web db").ok();
    lab.netcord("rm lan0").ok();
}

#[test]
fn a_network_that_differs_is_a_conflict() {
    let lab = attached("--label a=b");
    let before = lab.snapshot();
    lab.netcord("macvlan lan0 --parent eth0 --label a=b").ok();
    lab.netcord("create -d macvlan lan0 --parent eth0 --mode bridge").ok();
    for (flags, parts) in [
        ("--parent eth1", &["parent is eth0, not eth1"][..]),
        ("--parent eth0 --mode private", &["mode is bridge, not private"]),
        ("--parent eth0 --host-access", &["host-access is false, not true"]),
        ("--parent eth0 --subnet 10.0.0.0/24", &["subnet is 192.0.2.0/24, not 10.0.0.0/24"]),
        ("--parent eth0 --gateway 192.0.2.9", &["gateway is 192.0.2.2, not 192.0.2.9"]),
        ("--parent eth0 --ip-range 192.0.2.0/27", &["ip-range is 192.0.2.64/26"]),
        ("--parent eth0 --mtu 1400", &["MTU is 1500, not 1400"]),
        ("--parent eth0 --label a=c", &["label a is b, not c"]),
    ] {
        lab.netcord(&format!("macvlan lan0 {flags}")).fails(4, parts);
    }
    lab.netcord("bridge lan0").fails(4, &["mode is macvlan, not bridge"]);
    before.assert_same(&lab.snapshot(), "nothing is changed to fit");
}

#[test]
fn a_parent_that_cannot_be_one_is_refused() {
    let lab = wired();
    lab.sh("ip link add br0 type bridge; ip link add port type veth peer name other
            ip link set port master br0; ip link add dummy type veth peer name more")
        .ok();
    lab.netcord("macvlan one0 --parent dummy --subnet 10.1.0.0/24 --mode passthru").ok();
    let before = lab.snapshot();
    lab.netcord("macvlan lan0 --parent eth1").fails(3, &["no link `eth1`", "did you mean `eth0`?"]);
    lab.netcord("macvlan lan0 --parent eth1.100").fails(3, &["no link `eth1`"]);
    lab.netcord("macvlan lan0 --parent eth0.4095").fails(2, &["1 to 4094"]);
    lab.netcord("macvlan lan0 --parent port").fails(4, &["is a port of `br0`"]);
    lab.netcord("macvlan lan0 --parent dummy").fails(4, &["network `one0`"]);
    lab.netcord("macvlan lan0 --parent other").fails(2, &["no address", "--subnet"]);
    lab.netcord("macvlan lan0 --parent other --subnet 10.0.0.0/24 --host-access")
        .fails(4, &["no address on `other`"]);
    lab.netcord("macvlan eth0 --parent eth0").fails(4, &["a link `eth0` exists"]);
    lab.netcord("macvlan lan0 --parent eth0 --mtu 9000").fails(2, &["more than that of `eth0`"]);
    lab.netcord("macvlan lan0 --parent eth0 --mode vepa --host-access").fails(2, &["vepa"]);
    lab.netcord("macvlan lan0").exits(2);
    lab.netcord("create -d macvlan lan0").fails(2, &["--parent"]);
    lab.netcord("create -d macvlan lan0 --parent eth0 --internal").fails(2, &["--internal"]);
    lab.netcord("create lan0 --parent eth0").fails(2, &["--parent"]);
    before.assert_same(&lab.snapshot(), "nothing is left of what was refused");
}

#[test]
fn addresses_that_others_have_are_not_given() {
    let lab = wired();
    lab.netcord("macvlan lan0 --parent eth0").ok();
    // Nothing was said of which are ours: one that is silent, and a word about it.
    let run = lab.netcord("attach lan0 web").exits(0);
    assert_eq!(run.stdout, "192.0.2.3\n2001:db8::3\n");
    assert!(run.stderr.contains("--ip-range"), "{}", run.stderr);
    assert_eq!(lab.netcord("attach lan0 web").exits(0).stderr, "", "said once");
    lab.netcord("detach lan0 web").ok();
    lab.netcord("attach lan0 web --ip 192.0.2.1").fails(4, &["the host, on `eth0`"]);
    lab.netcord("attach lan0 web --ip 192.0.2.2").fails(4, &["gateway"]);
    lab.netcord("attach lan0 web --ip 10.0.0.9").fails(2, &["in no subnet"]);
    lab.netcord("attach lan0 web --ip 192.0.2.9 --host-ifname x").fails(2, &["--host-ifname"]);
    lab.netcord("attach lan0 web --ip 192.0.2.9 -p 80:80").fails(4, &["nothing to publish"]);
    lab.netcord("attach lan0 web --ip 192.0.2.9 --mtu 9000").fails(2, &["MTU 9000"]);
    assert_eq!(lab.netcord("attach lan0 web --ip 192.0.2.9").ok(), "192.0.2.9");
    lab.netcord("attach lan0 db --ip 192.0.2.9").fails(4, &["taken by `web`"]);
}

#[test]
fn listings_tell_of_no_host_link() {
    let lab = attached("");
    assert!(lab.netcord("ls").ok().contains("macvlan"));
    let shown = json(&lab, "ps --format json");
    assert_eq!((&shown[0]["state"], &shown[0]["host_ifname"]), (&"up".into(), &().into()));
    let row = lab.netcord("ps lan0").ok();
    assert!(row.lines().all(|l| l.contains(" - ") || l.starts_with("TARGET")), "{row}");
    let shown = json(&lab, "inspect lan0");
    assert_eq!(shown[0]["parent"]["macvlan"]["mode"], "bridge");
    assert_eq!(shown[0]["endpoints"][0]["host_ifname"], serde_json::Value::Null);
    lab.sh("ip -n web link set eth0 down; ip -n db link del eth0").ok();
    let shown = json(&lab, "ps --format json");
    assert_eq!((&shown[0]["state"], &shown[1]["state"]), (&"dead".into(), &"down".into()));
    assert_eq!(lab.netcord("prune").ok(), "endpoint lan0/db");
    assert_eq!(lab.netcord("prune").ok(), "");
}

#[test]
fn the_dead_leave_nothing_and_their_address_to_the_living() {
    let lab = wired();
    lab.netcord("macvlan lan0 --parent eth0 --host-access").ok();
    let before = lab.snapshot();
    for _ in 0..3 {
        let pid = lab.null_mode_process();
        lab.netcord(&format!("attach lan0 {pid} --ip 192.0.2.9")).ok();
        // At once: the kernel takes the links of the dead away a little later.
        lab.sh(&format!("kill -9 {pid}")).ok();
        lab.netcord("attach lan0 web --ip 192.0.2.9").ok();
        lab.reaches("host", "ping 192.0.2.9", "");
        lab.netcord("detach lan0 web").ok();
        before.assert_same(&lab.snapshot(), "after death");
    }
    let pid = lab.null_mode_process();
    lab.netcord(&format!("attach lan0 {pid} --ip 192.0.2.9")).ok();
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until(&format!("! test -e /proc/{pid}/ns/net"));
    lab.netcord(&format!("detach lan0 {pid}")).ok();
    before.assert_same(&lab.snapshot(), "after detach of the dead");
}

#[test]
fn passthru_is_for_one() {
    let lab = wired();
    lab.sh("ip link add nic type veth peer name wire2 netns peer; ip link set nic up
            ip -n peer addr add 10.1.0.2/24 dev wire2; ip -n peer link set wire2 up")
        .ok();
    let run = lab.netcord("macvlan one0 --parent nic --subnet 10.1.0.0/24 --mode passthru");
    assert!(run.stderr.contains("to itself"), "{}", run.stderr);
    lab.netcord("attach one0 web --ip 10.1.0.9 --mac 02:00:00:00:00:09").fails(2, &["--mac"]);
    lab.netcord("attach one0 web --ip 10.1.0.9").ok();
    lab.netcord("attach one0 web --ip 10.1.0.9").ok();
    lab.reaches("peer", "ping 10.1.0.9", "");
    let before = settled(&lab);
    lab.netcord("attach one0 db --ip 10.1.0.10").fails(4, &["`web` has `nic` to itself"]);
    lab.netcord("macvlan two0 --parent nic --subnet 10.1.0.0/24").fails(4, &["one0", "passthru"]);
    before.assert_same(&settled(&lab), "the second is refused");
    lab.netcord("detach one0 web").ok();
    // Somebody else's macvlan is in the way: the kernel says so.
    lab.sh("ip link add link nic name theirs type macvlan mode bridge").ok();
    let before = settled(&lab);
    lab.netcord("attach one0 db --ip 10.1.0.10").fails(4, &["passthru mode has a link to itself"]);
    before.assert_same(&settled(&lab), "the kernel refused");
}

#[test]
fn a_vlan_that_is_missing_is_made_where_the_kernel_can() {
    let lab = wired();
    let before = lab.snapshot();
    let words = "macvlan dmz0 --parent eth0.100 --subnet 10.9.0.0/24 --gateway 10.9.0.254";
    let script = lab.netcord(&format!("--dry-run {words}")).ok();
    assert!(script.contains("ip link add link eth0 name eth0.100 group 28259 type vlan id 100"));
    let can = lab.sh("ip link add link eth0 name probe type vlan id 7 && ip link del probe");
    if can.code == 0 {
        lab.netcord(words).ok();
        lab.netcord(words).ok();
        lab.netcord("macvlan dmz1 --parent eth0.100 --subnet 10.9.1.0/24").ok();
        lab.netcord("rm dmz0").ok();
        lab.sh("ip link show eth0.100").ok();
        lab.netcord("rm dmz1").ok();
    } else {
        lab.netcord(words).fails(6, &["the kernel has no VLAN links", "modprobe 8021q"]);
    }
    before.assert_same(&lab.snapshot(), "as before");
}

#[test]
fn who_renames_its_link_is_detached_all_the_same() {
    let lab = wired();
    lab.netcord("macvlan lan0 --parent eth0").ok();
    let before = lab.snapshot();
    lab.netcord("attach lan0 web --ip 192.0.2.9").ok();
    lab.sh("ip -n web link set eth0 down; ip -n web link set eth0 name other").ok();
    lab.netcord("detach lan0 web").ok();
    before.assert_same(&lab.snapshot(), "detached");
}

#[test]
fn a_lost_record_is_made_anew_with_the_network() {
    for flags in ["", "--host-access"] {
        let lab = wired();
        let before = lab.snapshot();
        let network = format!("macvlan lan0 --parent eth0 {RANGES} {flags}");
        lab.netcord(&network).ok();
        lab.netcord("attach lan0 web").ok();
        let whole = settled(&lab);
        lab.sh("rm -r /run/netcord").ok();
        assert_eq!(lab.netcord("attach lan0 web").ok(), "192.0.2.64\n2001:db8::40");
        whole.assert_same(&settled(&lab), "found inside");
        lab.sh("rm -r /run/netcord").ok();
        lab.netcord(&network).ok();
        assert_eq!(lab.netcord("attach lan0 web").ok(), "192.0.2.64\n2001:db8::40");
        whole.assert_same(&settled(&lab), "converged");
        assert_eq!(lab.netcord("attach lan0 db").ok(), "192.0.2.65\n2001:db8::41");
        lab.netcord("detach lan0 web db").ok();
        lab.netcord("rm lan0").ok();
        // Who brought it up was in the record.
        lab.sh("ip -n web link set lo down; ip -n web addr flush dev lo").ok();
        before.assert_same(&lab.snapshot(), "removed");
    }
}

#[test]
fn an_ipv6_router_may_be_known_by_its_link_local_address() {
    let lab = wired();
    lab.sh("ip -6 route replace default via fe80::2 dev eth0").ok();
    lab.netcord(&format!("macvlan lan0 --parent eth0 {RANGES}")).ok();
    lab.netcord("attach lan0 web").ok();
    lab.sh("ip -n web -6 route show default | grep -q 'via fe80::2 dev eth0'
            ip -n peer addr add 2001:db8:1::1/128 nodad dev lo")
        .ok();
    lab.reaches("web", "ping 2001:db8:1::1", "");
    lab.netcord("macvlan lan1 --parent eth0 --subnet 2001:db8::/64 --gateway fe80::2").ok();
}

#[test]
fn there_are_scenarios_of_macvlan() {
    assert!(SCENARIOS.iter().filter(|s| s.name.contains("macvlan")).count() >= 3);
}

#[test]
fn the_server_of_the_physical_network_gives_addresses_and_gets_them_back() {
    let lab = wired();
    let server = lab.start(
        "exec ip netns exec peer dnsmasq --no-daemon --conf-file=/dev/null --user=root --port=0 \
         --no-ping --interface=wire --bind-interfaces --dhcp-leasefile=/run/leases --pid-file= \
         --dhcp-range=192.0.2.100,192.0.2.110,2m --dhcp-option=3,192.0.2.2",
    );
    lab.until("ip netns exec peer ss -Hlnu sport = :67 | grep -q .");
    lab.netcord("macvlan lan0 --parent eth0").ok();
    let of = |address: &str| format!("grep -q ' {address} ' /run/leases");
    let address = lab.netcord("attach lan0 web --dhcp").ok();
    lab.sh(&of(&address)).ok();
    lab.reaches("web", "ping 192.0.2.2", "");
    assert!(lab.netcord("ps").ok().contains(&format!("{address}/24 (dhcp)")));
    lab.netcord("detach lan0 web").ok();
    lab.until(&format!("! {}", of(&address)));
    // And where nobody detaches it.
    let address = lab.netcord("attach lan0 db --dhcp").ok();
    lab.sh(&of(&address)).ok();
    lab.sh("ip netns del db").ok();
    lab.until(&format!("! {}", of(&address)));
    lab.until("! pgrep -f '[k]eep-lease'");
    drop(server);
}

#[test]
fn a_parent_that_is_down_or_gone_is_told_of() {
    let lab = Lab::new();
    lab.neighbour("peer");
    lab.netns(&["web"]);
    lab.netcord("macvlan lan0 --parent eth0").ok();
    lab.netcord("attach lan0 web --ip 192.0.2.9").ok();
    lab.netcord("repair --check").ok();
    lab.sh("ip link set eth0 down").ok();
    assert!(lab.netcord("ps").ok().contains("down"));
    assert!(lab.netcord("doctor").stdout.contains("ip link set eth0 up"));
    let check = lab.netcord("repair --check");
    assert!(check.code == 1 && check.stdout.contains("dev eth0 up"), "{}", check.stdout);
    lab.netcord("repair").ok();
    lab.sh("ip link show eth0 | grep -q LOWER_UP").ok();
    lab.sh("ip link del eth0").ok();
    let said = lab.netcord("doctor").stdout;
    assert!(said.contains("[parent-missing]"), "{said}");
    let check = lab.netcord("repair --check");
    assert!(check.code == 1 && check.stdout.contains("is gone"), "{}", check.stdout);
}

#[test]
fn who_would_be_cut_off_by_passthru_is_warned() {
    let lab = Lab::new();
    lab.neighbour("peer");
    let run = lab.sh(&format!(
        "SSH_CONNECTION='192.0.2.2 4711 192.0.2.1 22' \
         {NETCORD} macvlan lan0 --parent eth0 --mode passthru"
    ));
    assert!(
        run.stderr.contains("your SSH connection from 192.0.2.2 comes by `eth0`"),
        "{}",
        run.stderr
    );
}
