//! Flat overlay networks: one subnet over all hosts, whose addresses a real etcd gives out, with a real
//! netcord-agent on each host.

use std::collections::BTreeSet;

use crate::{
    overlay_store::{agent, of},
    support::{Lab, NETCORD, STORE, etcdctl},
};

const CLUSTER: &str = "--flat --subnet 10.5.0.0/16";

/// Hosts that have joined one flat network.
#[track_caller]
fn joined(count: u8, first: &str, targets: &[&str]) -> Lab {
    let lab = Lab::new();
    lab.hosts(count).netns(targets);
    lab.etcd();
    lab.on("h1", &join(first)).ok();
    for number in 2..=count {
        lab.on(&format!("h{number}"), &join("")).ok();
    }
    lab
}

fn join(more: &str) -> String {
    format!("overlay pods --store {STORE} {more}")
}

/// Waits until a host sends what is for an address to another host, or to nobody.
#[track_caller]
fn until_at(lab: &Lab, host: &str, address: &str, at: Option<&str>) {
    let fdb = format!("nsenter --net=/run/netns/{host} bridge fdb show dev vx-pods");
    let neighbour = format!("nsenter --net=/run/netns/{host} ip neigh show {address} dev vx-pods");
    let mac = format!("$({neighbour} | sed 's/.*lladdr \\([^ ]*\\).*/\\1/')");
    match at {
        Some(other) => lab.until(&format!("{fdb} | grep \"^{mac} dst {other} self\"")),
        None => lab.until(&format!("! {neighbour} | grep -q .")),
    }
}

#[track_caller]
fn mac_of_gateway(lab: &Lab, host: &str) -> String {
    of(lab, host, "ip -br link show pods").split_whitespace().nth(2).unwrap().to_owned()
}

/// What the store says of an address.
#[track_caller]
fn key_of(lab: &Lab, address: &str) -> String {
    let key = format!("/netcord/pods/x-netcord/endpoints/{address}");
    lab.etcdctl(&format!("get --print-value-only {key}")).ok()
}

#[test]
fn endpoints_of_all_hosts_are_in_one_subnet() {
    let lab = joined(3, CLUSTER, &["web", "db", "app"]);
    let config = lab.etcdctl("get --print-value-only /netcord/pods/config").ok();
    assert_eq!(
        config,
        r#"{"Network":"10.5.0.0/16","EnableIPv6":false,"Gateways":["10.5.0.1"],"Backend":{"Type":"netcord-flat","VNI":4096,"Port":8472,"Multicast":false}}"#
    );
    assert_eq!(lab.on("h1", "attach pods web").ok(), "10.5.0.2");
    assert_eq!(lab.on("h2", "attach pods db").ok(), "10.5.0.3");
    let value = key_of(&lab, "10.5.0.2");
    assert!(value.starts_with(r#"{"host":"192.0.2.1","node":""#), "{value}");
    assert!(value.ends_with(r#"","mac":"02:42:0a:05:00:02","name":"web"}"#), "{value}");
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    until_at(&lab, "h3", "10.5.0.3", Some("192.0.2.2"));
    lab.serve_ports("db", &[80]);
    lab.reaches("web", "tcp 10.5.0.3:80", "db:80 from 10.5.0.2");
    // The same gateway is on each host, and each endpoint leaves by its own.
    let macs: Vec<_> = ["h1", "h2", "h3"].map(|host| mac_of_gateway(&lab, host)).into();
    assert!(macs.iter().all(|mac| *mac == macs[0]), "{macs:?}");
    lab.serve_ports("world", &[80]);
    lab.reaches("web", "tcp 192.0.2.254:80", "world:80 from 192.0.2.1");
    lab.reaches("db", "tcp 192.0.2.254:80", "world:80 from 192.0.2.2");
    // Nothing is learned, and the port to the other hosts gets no frames for unknown MACs.
    let port = of(&lab, "h1", "ip -d link show vx-pods");
    for word in ["nolearning", "proxy", "learning off", "flood off", "vxlan id 4096"] {
        assert!(port.contains(word), "{word}: {port}");
    }
    // Both commands are repeatable, and what is removed leaves nothing.
    lab.on("h1", &join("")).ok();
    assert_eq!(lab.on("h1", "attach pods web").ok(), "10.5.0.2");
    lab.on("h2", "detach pods db").ok();
    assert_eq!(key_of(&lab, "10.5.0.3"), "");
    until_at(&lab, "h1", "10.5.0.3", None);
    assert_eq!(lab.on("h3", "attach pods app").ok(), "10.5.0.3");
    lab.on("h1", "rm pods").fails(4, &["has endpoints"]);
    lab.on("h1", "detach pods web").ok();
    lab.on("h3", "detach pods app").ok();
    for host in ["h1", "h2", "h3"] {
        lab.on(host, "rm pods").ok();
        assert_eq!(of(&lab, host, "ip -br link show type vxlan"), "");
    }
    assert_eq!(lab.etcdctl("get --prefix --keys-only /netcord/pods/x-netcord").ok(), "");
}

#[test]
fn both_families_go_through_one_tunnel() {
    let lab = joined(2, "--flat --subnet 10.5.0.0/16 --subnet fd00:5::/64", &["web", "db"]);
    lab.on("h1", "attach pods web").ok();
    assert_eq!(lab.on("h2", "attach pods db").ok(), "10.5.0.3\nfd00:5::3");
    until_at(&lab, "h1", "fd00:5::3", Some("192.0.2.2"));
    lab.serve_ports("db", &[80]);
    lab.reaches("web", "tcp [fd00:5::3]:80", "db:80 from fd00:5::2");
    lab.reaches("web", "tcp 10.5.0.3:80", "db:80 from 10.5.0.2");
    lab.on("h2", "detach pods db").ok();
    until_at(&lab, "h1", "fd00:5::3", None);
    let left = of(&lab, "h1", "bridge fdb show dev vx-pods");
    assert!(!left.contains("dst"), "{left}");
}

#[test]
fn two_hundred_attaches_at_once_on_four_hosts_give_two_hundred_addresses() {
    let names: Vec<_> = (0..200).map(|n| format!("n{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let lab = joined(4, CLUSTER, &names);
    let attaches: Vec<_> = (0..200)
        .map(|n| {
            let host = n % 4 + 1;
            format!("nsenter --net=/run/netns/h{host} {NETCORD} attach pods n{n} &")
        })
        .collect();
    let script = attaches.join("\n");
    let run = lab.sh(&format!("{script}\nwait"));
    assert_eq!(run.stderr, "");
    let printed = run.ok();
    let addresses: BTreeSet<_> = printed.lines().collect();
    assert_eq!(addresses.len(), 200, "{printed}");
    assert!(addresses.contains("10.5.0.2") && addresses.contains("10.5.0.201"), "{printed}");
    let keys = lab.etcdctl("get --prefix --keys-only /netcord/pods/x-netcord/endpoints").ok();
    assert_eq!(keys.split_whitespace().count(), 200);
    // Each host knows all that are elsewhere.
    for host in ["h1", "h2", "h3", "h4"] {
        let fdb = format!("nsenter --net=/run/netns/{host} bridge fdb show dev vx-pods");
        lab.until(&format!("[ $({fdb} | grep -c 'dst .* self') = 150 ]"));
    }
}

#[test]
fn an_endpoint_that_moves_is_reached_at_its_new_place() {
    let lab = joined(3, CLUSTER, &["web", "db", "app"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db --ip 10.5.0.9").ok();
    until_at(&lab, "h1", "10.5.0.9", Some("192.0.2.2"));
    lab.listen("db", &["[::]:80"]);
    lab.reaches("web", "tcp 10.5.0.9:80", "db:80 from 10.5.0.2");
    // Taken, as long as it is there.
    lab.on("h3", "attach pods app --ip 10.5.0.9")
        .fails(4, &["address 10.5.0.9 is taken by `db` on host 192.0.2.2", "--takeover"]);
    lab.on("h2", "detach pods db").ok();
    assert_eq!(lab.on("h3", "attach pods app --ip 10.5.0.9").ok(), "10.5.0.9");
    until_at(&lab, "h1", "10.5.0.9", Some("192.0.2.3"));
    until_at(&lab, "h3", "10.5.0.9", None);
    lab.listen("app", &["[::]:80"]);
    lab.reaches("web", "tcp 10.5.0.9:80", "app:80 from 10.5.0.2");
}

#[test]
fn an_address_of_a_host_that_is_gone_can_be_taken_over() {
    let lab = joined(3, CLUSTER, &["web", "db", "app"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db --ip 10.5.0.9").ok();
    until_at(&lab, "h1", "10.5.0.9", Some("192.0.2.2"));
    // The host does not speak with the store any more, or with anybody.
    lab.sh("ip link set p-h2 down").ok();
    lab.on("h3", "attach pods app --ip 10.5.0.9").fails(4, &["--takeover"]);
    assert_eq!(lab.on("h3", "attach pods app --ip 10.5.0.9 --takeover").ok(), "10.5.0.9");
    until_at(&lab, "h1", "10.5.0.9", Some("192.0.2.3"));
    lab.listen("app", &["[::]:80"]);
    lab.reaches("web", "tcp 10.5.0.9:80", "app:80 from 10.5.0.2");
    // It comes back, and no longer speaks with that address.
    lab.sh("ip link set p-h2 up").ok();
    lab.until(&format!(
        "nsenter --net=/run/netns/h2 {NETCORD} ps pods | grep -q db && exit 1; exit 0"
    ));
    until_at(&lab, "h2", "10.5.0.9", Some("192.0.2.3"));
    let links = lab.sh("ip -n db -br link").ok();
    assert!(!links.contains("eth0"), "{links}");
    let peers = lab.on("h2", "--format json peers pods").ok();
    assert!(peers.contains("host 192.0.2.3 took over address 10.5.0.9"), "{peers}");
    lab.reaches("web", "tcp 10.5.0.9:80", "app:80 from 10.5.0.2");
}

#[test]
fn without_the_store_what_is_attached_goes_on_and_new_attaches_fail_with_the_reason() {
    let lab = joined(2, CLUSTER, &["web", "db", "app", "old"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    lab.on("h2", "attach pods old").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    until_at(&lab, "h2", "10.5.0.2", Some("192.0.2.1"));
    lab.mirror("db", "10.5.0.3:7000");
    let beats = lab.beats("web", "10.5.0.3:7000");
    lab.sh("kill -STOP $(pidof etcd)").ok();
    lab.on("h1", "attach pods app").fails(7, &["etcd", STORE]);
    let links = lab.sh("ip -n app -br link").ok();
    assert!(!links.contains("eth0"), "{links}");
    // What is detached meanwhile is free for others once the store is back, and attaching succeeds.
    lab.on("h2", "detach pods old").ok();
    lab.sh("kill -CONT $(pidof etcd)").ok();
    lab.until(&format!("nsenter --net=/run/netns/h1 {NETCORD} attach pods app"));
    let key = "/netcord/pods/x-netcord/endpoints/10.5.0.4";
    lab.until(&format!("! {} | grep -q old", etcdctl(&format!("get --print-value-only {key}"))));
    let (sent, lost) = beats.sent_and_lost();
    assert!(sent > 0 && lost == 0, "{lost} of {sent}");
}

#[test]
fn an_agent_that_is_killed_loses_no_packet_and_goes_on_where_it_was() {
    let lab = joined(2, CLUSTER, &["web", "db", "app"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    until_at(&lab, "h2", "10.5.0.2", Some("192.0.2.1"));
    lab.mirror("db", "10.5.0.3:7000");
    let beats = lab.beats("web", "10.5.0.3:7000");
    let pid = agent(&lab, "h1");
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until(&format!("! readlink /proc/{pid}/ns/net"));
    // Meanwhile, an endpoint comes and another goes.
    lab.on("h2", "attach pods app").ok();
    lab.sh("nsenter --net=/run/netns/h1 bridge fdb add 02:00:00:00:00:99 dev vx-pods dst 192.0.2.9 self master static").ok();
    lab.on("h1", "repair").ok();
    until_at(&lab, "h1", "10.5.0.4", Some("192.0.2.2"));
    lab.until(
        "! nsenter --net=/run/netns/h1 bridge fdb show dev vx-pods | grep -q 02:00:00:00:00:99",
    );
    let (sent, lost) = beats.sent_and_lost();
    assert!(sent > 0 && lost == 0, "{lost} of {sent}");
    assert!(key_of(&lab, "10.5.0.2").contains("192.0.2.1"));
}

#[test]
fn what_the_kernel_or_the_store_lost_comes_back() {
    let lab = joined(2, CLUSTER, &["web", "db"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    lab.serve_ports("db", &[80]);
    for loss in [
        "ip link del vx-pods",
        "ip link set vx-pods nomaster",
        "ip link set vx-pods down",
        "ip neigh flush dev vx-pods nud permanent",
        "bridge fdb del 02:42:0a:05:00:03 dev vx-pods master",
        "bridge fdb del 02:42:0a:05:00:03 dev vx-pods self",
    ] {
        until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
        of(&lab, "h1", loss);
        lab.until(
            "nsenter --net=/run/netns/h1 bridge fdb show dev vx-pods | grep -q '02:42:0a:05:00:03 dst 192.0.2.2 self' &&
             nsenter --net=/run/netns/h1 bridge fdb show dev vx-pods | grep -q '02:42:0a:05:00:03 master pods' &&
             nsenter --net=/run/netns/h1 ip neigh show 10.5.0.3 dev vx-pods | grep -q PERMANENT &&
             nsenter --net=/run/netns/h1 ip link show vx-pods up | grep -q 'master pods'",
        );
        lab.reaches("web", "tcp 10.5.0.3:80", "db:80 from 10.5.0.2");
    }
    // Keys that somebody deletes are written again.
    lab.etcdctl("del --prefix /netcord/pods/x-netcord/").ok();
    lab.until(&format!(
        "{} | grep -q 192.0.2.1",
        etcdctl("get --print-value-only /netcord/pods/x-netcord/endpoints/10.5.0.2")
    ));
    lab.until(&format!("{} | grep -q .", etcdctl("get /netcord/pods/x-netcord/nodes/192.0.2.2")));
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    // An endpoint whose namespace ends gives its address back.
    lab.sh("ip netns del web").ok();
    until_at(&lab, "h2", "10.5.0.2", None);
    assert_eq!(key_of(&lab, "10.5.0.2"), "");
}

#[test]
fn a_host_that_died_gives_its_addresses_back_when_its_lease_ends() {
    let lab = Lab::new();
    lab.hosts(2).netns(&["web", "db"]);
    lab.etcd();
    lab.on("h1", &join(CLUSTER)).ok();
    lab.on("h2", &join("--ttl 5")).ok();
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    lab.sh("ip link set p-h2 down").ok();
    until_at(&lab, "h1", "10.5.0.3", None);
    // It comes back: nobody has taken the address, so the host takes it again.
    lab.sh("ip link set p-h2 up").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    lab.serve_ports("db", &[80]);
    lab.reaches("web", "tcp 10.5.0.3:80", "db:80 from 10.5.0.2");
}

#[test]
fn multicasts_reach_other_hosts_only_where_they_are_wanted() {
    for (more, arrives) in [("", false), ("--multicast", true)] {
        let lab = joined(2, &format!("{CLUSTER} {more}"), &["web", "db"]);
        lab.on("h1", "attach pods web").ok();
        lab.on("h2", "attach pods db").ok();
        until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
        let replicas = of(&lab, "h1", "bridge fdb show dev vx-pods");
        assert_eq!(
            replicas.contains("00:00:00:00:00:00 dst 192.0.2.2 self"),
            arrives,
            "{replicas}"
        );
        lab.within("db", "sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=0").ok();
        for (to, how) in [("10.5.255.255", "-b"), ("224.0.0.1", "-I eth0")] {
            let asked = lab.within("web", &format!("ping {how} -c 3 -i 0.2 -W 1 {to} || :")).ok();
            assert_eq!(asked.contains("from 10.5.0.3"), arrives, "{more} {to}: {asked}");
        }
        // Both ways, known addresses are reached.
        lab.serve_ports("db", &[80]);
        lab.reaches("web", "tcp 10.5.0.3:80", "db:80 from 10.5.0.2");
    }
}

#[test]
fn nobody_hears_the_gateway_of_another_host_or_takes_its_place() {
    let lab = joined(2, CLUSTER, &["web", "db"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    until_at(&lab, "h2", "10.5.0.2", Some("192.0.2.1"));
    // Without its own gateway, nobody answers for it, though the other host has it, too.
    let pid = agent(&lab, "h1");
    lab.sh(&format!("kill -STOP {pid}")).ok();
    of(&lab, "h1", "ip addr del 10.5.0.1/16 dev pods");
    let asked = lab
        .within("web", "ip neigh flush dev eth0; ping -c 1 -W 1 10.5.0.1; ip neigh show 10.5.0.1");
    assert!(!asked.stdout.contains("REACHABLE"), "{}", asked.stdout);
    lab.sh(&format!("kill -CONT {pid}")).ok();
    lab.until("nsenter --net=/run/netns/h1 ip -br addr show pods | grep -q 10.5.0.1/16");
    // An endpoint that claims the gateway's address is heard by nobody on other hosts.
    let mac = mac_of_gateway(&lab, "h1");
    lab.within("web", "ip addr add 10.5.0.1/32 dev eth0; sysctl -qw net.ipv4.conf.eth0.arp_notify=1; ip link set eth0 down; ip link set eth0 up").ok();
    let seen = lab.within("db", "ping -c 1 -W 1 10.5.0.1 >/dev/null; ip neigh show 10.5.0.1").ok();
    assert!(seen.contains(&mac), "{seen}, and the gateway is {mac}");
    // A hostile host cannot have it by the store either.
    let value = format!(r#"'{{"host":"192.0.2.9","node":"x","mac":"{mac}","name":"evil"}}'"#);
    for address in ["10.5.0.1", "10.5.0.77", "10.6.0.1"] {
        lab.etcdctl(&format!("put /netcord/pods/x-netcord/endpoints/{address} {value}")).ok();
    }
    lab.until(&format!("nsenter --net=/run/netns/h1 {NETCORD} --format json peers pods | grep -q 'which each host has itself'"));
    let fdb = of(&lab, "h1", "bridge fdb show dev vx-pods");
    assert!(!fdb.contains("192.0.2.9"), "{fdb}");
}

#[test]
fn flat_networks_on_the_same_hosts_do_not_reach_each_other() {
    let lab = joined(2, CLUSTER, &["web", "db", "red", "blue"]);
    lab.on("h1", &format!("overlay other --store {STORE} --flat --subnet 10.6.0.0/16")).ok();
    lab.on("h2", &format!("overlay other --store {STORE}")).ok();
    let config = lab.etcdctl("get --print-value-only /netcord/other/config").ok();
    assert!(config.contains(r#""VNI":4097"#), "{config}");
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    lab.on("h1", "attach other red").ok();
    lab.on("h2", "attach other blue").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    for (place, port) in [("db", 80), ("blue", 80)] {
        lab.serve_ports(place, &[port]);
    }
    lab.until("nsenter --net=/run/netns/h1 ip neigh show 10.6.0.3 dev vx-other | grep -q .");
    lab.reaches("web", "tcp 10.5.0.3:80", "db:80 from 10.5.0.2");
    lab.reaches("red", "tcp 10.6.0.3:80", "blue:80 from 10.6.0.2");
    lab.does_not_reach("web", "tcp 10.6.0.3:80");
    lab.does_not_reach("red", "tcp 10.5.0.3:80");
    // Not even one that pretends to be in the other's subnet, with a route of its own.
    lab.within("red", "ip addr add 10.5.0.66/16 dev eth0; ip route add 10.5.0.3 dev eth0").ok();
    lab.does_not_reach("red", "tcp 10.5.0.3:80");
    // The same VNI is refused.
    lab.on("h1", &format!("overlay third --store {STORE} --flat --subnet 10.7.0.0/16 --vni 4096"))
        .fails(4, &["VNI 4096 is that of the network under `/netcord/pods`"]);
    assert_eq!(lab.etcdctl("get --keys-only --prefix /netcord/third").ok(), "");
}

#[test]
fn no_endpoint_speaks_with_the_address_of_another_host() {
    let lab = joined(2, &format!("{CLUSTER} --no-spoof"), &["web", "db"]);
    lab.on("h2", "rm pods").ok();
    lab.on("h2", &join("--no-spoof")).ok();
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    until_at(&lab, "h2", "10.5.0.2", Some("192.0.2.1"));
    lab.serve_ports("db", &[80]);
    lab.reaches("web", "tcp 10.5.0.3:80", "db:80 from 10.5.0.2");
    lab.within(
        "web",
        "ip addr add 10.5.0.99/16 dev eth0; ip route add 10.5.0.3 dev eth0 src 10.5.0.99",
    )
    .ok();
    lab.does_not_reach("web", "tcp 10.5.0.3:80");
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let lab = Lab::new();
    lab.hosts(2).netns(&["web", "other"]);
    lab.etcd();
    let before = lab.snapshot_of("h1");
    for (words, code, why) in [
        ("overlay pods --flat --subnet 10.5.0.0/16", 2, "--store"),
        (&*join("--flat"), 2, "--subnet"),
        (&*join("--flat --subnet 10.5.0.0/16 --host-subnet-len 24"), 2, "exclude each other"),
        (&*join("--flat --subnet 10.5.0.0/16 --backend host-gw"), 2, "backend vxlan"),
        (&*join("--flat --subnet 10.5.0.0/16 --subnet 10.6.0.0/16"), 2, "two of one IP family"),
        (&*join("--multicast --subnet 10.5.0.0/16"), 2, "--flat"),
        (&*join("--flat --subnet 10.5.0.0/16 --gateway 10.6.0.1"), 2, "10.6.0.1"),
    ] {
        lab.on("h1", words).fails(code, &[why]);
    }
    assert_eq!(lab.etcdctl("get --keys-only --prefix /netcord").ok(), "");
    assert_eq!(lab.snapshot_of("h1"), before);
    lab.on("h1", &join(&format!("{CLUSTER} --gateway 10.5.0.254"))).ok();
    lab.on("h2", &join("--flat --subnet 10.6.0.0/16"))
        .fails(4, &["subnet is 10.5.0.0/16, not 10.6.0.0/16"]);
    lab.on("h2", &join("--flat --subnet 10.5.0.0/16 --multicast"))
        .fails(4, &["multicast is false, not true"]);
    lab.on("h2", &join("")).ok();
    assert!(of(&lab, "h2", "ip -br addr show pods").contains("10.5.0.254/16"));
    lab.on("h1", "attach pods web --dhcp").fails(2, &["come from its store"]);
    lab.on("h1", "attach pods web --takeover").fails(2, &["--ip"]);
    lab.on("h1", "attach pods web --ip 10.6.0.9").fails(2, &["10.6.0.9"]);
    lab.on("h1", "attach pods web --ip 10.5.0.254").fails(4, &["gateway"]);
    assert_eq!(lab.etcdctl("get --keys-only --prefix /netcord/pods/x-netcord/endpoints").ok(), "");
    // Of what this host has itself, nothing is written again.
    assert_eq!(lab.on("h1", "attach pods web").ok(), "10.5.0.1");
    let revision = || lab.etcdctl("get -w fields --prefix /netcord/pods/x-netcord").ok();
    let before = revision();
    for more in ["", "--mac 02:00:00:00:00:99", "--takeover"] {
        lab.on("h1", &format!("attach pods other --ip 10.5.0.1 {more}"))
            .fails(4, &["10.5.0.1 is taken by `web`"]);
    }
    for ip in ["10.5.0.254", "10.6.0.9"] {
        assert_ne!(lab.on("h1", &format!("attach pods other --ip {ip}")).code, 0);
    }
    assert_eq!(revision(), before);
    // A routed network stays one.
    lab.on("h1", &format!("overlay nets --store {STORE} --subnet 10.8.0.0/16")).ok();
    lab.on("h2", &format!("overlay nets --store {STORE} --flat --subnet 10.8.0.0/16"))
        .fails(4, &["is not flat"]);
}

#[test]
fn the_printed_commands_make_the_network() {
    let lab = Lab::new();
    lab.hosts(1).netns(&["web"]);
    lab.etcd();
    for more in ["", "--multicast --subnet fd00:5::/64"] {
        let script =
            lab.on("h1", &format!("--dry-run {}", join(&format!("{CLUSTER} {more}")))).ok();
        assert_eq!(lab.etcdctl("get --keys-only --prefix /netcord").ok(), "", "nothing is written");
        let before = lab.snapshot_of("h1");
        lab.sh(&format!("nsenter --net=/run/netns/h1 sh -e <<'END'\n{script}\nEND\n")).ok();
        let is_record = |line: &str| line.starts_with("record ");
        let by_hand = lab.snapshot_of("h1").without(is_record);
        lab.on("h1", &join(&format!("{CLUSTER} {more}"))).ok();
        by_hand.assert_same(&lab.snapshot_of("h1").without(is_record), "made by netcord");
        // What is exported makes it again.
        let exported = lab.on("h1", "export").ok();
        assert!(exported.contains("--flat --subnet 10.5.0.0/16"), "{exported}");
        lab.on("h1", "rm pods").ok();
        assert_eq!(lab.snapshot_of("h1"), before);
        lab.etcdctl("del --prefix /netcord").ok();
    }
}

#[test]
fn a_lost_record_is_rebuilt_from_the_marks() {
    let lab = joined(2, CLUSTER, &["web", "db"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    let pid = agent(&lab, "h1");
    lab.sh(&format!("kill -9 {pid}; rm -f /run/netcord/*/network-pods.json")).ok();
    let shown = lab.on("h1", "--format json inspect pods").ok();
    assert!(shown.contains(r#""flat":"#) && shown.contains("10.5.0.2"), "{shown}");
    lab.on("h1", "repair").ok();
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    assert!(key_of(&lab, "10.5.0.2").contains("192.0.2.1"));
    lab.on("h1", "doctor").ok();
    lab.serve_ports("db", &[80]);
    lab.reaches("web", "tcp 10.5.0.3:80", "db:80 from 10.5.0.2");
}

#[test]
fn the_looking_verbs_know_the_other_hosts() {
    let lab = joined(3, CLUSTER, &["web", "db"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    lab.serve_ports("db", &[80]);
    until_at(&lab, "h1", "10.5.0.3", Some("192.0.2.2"));
    until_at(&lab, "h2", "10.5.0.2", Some("192.0.2.1"));
    let peers = lab.on("h1", "peers pods --check").ok();
    let rows: Vec<_> =
        peers.lines().map(|row| row.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(rows[1][..4], ["192.0.2.1", "10.5.0.0/16", "vxlan", "this"], "{peers}");
    assert_eq!(rows[2][..6], ["192.0.2.2", "1", "address", "vxlan", "vx-pods", "ok,"], "{peers}");
    assert_eq!(rows[3][..5], ["192.0.2.3", "0", "addresses", "vxlan", "vx-pods"], "{peers}");
    let graph = lab.on("h1", "graph").ok();
    assert!(graph.contains("vx-pods") && graph.contains("192.0.2.2"), "{graph}");
    // The output is folded at 80 columns.
    let unfolded = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let traced = unfolded(&lab.on("h1", "trace web 10.5.0.3:80").ok());
    let tunnel = "vx-pods: in a UDP packet to 192.0.2.2, port 8472 (VXLAN, VNI 4096)";
    assert!(traced.contains(tunnel) && traced.contains("arrives: db listens"), "{traced}");
    let nobody = unfolded(&lab.on("h1", "trace web 10.5.0.99").exits(1).stdout);
    assert!(nobody.contains("knows no endpoint of another host with 10.5.0.99"), "{nobody}");
    lab.on("h1", "doctor").ok();
    // Without the agent, the kernel says what it has.
    let pid = agent(&lab, "h1");
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until(&format!("! readlink /proc/{pid}/ns/net"));
    let peers = lab.on("h1", "peers pods").ok();
    assert!(peers.contains("netcord-agent does not run") && peers.contains("1 address"), "{peers}");
    for option in ["learning", "flood"] {
        of(&lab, "h1", &format!("ip link set vx-pods type bridge_slave {option} on"));
        lab.on("h1", "doctor").exits(1);
        of(&lab, "h1", &format!("ip link set vx-pods type bridge_slave {option} off"));
    }
    of(&lab, "h1", "bridge fdb del 02:42:0a:05:00:03 dev vx-pods master");
    let dead = unfolded(&lab.on("h1", "trace web 10.5.0.3:80").exits(1).stdout);
    assert!(dead.contains("flood of port vx-pods is off"), "{dead}");
    lab.on("h1", "doctor").exits(1);
    lab.on("h1", "repair").ok();
    lab.until("nsenter --net=/run/netns/h1 bridge fdb show dev vx-pods | grep -q '02:42:0a:05:00:03 master'");
    lab.on("h1", "doctor").ok();
}

#[test]
fn an_attach_that_is_killed_anywhere_leaves_no_address_behind() {
    let lab = joined(2, CLUSTER, &["web"]);
    let keys = etcdctl("get --prefix --keys-only /netcord/pods/x-netcord/endpoints");
    let (mut kills, mut is_killed) = (0, true);
    while is_killed {
        kills += 1;
        let strace = format!(
            "strace -qq -o /dev/null -e trace=sendto,sendmsg,write,rename \
             -e inject=sendto,sendmsg,write,rename:signal=KILL:when={kills}"
        );
        let attach =
            lab.sh(&format!("nsenter --net=/run/netns/h1 {strace} {NETCORD} attach pods web"));
        is_killed = attach.code != 0;
        // The usual verbs undo what was done, and the address is free again.
        lab.on("h1", "repair").ok();
        lab.on("h1", "detach pods web").ok();
        lab.until(&format!("! {keys} | grep -q ."));
        let links = lab.sh("ip -n web -br link").ok();
        assert!(!links.contains("eth0"), "{kills}: {links}");
    }
    assert!(kills > 20, "{kills}");
    assert_eq!(lab.on("h1", "attach pods web").ok(), "10.5.0.2");
}
