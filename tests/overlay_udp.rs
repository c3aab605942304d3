//! Overlay networks with flannel's UDP backend: a process on each host, the relay, carries the packets.

use serde_json::Value;

use crate::{
    overlay::path,
    overlay_store::{agent, of, until_routed},
    support::{FIREWALLS, Lab, NETCORD, STORE},
};

const ONE: &str = "overlay pods --backend udp --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
                   --peer 10.5.2.0/24=192.0.2.2";
const TWO: &str = "overlay pods --backend udp --subnet 10.5.0.0/16 --host-subnet 10.5.2.0/24 \
                   --peer 10.5.1.0/24=192.0.2.1";

/// Two hosts with a network, `web` on the first and `db` on the second.
fn two_hosts(firewall: &str) -> Lab {
    let lab = Lab::new();
    lab.hosts(2).netns(&["web", "db"]);
    for (host, words, target) in [("h1", ONE, "web"), ("h2", TWO, "db")] {
        // A strict host: its sources are checked, and what is not accepted is dropped.
        lab.sh(&format!(
            "nsenter --net=/run/netns/{host} sh -euc 'sysctl -qw net.ipv4.conf.all.rp_filter=1 \
             net.ipv4.conf.default.rp_filter=1; iptables -P FORWARD DROP'"
        ))
        .ok();
        lab.on(host, &format!("--firewall {firewall} {words}")).ok();
        lab.on(host, &format!("attach pods {target}")).ok();
    }
    lab
}

/// This host's row of `peers`.
#[track_caller]
fn own(lab: &Lab, host: &str) -> Value {
    let printed = lab.on(host, "--format json peers pods").ok();
    serde_json::from_str::<Value>(&printed).unwrap()[0].clone()
}

/// The relay of a host.
#[track_caller]
fn relay(lab: &Lab, host: &str) -> String {
    own(lab, host)["relay"]["pid"].as_u64().unwrap().to_string()
}

/// Kills a process, and waits for that.
#[track_caller]
fn kill(lab: &Lab, pid: &str) {
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until(&format!("! readlink /proc/{pid}/ns/net"));
}

#[test]
fn endpoints_on_different_hosts_reach_each_other_through_the_relay() {
    for firewall in FIREWALLS {
        let lab = two_hosts(firewall);
        let again = lab.on("h1", &format!("--firewall {firewall} --format json {ONE}")).ok();
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["changed"], false);
        for (name, other, to, from) in
            [("web", "db", "10.5.2.2", "10.5.1.2"), ("db", "web", "10.5.1.2", "10.5.2.2")]
        {
            lab.serve_ports(other, &[80]);
            for how in ["tcp", "udp"] {
                let answer = format!("{other}:80 from {from}");
                lab.reaches(name, &format!("{how} {to}:80"), &answer);
            }
        }
        lab.reaches("h1", "ping 10.5.2.2", "");
        // The largest packet passes whole, and what is larger is said to be too large.
        lab.within("web", "ping -q -M do -c1 -W2 -s 1444 10.5.2.2").ok();
        lab.within("web", "ping -q -M do -c1 -W2 -s 1445 10.5.2.2").exits(1);
        lab.within("web", "ping -q -c1 -W2 -s 4000 10.5.2.2").ok();
        // The world is reached by the host's address, and does not get in.
        lab.serve_ports("world", &[80]);
        lab.reaches("web", "tcp 192.0.2.254:80", "world:80 from 192.0.2.1");
        lab.sh("ip -n world route add 10.5.0.0/16 via 192.0.2.1").ok();
        lab.does_not_reach("world", "tcp 10.5.1.2:80");
        lab.on("h1", "doctor").ok();
        assert_eq!(lab.on("h1", "repair --check").ok(), "");
        lab.on("h1", "peers pods --check").ok();
    }
}

#[test]
fn a_datagram_is_one_packet_as_flannel_sends_it() {
    let lab = two_hosts("nftables");
    let capture = lab.capture("h2", "eth0", 8285, 1);
    lab.within("web", "ping -q -c1 -W2 10.5.2.2").ok();
    let frame = &capture.frames()[0];
    let (outer, udp, inner) = (&frame[14..34], &frame[34..42], &frame[42..]);
    assert_eq!((&outer[12..16], &outer[16..20]), (&[192, 0, 2, 1][..], &[192, 0, 2, 2][..]));
    assert_eq!(
        (&udp[0..2], &udp[2..4]),
        (&8285_u16.to_be_bytes()[..], &8285_u16.to_be_bytes()[..])
    );
    assert_eq!(inner[0], 0x45, "an IPv4 packet, and nothing before it");
    assert_eq!((&inner[12..16], &inner[16..20]), (&[10, 5, 1, 2][..], &[10, 5, 2, 2][..]));
    // The host forwards it, and the relay counts as a router, too.
    assert_eq!(inner[8], 62);
}

#[test]
fn packets_pass_while_the_agent_is_killed_and_hardly_wait_for_a_new_relay() {
    let lab = two_hosts("nftables");
    lab.mirror("db", "10.5.2.2:7");
    // The agent is killed: the relay does not notice.
    let beats = lab.beats("web", "10.5.2.2:7");
    let former = relay(&lab, "h1");
    kill(&lab, &agent_alone(&lab, "h1"));
    assert_eq!(own(&lab, "h1")["relay"]["runs"], true);
    let report = lab.on("h1", "doctor").exits(1).stdout;
    assert!(report.contains("it is not started again"), "{report}");
    let (sent, lost) = beats.sent_and_lost();
    assert_eq!(lost, 0, "of {sent}");
    // The next agent starts a relay of its own version.
    let beats = lab.beats("web", "10.5.2.2:7");
    lab.on("h1", "repair").ok();
    lab.until(&format!("! readlink /proc/{former}/ns/net"));
    lab.on("h1", "doctor").ok();
    let (sent, lost) = beats.sent_and_lost();
    assert!(lost <= 100, "{lost} of {sent}");
    // The relay is killed: the agent starts it again.
    let beats = lab.beats("web", "10.5.2.2:7");
    let former = relay(&lab, "h1");
    kill(&lab, &former);
    lab.until_within("h1", "ip link show dev tu-pods | grep -q LOWER_UP");
    lab.reaches("web", "ping 10.5.2.2", "");
    let (sent, lost) = beats.sent_and_lost();
    assert!(lost <= 100, "{lost} of {sent}");
    assert_ne!(relay(&lab, "h1"), former);
}

/// The agent of a host, without its relay.
fn agent_alone(lab: &Lab, host: &str) -> String {
    let relay = relay(lab, host);
    let all = agent(lab, host);
    let mut others = all.lines().filter(|pid| *pid != relay);
    others.next().unwrap().to_owned()
}

#[test]
fn damage_is_told_and_repaired() {
    let lab = two_hosts("nftables");
    lab.serve_ports("db", &[80]);
    let whole = lab.snapshot_of("h1");
    for damage in [
        "ip link del tu-pods",
        "ip link set tu-pods down",
        "ip link set tu-pods mtu 1300",
        "ip route del 10.5.2.0/24",
        "ip addr flush dev tu-pods",
        "kill -9 $AGENTS",
    ] {
        let agents = agent(&lab, "h1").replace('\n', " ");
        let damage = damage.replace("$AGENTS", &agents);
        lab.sh(&format!("nsenter --net=/run/netns/h1 {damage}")).ok();
        lab.on("h1", "repair --check").exits(1);
        lab.on("h1", "doctor").exits(1);
        lab.on("h1", "repair").ok();
        whole.assert_same(&lab.snapshot_of("h1"), &damage);
        assert_eq!(lab.on("h1", "repair --check").ok(), "", "{damage}");
        lab.on("h1", "doctor").ok();
        lab.reaches("web", "tcp 10.5.2.2:80", "db:80 from 10.5.1.2");
    }
}

#[test]
fn what_the_relay_lacks_is_told() {
    let lab = Lab::new();
    lab.hosts(1);
    lab.sh(&format!(
        "NETCORD_RELAY_OFF=tun,send,receive nsenter --net=/run/netns/h1 {NETCORD} {ONE}"
    ))
    .ok();
    let lacks = "slow, no segmentation offload on the TUN link, no segmentation of what is sent \
                 (UDP_SEGMENT), no merging of what is received (UDP_GRO)";
    let table = lab.on("h1", "peers pods").ok();
    assert!(table.contains(&format!("ok, relay: {lacks}")), "{table}");
    let report = lab.on("h1", "doctor").exits(1).stdout;
    assert!(report.contains("the network's relay: slow") && report.contains("UDP_GRO"), "{report}");
}

#[test]
fn a_host_without_tun_links_is_told_so() {
    let lab = Lab::new();
    lab.hosts(1);
    let before = lab.snapshot_of("h1");
    lab.sh(&format!(
        "unshare -m sh -ec 'mount -t tmpfs -o ro none /dev/net; \
         exec nsenter --net=/run/netns/h1 {NETCORD} {ONE}'"
    ))
    .fails(6, &["no TUN links here", "modprobe tun"]);
    before.assert_same(&lab.snapshot_of("h1"), "nothing is left");
}

#[test]
fn all_of_it_goes_with_the_network() {
    let lab = Lab::new();
    lab.hosts(1);
    let before = lab.snapshot_of("h1");
    lab.on("h1", ONE).ok();
    lab.on("h1", &ONE.replace("10.5.", "10.6.").replace("pods", "two"))
        .fails(4, &["UDP port 8285, the tunnel's, is that of network `pods`", "--port"]);
    let other = ONE.replace("10.5.2.0/24=192.0.2.2", "10.5.3.0/24=192.0.2.3");
    lab.on("h1", &other).ok();
    assert!(of(&lab, "h1", "ip route").contains("10.5.3.0/24 via 192.0.2.3 dev tu-pods"));
    lab.on("h1", "rm pods").ok();
    before.assert_same(&lab.snapshot_of("h1"), "removed");
    lab.until("! pidof netcord-agent");
}

#[test]
fn a_path_goes_through_the_relay() {
    let lab = two_hosts("nftables");
    lab.serve_ports("db", &[80]);
    let way = path(&lab.on("h1", "--format json trace web 10.5.2.2:80").ok());
    let mut rest = way.as_str();
    for part in [
        "by tu-pods via 192.0.2.2",
        "tu-pods: the relay sends it in a UDP packet to 192.0.2.2, port 8285",
        "192.0.2.1 -> 192.0.2.2 by eth0",
        "the relay takes the packet out of it, and writes it to tu-pods",
        "10.5.1.2 -> 10.5.2.2 by pods",
        "listens on 80/tcp",
        "tu-pods: the relay sends it in a UDP packet to 192.0.2.1, port 8285",
        "web gets the answer",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not next in\n{way}"));
        rest = &rest[at + part.len()..];
    }
    lab.sh(&format!("kill -STOP {0}; kill -9 {1}", agent_alone(&lab, "h1"), relay(&lab, "h1")))
        .ok();
    lab.until_within("h1", "! ip link show dev tu-pods | grep -q LOWER_UP");
    let way = path(&lab.on("h1", "--format json trace web 10.5.2.2:80").exits(1).stdout);
    assert!(way.contains("the network's relay does not run"), "{way}");
}

#[test]
fn hosts_find_each_other_in_etcd() {
    let lab = Lab::new();
    lab.hosts(2).netns(&["web", "db"]);
    lab.etcd();
    let join = format!("overlay pods --store {STORE} --prefix /coreos.com/network");
    let one = lab.on("h1", &format!("{join} --subnet 10.5.0.0/16 --backend udp")).ok();
    let two = lab.on("h2", &join).ok();
    let config = lab.etcdctl("get --print-value-only /coreos.com/network/config").ok();
    assert_eq!(config, r#"{"Backend":{"Type":"udp"},"Network":"10.5.0.0/16","SubnetLen":24}"#);
    let key = one.replace('/', "-");
    let lease =
        lab.etcdctl(&format!("get --print-value-only /coreos.com/network/subnets/{key}")).ok();
    assert_eq!(lease, r#"{"PublicIP":"192.0.2.1","PublicIPv6":null}"#, "as flanneld writes it");
    until_routed(&lab, "h1", &two, "via 192.0.2.2 dev flannel0");
    lab.on("h1", "attach pods web").ok();
    let db = lab.on("h2", "attach pods db").ok();
    lab.serve_ports("db", &[80]);
    let web = one.replace(".0/24", ".2");
    lab.reaches("web", &format!("tcp {db}:80"), &format!("db:80 from {web}"));
    let table = lab.on("h1", "peers pods").ok();
    assert!(table.contains("joined, lease 23:59:") && table.contains("flannel0"), "{table}");
    lab.on("h1", "doctor").ok();
    // One that leaves is not reached any more; a link that is deleted comes back by itself.
    lab.sh("nsenter --net=/run/netns/h1 ip link del flannel0").ok();
    until_routed(&lab, "h1", &two, "via 192.0.2.2 dev flannel0");
    lab.reaches("web", &format!("tcp {db}:80"), &format!("db:80 from {web}"));
    lab.on("h2", "detach pods db").ok();
    lab.on("h2", "rm pods").ok();
    lab.until(&format!("! nsenter --net=/run/netns/h1 ip route | grep -q '^{two}'"));
}
