//! Overlay networks with a store while their parts fail: no packet is lost, and afterwards the hosts
//! are as if nothing had happened.

use crate::{
    overlay_store::{agent, of, until_routed},
    support::{Beats, Lab, STORE, Snapshot},
};

/// The third host, which comes and goes in the store; it is not there itself.
const THIRD: &str = "10.5.99.0/24";
const THIRD_ROUTED: &str = "10.6.99.0/24";

/// Writes the leases of the third host.
const PUT: [&str; 2] = [
    r#"put /netcord/pods/subnets/10.5.99.0-24 '{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"82:65:fc:26:2c:f1"}}'"#,
    r#"put /netcord/flat/subnets/10.6.99.0-24 '{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"host-gw"}'"#,
];
const DELETE: [&str; 2] =
    ["del /netcord/pods/subnets/10.5.99.0-24", "del /netcord/flat/subnets/10.6.99.0-24"];

/// Two hosts with two networks: `pods` by VXLAN, and `flat` by host-gw.
struct Hosts {
    lab: Lab,
    whole: [Snapshot; 2],
    /// The address of an endpoint of the second host in each network.
    addresses: [String; 2],
}

impl Hosts {
    fn new() -> Self {
        let lab = Lab::new();
        lab.hosts(2).netns(&["web1", "web2", "db1", "db2"]);
        lab.etcd();
        let join = |host: &str, network: &str, more: &str| {
            lab.on(host, &format!("overlay {network} --store {STORE} {more}")).ok()
        };
        join("h1", "pods", "--subnet 10.5.0.0/16");
        join("h1", "flat", "--subnet 10.6.0.0/16 --backend host-gw");
        let subnets = [join("h2", "pods", ""), join("h2", "flat", "")];
        let addresses = [("pods", "1"), ("flat", "2")].map(|(network, number)| {
            lab.on("h1", &format!("attach {network} web{number}")).ok();
            lab.on("h2", &format!("attach {network} db{number}")).ok()
        });
        until_routed(&lab, "h1", &subnets[0], "vx-pods");
        until_routed(&lab, "h1", &subnets[1], "eth0");
        for (number, address) in addresses.iter().enumerate() {
            lab.mirror(&format!("db{}", number + 1), &format!("{address}:7"));
        }
        let mut hosts =
            Self { whole: [lab.snapshot_of("h1"), lab.snapshot_of("h2")], lab, addresses };
        hosts.ping();
        hosts.whole = hosts.snapshots();
        hosts
    }

    fn ping(&self) {
        for (number, address) in self.addresses.iter().enumerate() {
            self.lab.reaches(&format!("web{}", number + 1), &format!("ping {address}"), "");
        }
    }

    fn snapshots(&self) -> [Snapshot; 2] {
        ["h1", "h2"].map(|host| self.lab.snapshot_of(host))
    }

    fn beats(&self) -> [Beats; 2] {
        [("web1", &self.addresses[0]), ("web2", &self.addresses[1])]
            .map(|(from, to)| self.lab.beats(from, &format!("{to}:7")))
    }

    fn store(&self, requests: [&str; 2]) {
        for request in requests {
            self.lab.etcdctl(request).ok();
        }
    }

    /// Waits until a host has the routes to the third one, or no longer.
    fn until_third(&self, host: &str, is_there: bool) {
        let not = if is_there { "" } else { "! " };
        for subnet in [THIRD, THIRD_ROUTED] {
            let routes = format!("nsenter --net=/run/netns/{host} ip route");
            self.lab.until(&format!("{not}{routes} | grep -q '^{subnet}'"));
        }
    }

    /// The third host comes and goes, which shows that both hosts follow the store; then they are as
    /// they were before any fault.
    #[track_caller]
    fn are_whole(&self, after: &str) {
        self.store(PUT);
        for host in ["h1", "h2"] {
            self.until_third(host, true);
        }
        self.store(DELETE);
        for host in ["h1", "h2"] {
            self.until_third(host, false);
        }
        for (before, now) in self.whole.iter().zip(self.snapshots()) {
            before.assert_same(&now, after);
        }
        self.ping();
    }
}

/// Each datagram came back.
#[track_caller]
fn are_all_there(beats: [Beats; 2], during: &str) {
    for beats in beats {
        let (sent, lost) = beats.sent_and_lost();
        assert!(sent > 100 && lost == 0, "{during}: of {sent}, {lost} were lost");
    }
}

/// Kills the agents of both hosts 25 times each, while they follow a host that comes and goes. The
/// next command that changes something starts them again.
const KILLS: &str = "
    third() { ETCDCTL_API=3 ip netns exec world etcdctl --endpoints=STORE $1 /netcord/pods/subnets/10.5.99.0-24 ${2:+\"$2\"}; }
    lease='{\"PublicIP\":\"192.0.2.99\",\"PublicIPv6\":null,\"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"82:65:fc:26:2c:f1\"}}'
    for i in $(seq 25); do
        if [ $((i % 2)) = 1 ]; then third put \"$lease\" & else third del & fi
        for host in h1 h2; do
            sleep 0.0$(shuf -i 0-9 -n 1)
            for pid in $(pidof netcord-agent); do
                [ \"$(ip netns identify $pid)\" != $host ] || kill -9 $pid
            done
            ip netns exec $host NETCORD repair
        done
        wait
    done
    third del";

#[test]
fn no_packet_is_lost_and_no_trace_is_left_of_what_fails() {
    let hosts = Hosts::new();
    let lab = &hosts.lab;

    let beats = hosts.beats();
    let kills = KILLS.replace("STORE", STORE).replace("NETCORD", crate::support::NETCORD);
    lab.sh(&kills).ok();
    are_all_there(beats, "agents are killed");
    hosts.are_whole("agents were killed");

    // The first host and the store do not reach each other; the second one reaches both.
    let beats = hosts.beats();
    let isolate = |switch: &str| {
        for port in ["p-h1", "p-world"] {
            lab.sh(&format!("bridge link set dev {port} isolated {switch}")).ok();
        }
    };
    isolate("on");
    hosts.store(PUT);
    hosts.until_third("h2", true);
    let routes = of(lab, "h1", "ip route");
    assert!(!routes.contains(THIRD), "the first host is cut off: {routes}");
    lab.on("h1", "repair").ok();
    isolate("off");
    hosts.until_third("h1", true);

    // etcd stands still, and so does an agent that is killed meanwhile.
    lab.sh("kill -STOP $(pidof etcd)").ok();
    lab.sh(&format!("kill -9 {}", agent(lab, "h1"))).ok();
    lab.on("h1", "repair").ok();
    lab.sh("kill -CONT $(pidof etcd)").ok();
    are_all_there(beats, "the store is out of reach");
    hosts.are_whole("the store was out of reach");

    // An agent stands still for longer than its lease lasts: what etcd does then is done to the lease
    // at once. The other host forgets this one, and both go on as before.
    let pid = agent(lab, "h2");
    lab.sh(&format!("kill -STOP {pid}")).ok();
    let subnet = format!("{}.0/24", hosts.addresses[0].rsplit_once('.').unwrap().0);
    lab.sh(&format!(
        "etcdctl() {{ ETCDCTL_API=3 ip netns exec world etcdctl --endpoints={STORE} \"$@\"; }}
         for network in pods flat; do
             hex=$(etcdctl get --prefix /netcord/$network/x-netcord/nodes/192.0.2.2 -w fields |
                 sed -n 's/^\"Lease\" : //p')
             etcdctl lease revoke $(printf %x $hex)
         done"
    ))
    .ok();
    lab.until(&format!("! nsenter --net=/run/netns/h1 ip route | grep -q '^{subnet}'"));
    lab.sh(&format!("kill -CONT {pid}")).ok();
    until_routed(lab, "h1", &subnet, "vx-pods");
    hosts.are_whole("an agent stood still");

    // The link to the other hosts flaps, and with it go the routes by which they are next hops.
    of(
        lab,
        "h1",
        "sh -c 'ip link set eth0 down; ip link set eth0 up
             ip addr add fe80::1/64 nodad dev eth0; ip addr add 2001:db8::1/64 nodad dev eth0
             ip route add default via 192.0.2.254; ip -6 route add default via 2001:db8::fe'",
    );
    let flat = format!("{}.0/24", hosts.addresses[1].rsplit_once('.').unwrap().0);
    until_routed(lab, "h1", &flat, "eth0");
    hosts.are_whole("the link flapped");
}
