//! Firewalls of others on the same host: what of ours works beside them, what of theirs still holds,
//! and what a reload of theirs leaves. With docker and podman, see `engines`.

use std::thread;

use crate::support::{FIREWALLS, Lab, Snapshot};

/// A host with a neighbour, whose bridged frames meet the firewall too, and who serves port 81 of
/// its own.
fn host(firewall: &'static str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.sh("for key in iptables ip6tables; do
                echo 1 >/proc/sys/net/bridge/bridge-nf-call-$key
            done
            # Who routes to endpoints gets no further than who does not.
            ip -n outside route add 10.1.0.0/24 via 192.0.2.1
            ip -n outside -6 route add fd00:1::/64 via 2001:db8::1")
        .ok();
    lab.serve_ports("host", &[81]);
    lab.serve_ports("outside", &[80]);
    lab
}

/// A network lab0, and `web` (.2) and `db` (.3) on it; `web` has a published port.
fn network(lab: &Lab) {
    make(lab);
    lab.serve_ports("web", &[80, 82]);
    lab.serve_ports("db", &[80]);
}

fn make(lab: &Lab) {
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
    lab.netcord("attach lab0 web db").ok();
    lab.netcord("publish web 8080:80").ok();
}

/// What was asked for works, and nothing else.
#[track_caller]
fn works(lab: &Lab) {
    for (outside, neighbour, port) in [
        ("192.0.2.2", "10.1.0.3", "192.0.2.1:8080"),
        ("[2001:db8::2]", "[fd00:1::3]", "[2001:db8::1]:8080"),
    ] {
        assert!(lab.call("web", &format!("tcp {outside}:80"), 5).is_some(), "{outside} from web");
        assert!(lab.call("web", &format!("tcp {neighbour}:80"), 5).is_some(), "{neighbour}");
        assert!(lab.call("outside", &format!("tcp {port}"), 5).is_some(), "{port} from outside");
        assert!(lab.call("db", &format!("tcp {port}"), 5).is_some(), "{port} from a neighbour");
    }
    none_is_answered(lab, &[("outside", "10.1.0.2:82"), ("outside", "[fd00:1::2]:82")]);
}

/// None of these calls is answered. Each takes its time, so they are made at once.
#[track_caller]
fn none_is_answered(lab: &Lab, calls: &[(&str, &str)]) {
    let answered: Vec<_> = thread::scope(|scope| {
        let call = |(from, to): &(&str, &str)| lab.call(from, &format!("tcp {to}"), 1).is_some();
        let calls: Vec<_> = calls.iter().map(|c| (c, scope.spawn(move || call(c)))).collect();
        calls.into_iter().filter_map(|(c, call)| call.join().unwrap().then_some(c)).collect()
    });
    assert!(answered.is_empty(), "answered: {answered:?}");
}

/// Everything is taken away again.
#[track_caller]
fn remove(lab: &Lab) {
    lab.netcord("detach lab0 web db").ok();
    lab.netcord("rm lab0").ok();
}

/// Without firewalld's own chains: it makes those of a zone when the zone is first used, and keeps
/// them.
fn snapshot(lab: &Lab) -> Snapshot {
    let is_firewalls = |name: &str| name.split(' ').next().is_some_and(|name| name.contains('_'));
    lab.snapshot().without(|line| line.strip_prefix("nft chain ").is_some_and(is_firewalls))
}

/// A host whose firewall is somebody else's.
struct Story {
    /// Makes it so.
    start: fn(&Lab),
    /// The owner's command that makes all rules anew.
    reload: &'static str,
    /// It leaves everything of ours.
    spares: bool,
    /// The host's own port 81 is closed to outside.
    closes: bool,
    /// What the firewall says of itself, which is to be the same when we are gone.
    state: &'static str,
}

impl Story {
    fn play(&self) {
        for firewall in FIREWALLS {
            self.play_with(firewall);
        }
    }

    fn play_with(&self, firewall: &'static str) {
        let lab = host(firewall);
        (self.start)(&lab);
        // Some write a little more the second time.
        lab.sh(self.reload).ok();
        // Forwarding stays on, and is no part of what is compared.
        lab.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").ok();
        let (before, state) = (snapshot(&lab), lab.sh(self.state).ok());
        network(&lab);
        self.holds(&lab);
        lab.sh(self.reload).ok();
        if !self.spares {
            make(&lab);
        }
        self.holds(&lab);
        assert!(lab.netcord("--format json bridge lab0").ok().contains("\"changed\":false"));
        remove(&lab);
        before.assert_same(&snapshot(&lab), "after rm");
        assert_eq!(lab.sh(self.state).ok(), state);
    }

    #[track_caller]
    fn holds(&self, lab: &Lab) {
        works(lab);
        if self.closes {
            lab.does_not_reach("outside", "tcp 192.0.2.1:81");
        }
    }
}

const UFW: Story = Story {
    start: Lab::start_ufw,
    reload: "ufw reload",
    spares: true,
    closes: true,
    state: "ufw status verbose",
};

const FIREWALLD: Story = Story {
    start: |lab| lab.start_firewalld("nftables"),
    reload: "firewall-cmd --reload",
    spares: false,
    closes: true,
    state: "firewall-cmd --list-all-zones; nft list ruleset | grep lab0 || true",
};

#[test]
fn beside_ufw() {
    UFW.play();
}

#[test]
fn beside_ufw_that_rejects() {
    let start = |lab: &Lab| {
        lab.start_ufw();
        lab.sh("ufw default reject routed").ok();
    };
    Story { start, ..UFW }.play();
}

#[test]
fn what_ufw_denies_to_be_routed_stays_denied() {
    for routed in ["deny", "reject"] {
        let lab = host("nftables");
        lab.start_ufw();
        lab.sh(&format!("ufw default {routed} routed")).ok();
        lab.sh("ufw route deny in on lab0 to any port 85 proto tcp").ok();
        network(&lab);
        works(&lab);
        lab.serve_ports("outside", &[85]);
        none_is_answered(&lab, &[("web", "192.0.2.2:85"), ("web", "[2001:db8::2]:85")]);
    }
}

#[test]
fn beside_firewalld() {
    FIREWALLD.play();
}

#[test]
fn beside_firewalld_that_uses_iptables() {
    let start = |lab: &Lab| lab.start_firewalld("iptables");
    Story { start, ..FIREWALLD }.play();
}

/// Rules whose last one is for everything that is left.
const REJECT_AT_THE_END: &str = "for t in iptables ip6tables; do
    $t -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $t -A FORWARD -j REJECT
done";

/// docker's, as it leaves them, ahead of such a rule; the host's owner dropped somebody.
const DOCKER_USER_AND_REJECT: &str = "for t in iptables ip6tables; do
    $t -N DOCKER-USER; $t -A FORWARD -j DOCKER-USER
    $t -A DOCKER-USER -p tcp --dport 85 -j DROP; $t -A DOCKER-USER -j RETURN
    $t -A FORWARD -j REJECT
done";

/// Traffic that netcord forbids stays forbidden beside its accept rules in other firewalls.
#[track_caller]
fn closed_stays_closed(start: impl Fn(&Lab)) {
    for firewall in FIREWALLS {
        closed_with(firewall, &start);
    }
}

#[track_caller]
fn closed_with(firewall: &'static str, start: impl Fn(&Lab)) {
    let lab = host(firewall);
    start(&lab);
    network(&lab);
    lab.netns(&["inner", "a", "b"]);
    lab.netcord("bridge in0 --internal --subnet 10.2.0.0/24 --subnet fd00:2::/64").ok();
    lab.netcord("bridge iso0 --isolate --subnet 10.3.0.0/24 --subnet fd00:3::/64").ok();
    lab.netcord("attach in0 inner").ok();
    lab.netcord("attach iso0 a b").ok();
    lab.serve_ports("inner", &[80]);
    lab.serve_ports("b", &[80]);
    // Root inside knows the way, and takes the host for everybody's neighbour.
    lab.sh("ip -n inner route add default via 10.2.0.1
            ip -n inner -6 route add default via fd00:2::1
            ip -n outside route add 10.2.0.0/24 via 192.0.2.1
            ip -n outside -6 route add fd00:2::/64 via 2001:db8::1
            mac=$(cat /sys/class/net/iso0/address)
            for n in a:2:3 b:3:2; do
                who=${n%%:*}; other=${n##*:}
                for ip in 10.3.0.$other fd00:3::$other; do
                    ip -n $who neigh replace $ip lladdr $mac dev eth0 nud permanent
                done
            done")
        .ok();
    works(&lab);
    lab.reaches("a", "tcp 192.0.2.2:80", "outside:80 from 192.0.2.1");
    let calls = [
        ("inner", "192.0.2.2:80"),
        ("inner", "[2001:db8::2]:80"),
        ("inner", "10.1.0.2:80"),
        ("outside", "10.2.0.2:80"),
        ("outside", "[fd00:2::2]:80"),
        ("a", "10.3.0.3:80"),
        ("a", "[fd00:3::3]:80"),
        ("a", "10.1.0.2:80"),
        ("a", "[fd00:1::2]:80"),
        ("outside", "10.1.0.2:80"),
    ];
    none_is_answered(&lab, &calls);
}

#[test]
fn what_is_closed_stays_closed_where_firewalld_trusts() {
    closed_stays_closed(|lab| lab.start_firewalld("nftables"));
}

#[test]
fn what_is_closed_stays_closed_ahead_of_firewalld_that_uses_iptables() {
    closed_stays_closed(|lab| lab.start_firewalld("iptables"));
}

#[test]
fn what_is_closed_stays_closed_ahead_of_a_reject() {
    closed_stays_closed(|lab| drop(lab.sh(REJECT_AT_THE_END).ok()));
}

#[test]
fn what_is_closed_stays_closed_in_dockers_chain() {
    closed_stays_closed(|lab| drop(lab.sh(DOCKER_USER_AND_REJECT).ok()));
}

#[test]
fn an_accept_stands_behind_what_the_hosts_owner_drops_in_dockers_chain() {
    let lab = host("nftables");
    lab.sh(DOCKER_USER_AND_REJECT).ok();
    network(&lab);
    works(&lab);
    lab.serve_ports("outside", &[85]);
    lab.does_not_reach("web", "tcp 192.0.2.2:85");
    let rules = lab.sh("iptables -S DOCKER-USER; ip6tables -S DOCKER-USER").ok();
    assert_eq!(rules.matches("netcord:lab0 ").count(), 4, "{rules}");
    remove(&lab);
    assert!(!lab.sh("iptables-save; ip6tables-save").ok().contains("netcord"));
}

#[test]
fn beside_rules_of_the_hosts_own() {
    let drop = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP";
    let both = FIREWALLS.map(|firewall| [(firewall, drop), (firewall, REJECT_AT_THE_END)]);
    for (firewall, rules) in both.into_iter().flatten() {
        let lab = host(firewall);
        lab.sh(rules).ok();
        lab.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").ok();
        let before = lab.snapshot();
        network(&lab);
        works(&lab);
        for flush in ["iptables -F; ip6tables -F", "nft flush ruleset"] {
            lab.sh(&format!("{flush}; {rules}")).ok();
            make(&lab);
            works(&lab);
        }
        lab.netcord("detach lab0 web db").ok();
        lab.sh("rm -r /run/netcord").ok();
        lab.netcord("rm lab0").ok();
        before.assert_same(&lab.snapshot(), "after rm");
    }
}

#[test]
fn to_publish_again_brings_back_what_somebody_flushed() {
    let flushes = [
        "iptables-save | grep -q . && for t in raw filter nat; do
             iptables -t $t -F; iptables -t $t -X; ip6tables -t $t -F; ip6tables -t $t -X
         done",
        "nft flush ruleset",
    ];
    for (firewall, flush) in FIREWALLS.into_iter().flat_map(|f| flushes.map(|flush| (f, flush))) {
        let lab = host(firewall);
        let rules = REJECT_AT_THE_END;
        lab.sh(rules).ok();
        network(&lab);
        lab.sh(&format!("{flush}; {rules}")).ok();
        lab.netcord("publish web 8080:80").ok();
        works(&lab);
        remove(&lab);
        assert!(
            !lab.sh("iptables-save; ip6tables-save; nft list ruleset").ok().contains("netcord")
        );
    }
}

/// What kube-proxy in its mode iptables writes for a service at 10.96.0.10 with a node port, and
/// writes again at every change (pkg/proxy/iptables).
const KUBE_PROXY: &str = r#"
*filter
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-TCOU7JCQXEZGVUNU - [0:0]
:KUBE-SEP-AYTZDTXYKDUVDNT2 - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-TCOU7JCQXEZGVUNU
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-SVC-TCOU7JCQXEZGVUNU
-A KUBE-SVC-TCOU7JCQXEZGVUNU -j KUBE-MARK-MASQ
-A KUBE-SVC-TCOU7JCQXEZGVUNU -j KUBE-SEP-AYTZDTXYKDUVDNT2
-A KUBE-SEP-AYTZDTXYKDUVDNT2 -p tcp -m tcp -j DNAT --to-destination 192.0.2.2:80
COMMIT
"#;

/// The jumps to its chains, which it puts in front.
const KUBE_PROXY_JUMPS: &str = "
    iptables -I FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
    iptables -I FORWARD -j KUBE-FORWARD
    iptables -I FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
    iptables -I FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
    iptables -I INPUT -j KUBE-FIREWALL; iptables -I OUTPUT -j KUBE-FIREWALL
    for chain in PREROUTING OUTPUT; do iptables -t nat -I $chain -j KUBE-SERVICES; done
    iptables -t nat -I POSTROUTING -j KUBE-POSTROUTING";

#[test]
fn beside_kube_proxys_rules() {
    for firewall in FIREWALLS {
        beside_kube_proxy(firewall);
    }
}

fn beside_kube_proxy(firewall: &'static str) {
    let lab = host(firewall);
    let sync = format!("iptables-restore --noflush <<'RULES'{KUBE_PROXY}RULES");
    lab.sh("iptables -P FORWARD DROP").ok();
    lab.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").ok();
    lab.sh(&format!("{sync}\n{KUBE_PROXY_JUMPS}")).ok();
    let before = lab.snapshot();
    network(&lab);
    let holds = || {
        works(&lab);
        for (from, to) in
            [("web", "10.96.0.10:80"), ("web", "192.0.2.1:30080"), ("outside", "192.0.2.1:30080")]
        {
            let answer = lab.call(from, &format!("tcp {to}"), 5);
            assert!(answer.is_some_and(|a| a.starts_with("outside:80")), "{to} from {from}");
        }
    };
    holds();
    // It syncs of itself, and nothing of ours is in its way.
    lab.sh(&sync).ok();
    holds();
    remove(&lab);
    before.assert_same(&lab.snapshot(), "after rm");
}

#[test]
fn a_zone_that_the_hosts_owner_chose_for_a_bridge_stays() {
    let lab = host("nftables");
    lab.start_firewalld("nftables");
    lab.sh("firewall-cmd --zone=dmz --add-interface=lab0").ok();
    network(&lab);
    let zone = "firewall-cmd --get-zone-of-interface=lab0";
    assert_eq!(lab.sh(zone).ok(), "dmz");
    lab.does_not_reach("web", "tcp 192.0.2.2:80");
    assert!(lab.call("outside", "tcp 192.0.2.1:8080", 5).is_some(), "what is published");
    remove(&lab);
    assert_eq!(lab.sh(zone).ok(), "dmz");
}

#[test]
fn a_chain_of_nftables_that_drops_is_told_of() {
    let lab = host("nftables");
    lab.sh("nft add table inet mine
            nft add chain inet mine forward '{ type filter hook forward priority 0; policy drop; }'")
        .ok();
    let run = lab.netcord("bridge lab0 --subnet 10.1.0.0/24").exits(0);
    assert!(run.stderr.contains("`inet mine forward`"), "{}", run.stderr);
    assert!(run.stderr.contains("iifname lab0"), "{}", run.stderr);
    assert!(!lab.netcord("rm lab0").exits(0).stderr.contains("warning"));
}
