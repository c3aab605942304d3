//! Random sequences of verbs, some of them killed and repeated, and of what others do to the host and
//! to the records, against a small model of what they should come to. After each: its exit code,
//! what `ls` and `ps` tell, and the kernel. After all: `repair` leaves nothing to mend, and when all is
//! removed, nothing is left.
//!
//! Sequences are numbered, and a number is always the same sequence. The test runs those from `SEED`
//! (0), `PROPTEST_CASES` (40) of them; with `RANDOM=1` it begins at a random number. A failure names
//! its sequence, and the others run on. To repeat sequence 1234:
//!
//! ```text
//! SEED=1234 PROPTEST_CASES=1 cargo test --test main model::any -- --nocapture
//! ```
//!
//! A verb is killed at a system call and not after a time, so the speed of the machine decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt,
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::Value;

use crate::support::{FIREWALLS, Lab, NETCORD, Run, marks};

/// The last one is a bridge that somebody else made.
const NETWORKS: [&str; 3] = ["lab0", "lab1", "lab9"];
/// How many of them are netcord's.
const OWN: usize = 2;
const FOREIGN: usize = 2;
const TARGETS: [&str; 4] = ["ns0", "ns1", "ns2", "ns3"];
/// Host address, host port, target port, protocol.
const PORTS: [(&str, u16, u16, &str); 6] = [
    ("", 8080, 80, "tcp"),
    ("", 8081, 80, "tcp"),
    ("", 8080, 81, "tcp"),
    ("127.0.0.1:", 8080, 80, "tcp"),
    ("", 8080, 80, "udp"),
    ("", 8053, 53, "udp"),
];
const OPS: usize = 15;
/// Sequences that run at the same time, each on its own host.
const THREADS: u32 = 2;

/// System calls of netcord at which it is killed, before they do anything, and how many of each a
/// verb makes at most.
const CALLS: [(&str, u8); 9] = [
    ("sendto", 24),
    ("recvfrom", 48),
    ("write", 4),
    ("pwrite64", 4),
    ("rename", 2),
    ("unlink", 3),
    ("setns", 6),
    ("clone3", 12),
    // Programs that it started run on.
    ("poll", 12),
];

/// What becomes of records: of network `$n`, or of all. The host is as before.
const DAMAGES: [(&str, &str); 10] = [
    ("lose the record", "rm -f $f"),
    ("lose a line", "sed -i 2d $f"),
    ("lose the last line", "sed -i '$d' $f"),
    ("tear the last line", "truncate -s -9 $f"),
    ("garble a line", "sed -i '2s/.*/{\"tar/' $f"),
    ("garble the head", "sed -i '1s/.*/x/' $f"),
    ("empty the record", ": > $f"),
    ("swap records", "mv $f $d/t; if [ -e $o ]; then mv $o $f; fi; mv $d/t $o"),
    ("copy a record over another", "cp $f $o"),
    ("remove the state directory", "rm -rf /run/netcord"),
];

/// What others do to what netcord made on network `$n`, and `repair` mends. Of netcord's
/// rules `$k` picks one.
const MISCHIEF: [(&str, &str); 22] = [
    ("delete the bridge", "ip link del $n"),
    ("unplug a port", "for p in $(ports | head -n 1); do ip link set $p nomaster; done"),
    ("take the bridge down", "ip link set $n down"),
    ("delete the bridge's addresses", "ip addr flush dev $n scope global"),
    ("stop forwarding", "sysctl -qw net/ipv4/ip_forward=0 net/ipv6/conf/all/forwarding=0"),
    ("take links inside down", "inner | while read -r t l; do ip -n $t link set $l down; done"),
    ("delete addresses inside", "inner | while read -r t l; do ip -n $t addr flush dev $l; done"),
    (
        "delete routes inside",
        "inner | while read -r t l; do ip -n $t route flush default; ip -n $t -6 route flush default; done",
    ),
    (
        "rename a link inside",
        "inner | head -n 1 | while read -r t l; do
        ip -n $t link set $l down; ip -n $t link set $l name x$l; ip -n $t link set x$l up; done",
    ),
    (
        "change a MAC inside",
        "inner | head -n 1 | while read -r t l; do
        ip -n $t link set $l address 02:00:00:00:00:99; done",
    ),
    ("delete the table", "nft delete table inet netcord || rules | sh"),
    ("flush all chains", "chains | sh"),
    ("flush a chain", "chains | one"),
    ("delete a rule", "rules | one"),
    ("delete a rule", "rules | one"),
    ("delete all elements", "elements | sh"),
    ("delete an element", "elements | one"),
    ("flush all rules of all programs", "nft flush ruleset"),
    (
        "restore saved rules on top of themselves",
        "for p in iptables ip6tables; do
        $p-save | $p-restore --noflush; done; table >/run/table; nft -f /run/table",
    ),
    ("move a rule to the end of its chain", "moved | one"),
    ("add a rule to a chain", "intruders | one"),
    ("add a rule to each chain", "intruders | sh"),
];

/// Mischief after which only the records tell what there was. What neither a record nor a mark holds
/// cannot be known.
const DESTROYS_MARKS: [&str; 10] = [
    "delete the bridge",
    "rename a link inside",
    "change a MAC inside",
    // The rules of published ports are all that shows these.
    "delete the table",
    "flush all chains",
    "flush a chain",
    "delete a rule",
    "delete all elements",
    "delete an element",
    "flush all rules of all programs",
];

/// What mischief is said with: `ports` of a network, the `inner` links of its endpoints with their
/// namespaces, and commands that take netcord's rules away, or
/// add others, a line each, in either firewall.
const HANDS: &str = r#"
ports() { ip -o link show master $n | grep -o 'nc[0-9a-f]*' | sort -u; }
inner() {
    ip -o link | sed -n "s,^[0-9]*: [^@]*@if\([0-9]*\):.* alias netcord:$n/\([^ \\]*\)$,\2 \1,p" |
        while read -r t i; do echo $t $(ip -n $t -o link | sed -n "s/^$i: \([^@:]*\).*/\1/p"); done
}
table() { nft -a list table inet netcord 2>/dev/null; }
chains() {
    table | awk '/^\tchain / { print "nft flush chain inet netcord " $2 }'
    for p in iptables ip6tables; do
        $p-save | awk -v p=$p '
            /^\*/ { t = substr($0, 2) }
            /^:NETCORD/ { print p " -t " t " -F " substr($1, 2) }'
    done
}
rules() {
    table | awk '
        /^\tchain / { c = $2 }
        /^\t\t.* # handle / { print "nft delete rule inet netcord " c " handle " $NF }'
    for p in iptables ip6tables; do
        $p-save | awk -v p=$p '
            /^\*/ { t = substr($0, 2) }
            /^-A .*netcord:/ { sub(/^-A/, "-D"); print p " -t " t " " $0 }'
    done
}
elements() {
    table | awk -v q="'" '
        /^\t(map|set) / { m = $2 }
        /elements = \{/ { sub(/.*elements = \{/, ""); is_element = 1 }
        is_element {
            is_element = !/}$/
            gsub(/^[ \t]+|[ \t]*[,}]$/, ""); sub(/ comment .*| : .*/, "")
            print "nft delete element inet netcord " m " " q "{ " $0 " }" q
        }'
    rules | grep ' publish ' || :
}
moved() { rules | sed -n '/^ip/s/\(.*\) -D \(.*\)/&; \1 -A \2/p'; }
intruders() { chains | sed 's/^nft flush chain \(.*\)/nft insert rule \1 accept/; s/ -F \(.*\)/ -I \1 -j ACCEPT/'; }
one() {
    all=$(cat); count=$(echo "$all" | grep -c .)
    [ $count = 0 ] || echo "$all" | sed -n "$((k % count + 1))p" | sh
}
"#;

/// The foreign bridge.
const MAKE_FOREIGN: &str = "ip link add lab9 address 02:00:00:00:00:09 type bridge
    ip addr add 10.2.0.1/24 dev lab9; ip addr add fd00:a2::1/64 nodad dev lab9; ip link set lab9 up";

/// How a network is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Options {
    Plain,
    Internal,
    Isolate,
    NoMasquerade,
    Open,
    TwoFamilies,
    /// Room for one endpoint.
    Tiny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Bridge(usize, Options),
    /// With the last number of the address, if it is asked for.
    Attach(usize, usize, Option<u8>),
    Detach(usize, usize),
    Publish(usize, usize),
    Unpublish(usize, usize),
    Rm(usize),
    Prune,
    Kill(usize),
    Revive(usize),
    /// Which network's, and what.
    Damage(usize, usize),
    /// On which network, what, and to which rule.
    Mischief(usize, usize, u8),
    /// Somebody adds a port of their own to a network, or takes it away.
    Plug(usize, bool),
    /// Somebody makes their bridge again, or deletes it.
    Foreign(bool),
    /// Somebody deletes the link of a target: its end on the host, or inside.
    Cut(usize, usize, bool),
}

/// An operation, and how it is done.
#[derive(Clone, Copy)]
struct Step {
    op: Op,
    /// It is killed there, and then done again.
    killed_at: Option<KillPoint>,
    /// After it was killed, `repair` comes instead.
    is_repaired: bool,
    twice: bool,
}

impl Step {
    fn of(op: Op) -> Self {
        Self { op, killed_at: None, is_repaired: false, twice: false }
    }

    fn ends_with_repair(&self) -> bool {
        let is_after_kill = self.killed_at.is_some() && self.is_repaired;
        is_after_kill || matches!(self.op, Op::Mischief(..) | Op::Foreign(true))
    }
}

/// Before the how many-th system call of this name.
#[derive(Clone, Copy, Debug)]
struct KillPoint(&'static str, u8);

impl Op {
    /// A command, or something that happens to the host.
    fn words(self) -> String {
        match self {
            Self::Bridge(n, options) => format!("bridge {} {}", NETWORKS[n], options.words(n)),
            Self::Attach(n, t, None) => format!("attach {} {}", NETWORKS[n], TARGETS[t]),
            Self::Attach(n, t, Some(last)) => {
                format!("attach {} {} --ip {}", NETWORKS[n], TARGETS[t], ipv4(n, last))
            }
            Self::Detach(n, t) => format!("detach {} {}", NETWORKS[n], TARGETS[t]),
            Self::Publish(t, p) => format!("publish {} {}", TARGETS[t], spec(p)),
            Self::Unpublish(t, p) => format!("unpublish {} {}", TARGETS[t], spec(p)),
            Self::Rm(n) => format!("rm {}", NETWORKS[n]),
            Self::Prune => "prune".into(),
            Self::Kill(t) => format!("ip netns del {}", TARGETS[t]),
            Self::Revive(t) => {
                format!("ip netns add {0}; ip -n {0} link set lo up", TARGETS[t])
            }
            Self::Damage(n, what) => {
                let (network, other) = (NETWORKS[n], NETWORKS[(n + 1) % NETWORKS.len()]);
                format!(
                    "d=$(echo /run/netcord/*); f=$d/network-{network}.json; \
                     o=$d/network-{other}.json; if [ -e $f ]; then {}; fi",
                    DAMAGES[what].1
                )
            }
            Self::Mischief(n, what, k) => {
                format!("n={}; k={k}; {}", NETWORKS[n], MISCHIEF[what].1)
            }
            Self::Plug(n, true) => format!(
                "ip link add v9 type veth peer name w9 2>/dev/null && ip link set v9 master {} || :",
                NETWORKS[n]
            ),
            Self::Plug(_, false) => "ip link del v9 2>/dev/null || :".into(),
            Self::Foreign(true) => MAKE_FOREIGN.into(),
            Self::Foreign(false) => "ip link del lab9".into(),
            Self::Cut(n, t, is_inside) => {
                let delete = if is_inside {
                    let name = r#"$(ip -n $t -o link | sed -n "s/^$i: \([^@:]*\).*/\1/p")"#;
                    format!("ip -n $t link del {name}")
                } else {
                    "ip link del $p".into()
                };
                format!(
                    "t={1}; ip -o link | grep 'alias netcord:{0}/{1}$' |
                     sed 's/^[0-9]*: \\([^@]*\\)@if\\([0-9]*\\):.*/\\1 \\2/' |
                     while read -r p i; do {delete}; done",
                    NETWORKS[n], TARGETS[t]
                )
            }
        }
    }

    /// Whether it is one of netcord's verbs.
    fn is_verb(self) -> bool {
        !matches!(
            self,
            Self::Kill(_)
                | Self::Revive(_)
                | Self::Damage(..)
                | Self::Mischief(..)
                | Self::Plug(..)
                | Self::Foreign(_)
                | Self::Cut(..)
        )
    }
}

impl Options {
    fn words(self, network: usize) -> String {
        let length = if self == Self::Tiny { 30 } else { 24 };
        let subnet = format!("--subnet 10.{network}.0.0/{length}");
        match self {
            Self::Plain | Self::Tiny => subnet,
            Self::Internal => format!("{subnet} --internal"),
            Self::Isolate => format!("{subnet} --isolate"),
            Self::NoMasquerade => format!("{subnet} --no-masquerade"),
            Self::Open => format!("{subnet} --open"),
            Self::TwoFamilies => format!("{subnet} --subnet fd00:a{network}::/64"),
        }
    }

    /// Whether the existing network is as requested: other subnets are not requested.
    fn is_met_by(self, there: Self) -> bool {
        self == there || (self == Self::Plain && there == Self::TwoFamilies)
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.op.words();
        let program = if self.op.is_verb() { "netcord " } else { "" };
        if let Some(at) = self.killed_at {
            let (what, next) = match self.op {
                Op::Mischief(..) => ("`repair` after it ", "repair"),
                _ if self.is_repaired => ("", "repair"),
                _ => ("", "again"),
            };
            write!(f, "{what}killed at {} {}, and then {next}: ", at.0, at.1)?;
        }
        write!(f, "{program}{words}")?;
        if self.twice { write!(f, "; again") } else { Ok(()) }
    }
}

impl KillPoint {
    /// The arguments of strace that kill there.
    fn strace(self) -> [String; 5] {
        let Self(call, count) = self;
        let inject = format!("inject={call}:signal=SIGKILL:when={count}");
        ["-qq", "-o/dev/null", &format!("-etrace={call}"), "-e", &inject].map(str::to_owned)
    }
}

/// Whether both are the same port of the host: one of all its addresses is also one of each.
fn is_same_socket(one: usize, other: usize) -> bool {
    (PORTS[one].1, PORTS[one].3) == (PORTS[other].1, PORTS[other].3)
}

fn spec(port: usize) -> String {
    let (host_ip, host, inside, protocol) = PORTS[port];
    format!("{host_ip}{host}:{inside}/{protocol}")
}

fn ipv4(network: usize, last: u8) -> String {
    format!("10.{network}.0.{last}")
}

fn ipv6(network: usize, last: u8) -> String {
    format!("fd00:a{network}::{last:x}")
}

/// What is attached to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Endpoint {
    ifname: String,
    ipv4: u8,
    ipv6: Option<u8>,
    has_gateway: [bool; 2],
    ports: BTreeSet<usize>,
}

/// What should be there.
#[derive(Clone, Debug)]
struct Model {
    networks: BTreeMap<usize, Options>,
    /// By network and target.
    endpoints: BTreeMap<(usize, usize), Endpoint>,
    /// Whether the foreign bridge exists.
    has_foreign: bool,
    alive: [bool; TARGETS.len()],
    /// Died, and no verb has cleaned up since: a rule may still be there.
    unburied: BTreeSet<(usize, usize)>,
}

impl Model {
    fn new() -> Self {
        Self {
            networks: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            has_foreign: true,
            alive: [true; 4],
            unburied: BTreeSet::new(),
        }
    }

    /// What an operation comes to, and with which exit code.
    fn after(&self, op: Op) -> (Self, i32) {
        let mut after = self.clone();
        let code = after.apply(op);
        match op {
            Op::Kill(_) | Op::Cut(..) => {
                let is_dead = |at: &&(usize, usize)| !after.endpoints.contains_key(at);
                after.unburied.extend(self.endpoints.keys().filter(is_dead));
            }
            Op::Revive(_) | Op::Plug(..) => {}
            // There is no network to look at.
            Op::Detach(n, _) if !self.is_known(n) => {}
            _ => after.unburied.clear(),
        }
        if code == 0 { (after, 0) } else { (self.clone(), code) }
    }

    fn apply(&mut self, op: Op) -> i32 {
        match op {
            Op::Bridge(n, options) => match self.networks.insert(n, options) {
                Some(there) if !options.is_met_by(there) => return 4,
                Some(there) => drop(self.networks.insert(n, there)),
                None => {}
            },
            Op::Attach(n, t, last) => return self.attach(n, t, last),
            Op::Publish(t, p) => return self.publish(t, p),
            Op::Unpublish(t, p) => {
                let is_published = |is_it: &dyn Fn(usize) -> bool| {
                    self.of(t).any(|(_, e)| e.ports.iter().any(|q| is_it(*q)))
                };
                // It would stay open.
                if !is_published(&|q| q == p) && is_published(&|q| is_same_socket(p, q)) {
                    return 4;
                }
                for (_, endpoint) in self.endpoints.iter_mut().filter(|((_, at), _)| *at == t) {
                    endpoint.ports.remove(&p);
                }
            }
            Op::Rm(n) => {
                if self.endpoints.keys().any(|(network, _)| *network == n) {
                    return 4;
                }
                self.networks.remove(&n);
            }
            Op::Prune | Op::Damage(..) | Op::Mischief(..) | Op::Plug(..) => {}
            Op::Foreign(is_there) => self.has_foreign = is_there,
            // Nothing is to be undone of what does not exist.
            Op::Detach(n, t) | Op::Cut(n, t, _) => drop(self.endpoints.remove(&(n, t))),
            Op::Kill(t) => {
                self.alive[t] = false;
                self.endpoints.retain(|(_, target), _| *target != t);
            }
            Op::Revive(t) => self.alive[t] = true,
        }
        0
    }

    fn attach(&mut self, n: usize, t: usize, last: Option<u8>) -> i32 {
        if !self.alive[t] {
            return 3;
        }
        let options = match self.networks.get(&n) {
            Some(options) => *options,
            None if n == FOREIGN && self.has_foreign => Options::TwoFamilies,
            None => return if self.is_known(n) { 4 } else { 3 },
        };
        if let Some(there) = self.endpoints.get(&(n, t)) {
            return if last.is_none_or(|last| last == there.ipv4) { 0 } else { 4 };
        }
        let taken: BTreeSet<u8> = self.on(n).map(|(_, e)| e.ipv4).chain([1]).collect();
        let last_host = if options == Options::Tiny { 2 } else { 254 };
        let ipv4 = match last {
            Some(last) if last > last_host => return 2,
            Some(last) if taken.contains(&last) => return 4,
            Some(last) => last,
            None => match (1..=last_host).find(|last| !taken.contains(last)) {
                Some(free) => free,
                None => return 4,
            },
        };
        let ipv6 = (options == Options::TwoFamilies).then(|| {
            let taken: BTreeSet<_> = self.on(n).filter_map(|(_, e)| e.ipv6).chain([1]).collect();
            (1..=u8::MAX).find(|last| !taken.contains(last)).unwrap()
        });
        let own: Vec<_> = self.of(t).map(|(_, e)| e).collect();
        let has_default = |family: usize| own.iter().any(|e| e.has_gateway[family]);
        let is_external = options != Options::Internal;
        let endpoint = Endpoint {
            ifname: (0..=NETWORKS.len())
                .map(|i| format!("eth{i}"))
                .find(|name| own.iter().all(|e| e.ifname != *name))
                .unwrap(),
            ipv4,
            ipv6,
            has_gateway: [
                is_external && !has_default(0),
                is_external && ipv6.is_some() && !has_default(1),
            ],
            ports: BTreeSet::new(),
        };
        self.endpoints.insert((n, t), endpoint);
        0
    }

    fn publish(&mut self, t: usize, p: usize) -> i32 {
        if !self.alive[t] {
            return 3;
        }
        let is_internal = |n: usize| self.networks.get(&n) == Some(&Options::Internal);
        let by_rank = |(n, e): &(usize, &Endpoint)| {
            // Where it is published already it stays.
            (!e.ports.contains(&p), is_internal(*n), e.has_gateway == [false; 2])
        };
        let Some((n, chosen)) = self.of(t).min_by_key(by_rank) else { return 3 };
        // Ports of the loopback would need a change of the foreign bridge.
        let is_refused = n == FOREIGN && !PORTS[p].0.is_empty();
        if is_internal(n) || self.is_unplugged(n) || is_refused {
            return 4;
        }
        if chosen.ports.contains(&p) {
            return 0;
        }
        if self.endpoints.values().flat_map(|e| &e.ports).any(|other| is_same_socket(p, *other)) {
            return 4;
        }
        self.endpoints.get_mut(&(n, t)).unwrap().ports.insert(p);
        0
    }

    fn on(&self, network: usize) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.endpoints.iter().filter(move |((n, _), _)| *n == network).map(|((_, t), e)| (*t, e))
    }

    /// Whether an operation has nothing to do it to.
    fn is_idle(&self, op: Op) -> bool {
        match op {
            Op::Kill(t) => !self.alive[t],
            Op::Revive(t) => self.alive[t],
            // A port needs a bridge.
            Op::Plug(n, true) => !self.networks.contains_key(&n),
            Op::Foreign(is_there) => self.has_foreign == is_there,
            // Only the bridge tells the network's subnets, and nothing is mended without it.
            Op::Damage(..) => self.is_unplugged(FOREIGN),
            Op::Mischief(n, ..) => self.is_unplugged(FOREIGN) || !self.networks.contains_key(&n),
            _ => false,
        }
    }

    /// Whether a network is there, or at least on record.
    fn is_known(&self, network: usize) -> bool {
        let is_there = network == FOREIGN && self.has_foreign;
        is_there || self.networks.contains_key(&network) || self.is_unplugged(network)
    }

    /// Whether endpoints of a network have lost their bridge.
    fn is_unplugged(&self, network: usize) -> bool {
        network == FOREIGN && !self.has_foreign && self.on(network).next().is_some()
    }

    fn of(&self, target: usize) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.endpoints.iter().filter(move |((_, t), _)| *t == target).map(|((n, _), e)| (*n, e))
    }
}

/// The addresses of an endpoint, as `ip addr` prints them.
fn addresses(model: &Model, network: usize, endpoint: &Endpoint) -> BTreeSet<String> {
    let length = if model.networks.get(&network) == Some(&Options::Tiny) { 30 } else { 24 };
    let v4 = format!("{}/{length}", ipv4(network, endpoint.ipv4));
    let v6 = endpoint.ipv6.map(|last| format!("{}/64", ipv6(network, last)));
    [v4].into_iter().chain(v6).collect()
}

/// The rules of published ports, as comments: each once.
fn rules(model: &Model) -> Vec<String> {
    let mut rules = Vec::new();
    for ((n, t), endpoint) in &model.endpoints {
        let owner = format!("{}/{} publish", NETWORKS[*n], TARGETS[*t]);
        for port in &endpoint.ports {
            let (host_ip, host, inside, protocol) = PORTS[*port];
            let host_ip = if host_ip.is_empty() { "0.0.0.0:" } else { host_ip };
            let to = ipv4(*n, endpoint.ipv4);
            rules.push(format!("{owner} {host_ip}{host} -> {to}:{inside}/{protocol}"));
            if let (Some(last), "0.0.0.0:") = (endpoint.ipv6, host_ip) {
                let to = ipv6(*n, last);
                rules.push(format!("{owner} [::]:{host} -> [{to}]:{inside}/{protocol}"));
            }
        }
    }
    rules.sort();
    rules
}

/// The state of the host, in parts; a line that begins with `=` names the next one.
const LOOK: &str = r#"
echo "=ls"; "$NETCORD" ls --format json
echo "=ps"; "$NETCORD" ps --format json
echo "=links"; ip -j -d link
for ns in $(ls /run/netns); do echo "=$ns"; ip -j -n $ns addr; done
echo "=iptables"; iptables-save
echo "=ip6tables"; ip6tables-save
echo "=nft"; nft list table inet netcord 2>/dev/null || :
"#;

fn look(lab: &Lab) -> BTreeMap<String, String> {
    let looked = lab.sh(&format!("NETCORD={NETCORD}\n{LOOK}")).exits(0).stdout;
    let parts = looked.strip_prefix('=').unwrap_or_default().split("\n=");
    let parts = parts.filter_map(|part| part.split_once('\n').or(Some((part, ""))));
    parts.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// The rules of netcord's that were seen, each by its program and comment.
fn rules_of(seen: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
    let mut rules = Vec::new();
    for program in ["iptables", "ip6tables"] {
        rules.extend(marks::comments(&seen[program]).map(|of| (program, of.to_owned())));
    }
    let table = &seen["nft"];
    rules.extend(marks::published(table).into_iter().map(|of| ("nft", of)));
    let networks = marks::elements(table, "nat").filter_map(|e| e.split('"').nth(1));
    rules.extend(networks.map(|network| ("nft", network.to_owned())));
    rules
}

fn json(text: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    value.as_array().expect("a list").clone()
}

fn strings(value: &Value) -> BTreeSet<String> {
    let strings = value.as_array().into_iter().flatten();
    strings.map(|v| v.as_str().unwrap_or_default().to_owned()).collect()
}

/// Whether netcord and the kernel tell what the model tells.
fn check(lab: &Lab, model: &Model) -> Result<(), String> {
    let expect = |what: &str, is: bool, found: &dyn fmt::Debug| {
        if is { Ok(()) } else { Err(format!("{what}, found {found:?}\nthe model is {model:?}")) }
    };
    let seen = look(lab);
    let rules_found = rules_of(&seen);
    let comments = rules_found.iter().map(|(_, comment)| comment);
    let unburied = |comment: &str| {
        let mut owners = model.unburied.iter().map(|(n, t)| (NETWORKS[*n], TARGETS[*t]));
        owners.any(|(n, t)| comment.starts_with(&format!("{n}/{t} publish ")))
    };
    let mut published: Vec<_> =
        comments.clone().filter(|c| c.contains(" publish ") && !unburied(c)).collect();
    published.sort_unstable();
    let wanted = rules(model);
    let is = published.iter().copied().eq(&wanted);
    expect(&format!("rules of published ports are {wanted:?}"), is, &published)?;
    let distinct: BTreeSet<_> = rules_found.iter().collect();
    expect("no rule is there twice", distinct.len() == rules_found.len(), &rules_found)?;
    let is_of_network = |comment: &str| {
        let mut names = model.networks.keys().chain(&[FOREIGN]).map(|n| NETWORKS[*n]);
        names.any(|name| comment.starts_with(name))
    };
    expect(
        "no rule of a network that is not there",
        comments.clone().all(|c| c.starts_with(' ') || is_of_network(c)),
        &rules_found,
    )?;

    // What is dead is on record until a command cleans up.
    let mut endpoints = json(&seen["ps"]);
    let listed = endpoints.len();
    endpoints.retain(|e| e["state"] != "dead");
    let mut networks = json(&seen["ls"]);
    let counted: u64 = networks.iter().filter_map(|n| n["endpoints"].as_u64()).sum();
    expect("ls counts what ps lists", counted == listed as u64, &counted)?;
    networks.retain(|n| n["foreign"] != true);
    let names: Vec<_> = networks.iter().map(|n| n["name"].as_str().unwrap_or_default()).collect();
    let wanted: Vec<_> = model.networks.keys().map(|n| NETWORKS[*n]).collect();
    expect(&format!("networks are {wanted:?}"), names == wanted, &names)?;
    expect("as many endpoints", endpoints.len() == model.endpoints.len(), &endpoints)?;

    let links = json(&seen["links"]);
    let ours = links.iter().filter(|l| l["group"] == "28259");
    let (mut bridges, mut host_ends) = (0, 0);
    for link in ours {
        match link["linkinfo"]["info_kind"].as_str() {
            Some("bridge") => bridges += 1,
            _ => host_ends += 1,
        }
    }
    expect("a bridge for each network", bridges == model.networks.len(), &links)?;
    expect("a host end for each endpoint", host_ends == model.endpoints.len(), &links)?;

    for ((n, t), endpoint) in &model.endpoints {
        let (network, target) = (NETWORKS[*n], TARGETS[*t]);
        let it = format!("{target} on {network}");
        let found = endpoints.iter().find(|e| e["network"] == network && e["target"] == target);
        let Some(found) = found else {
            return expect(&format!("{it} is listed"), false, &endpoints);
        };
        let wanted = addresses(model, *n, endpoint);
        let is_up = !model.is_unplugged(*n);
        let state = if is_up { "up" } else { "down" };
        expect(&format!("{it} is {state}"), found["state"] == state, found)?;
        expect(&format!("{it} has {wanted:?}"), strings(&found["addresses"]) == wanted, found)?;
        expect(&format!("{it} has its ifname"), found["ifname"] == *endpoint.ifname, found)?;
        let port = links.iter().find(|l| l["ifname"] == found["host_ifname"]);
        let alias = format!("netcord:{network}/{target}");
        expect(
            &format!("{it} has a port"),
            port.is_some_and(|p| (p["master"] == network) == is_up && p["ifalias"] == *alias),
            &port,
        )?;
        let inside = json(&seen[target]);
        let link = inside.iter().find(|l| l["ifname"] == *endpoint.ifname);
        let inner: BTreeSet<_> = link
            .into_iter()
            .flat_map(|l| l["addr_info"].as_array().into_iter().flatten())
            .filter(|a| a["scope"] == "global")
            .map(|a| format!("{}/{}", a["local"].as_str().unwrap_or_default(), a["prefixlen"]))
            .collect();
        expect(&format!("{it} has {wanted:?} inside"), inner == wanted, &inside)?;
    }
    let all: Vec<_> = model.endpoints.iter().map(|((n, _), e)| (*n, e.ipv4)).collect();
    let distinct: BTreeSet<_> = all.iter().collect();
    expect("no address is given twice", distinct.len() == all.len(), &all)?;
    for (t, target) in TARGETS.iter().enumerate().filter(|(t, _)| model.alive[*t]) {
        let inside = json(&seen[*target]);
        let found = inside.iter().filter(|l| l["ifname"] != "lo").count();
        expect(&format!("{target} has no other links"), found == model.of(t).count(), &inside)?;
    }
    Ok(())
}

/// The exit code of what was killed.
const KILLED: i32 = 137;

/// Does a verb, or the `repair` after mischief, up to a system call.
fn kill(lab: &Lab, firewall: &str, at: KillPoint, op: Op) -> Run {
    let words = match op {
        Op::Mischief(..) => {
            hurt(lab, op);
            "repair".into()
        }
        verb => verb.words(),
    };
    let mut command = lab.command("strace");
    command.args(at.strace()).args([NETCORD, "--firewall", firewall]);
    Run::new(format!("killed {words}"), &command.args(words.split(' ')).output().unwrap())
}

fn hurt(lab: &Lab, mischief: Op) {
    if let Op::Mischief(_, what, _) = mischief
        && DESTROYS_MARKS.contains(&MISCHIEF[what].0)
    {
        // A verb that changes something writes a damaged record anew.
        lab.netcord("prune").ok();
    }
    lab.sh(&format!("{HANDS}\n{}", mischief.words()));
}

/// Does an operation once.
fn perform(lab: &Lab, op: Op) -> Run {
    match op {
        Op::Kill(t) => {
            let run = lab.sh(&op.words());
            // The kernel takes its time to take the links away.
            lab.until(&format!("! ip -d link | grep -q 'alias netcord:.*/{}$'", TARGETS[t]));
            run
        }
        // Of the dead, and of a network without a bridge, nothing but their records tells.
        Op::Damage(..) | Op::Foreign(false) => {
            lab.netcord("prune").ok();
            lab.sh(&op.words())
        }
        Op::Mischief(..) => {
            hurt(lab, op);
            lab.netcord("repair")
        }
        Op::Foreign(true) => {
            lab.sh(&op.words()).ok();
            lab.netcord("repair")
        }
        Op::Revive(_) | Op::Plug(..) | Op::Cut(..) => lab.sh(&op.words()),
        _ => lab.netcord(&op.words()),
    }
}

fn run_step((firewall, lab): (&str, &Lab), model: &Model, step: &Step) -> Result<Model, String> {
    let mut model = model.clone();
    if model.is_idle(step.op) {
        return Ok(model);
    }
    if step.ends_with_repair() {
        bury(lab, &mut model);
    }
    let (mut after, code) = model.after(step.op);
    let mut allowed = vec![code];
    if let Some(at) = step.killed_at {
        let killed = kill(lab, firewall, at, step.op);
        if ![KILLED, code].contains(&killed.code) {
            return Err(format!("instead of {code} or being killed: {killed:?}"));
        }
        if step.is_repaired && !model.is_unplugged(FOREIGN) {
            return repaired(lab, [&model, &after]);
        }
        // Perhaps all of it was done before it was killed.
        allowed.push(after.after(step.op).1);
    }
    for _ in 0..=usize::from(step.twice) {
        let run = perform(lab, step.op);
        if !allowed.contains(&run.code) {
            return Err(format!("expected exit code {allowed:?}: {run:?}\nof {model:?}"));
        }
        // What was refused has changed nothing, as the next look shows.
        if run.code == 0 {
            check(lab, &after)?;
        }
        if let Op::Mischief(..) | Op::Foreign(true) = step.op {
            nothing_to_repair(lab)?;
        }
        model = after;
        let next = model.after(step.op);
        after = next.0;
        allowed = vec![next.1];
    }
    if step.op == Op::Prune && lab.netcord("ps -q").ok().lines().count() != model.endpoints.len() {
        return Err("prune left something dead on record".into());
    }
    Ok(model)
}

/// Removes dead endpoints. `repair` would restore those whose target lives.
fn bury(lab: &Lab, model: &mut Model) {
    if !model.unburied.is_empty() {
        lab.netcord("prune").ok();
        model.unburied.clear();
    }
}

/// What `repair` makes of a verb that was killed: all of it, or nothing.
fn repaired(lab: &Lab, outcomes: [&Model; 2]) -> Result<Model, String> {
    let repair = lab.netcord("repair");
    if repair.code != 0 {
        return Err(format!("with {outcomes:?}: {repair:?}"));
    }
    nothing_to_repair(lab)?;
    let mut wrong = String::new();
    for outcome in outcomes {
        let outcome = outcome.after(Op::Prune).0;
        match check(lab, &outcome) {
            Ok(()) => return Ok(outcome),
            Err(why) => wrong = format!("{wrong}\n{why}"),
        }
    }
    Err(format!("after repair it is neither as before nor done: {wrong}"))
}

fn nothing_to_repair(lab: &Lab) -> Result<(), String> {
    let left = lab.netcord("repair --check");
    if (left.code, left.stdout.as_str(), left.stderr.as_str()) == (0, "", "") {
        return Ok(());
    }
    Err(format!("repair has left something: {left:?}"))
}

/// Takes away all that there is, which the snapshot of an empty host checks.
fn remove_all(lab: &Lab, mut model: Model) -> Result<(), String> {
    lab.sh(&Op::Plug(0, false).words()).ok();
    let detached = model.endpoints.keys().map(|(n, t)| Op::Detach(*n, *t));
    let removed = detached.chain(model.networks.keys().map(|n| Op::Rm(*n)));
    let revived = (0..TARGETS.len()).map(Op::Revive).filter(|op| !model.is_idle(*op));
    let all: Vec<_> = revived.chain(removed).chain([Op::Prune]).collect();
    for op in all {
        let run = perform(lab, op);
        if run.code != 0 {
            return Err(format!("at the end, with {model:?}: {run:?}"));
        }
        model = model.after(op).0;
    }
    Ok(())
}

fn run_sequence(firewall: &'static str, steps: &[Step]) -> Result<(), String> {
    let lab = Lab::with_firewall(firewall);
    let host = (firewall, &lab);
    for t in 0..TARGETS.len() {
        lab.sh(&Op::Revive(t).words()).ok();
    }
    lab.sh(MAKE_FOREIGN).ok();
    let before = lab.snapshot();
    let mut model = Model::new();
    for (k, step) in steps.iter().enumerate() {
        model = run_step(host, &model, step)
            .map_err(|e| format!("after {k} steps, `{step:?}`: {e}"))?;
    }
    check(&lab, &model).map_err(|e| format!("after all steps: {e}"))?;
    if !model.has_foreign {
        model = run_step(host, &model, &Step::of(Op::Foreign(true)))
            .map_err(|e| format!("at the end: {e}"))?;
    }
    bury(&lab, &mut model);
    lab.netcord("repair").ok();
    nothing_to_repair(&lab)?;
    remove_all(&lab, model)?;
    before.assert_same(&lab.snapshot(), "at the end");
    Ok(())
}

fn op() -> impl Strategy<Value = Op> {
    let (n, own) = (prop_oneof![4 => 0..OWN, 1 => Just(FOREIGN)], 0..OWN);
    let (t, p) = (0..TARGETS.len(), 0..PORTS.len());
    let options = prop_oneof![
        4 => Just(Options::Plain),
        1 => Just(Options::Internal),
        1 => Just(Options::Isolate),
        1 => Just(Options::NoMasquerade),
        1 => Just(Options::Open),
        2 => Just(Options::TwoFamilies),
        1 => Just(Options::Tiny),
    ];
    let last = prop_oneof![3 => Just(None), 1 => (1..=4_u8).prop_map(Some)];
    prop_oneof![
        4 => (own.clone(), options).prop_map(|(n, o)| Op::Bridge(n, o)),
        7 => (n.clone(), t.clone(), last).prop_map(|(n, t, last)| Op::Attach(n, t, last)),
        3 => (n.clone(), t.clone()).prop_map(|(n, t)| Op::Detach(n, t)),
        5 => (t.clone(), p.clone()).prop_map(|(t, p)| Op::Publish(t, p)),
        2 => (t.clone(), p).prop_map(|(t, p)| Op::Unpublish(t, p)),
        1 => own.clone().prop_map(Op::Rm),
        1 => Just(Op::Prune),
        1 => t.clone().prop_map(Op::Kill),
        1 => t.clone().prop_map(Op::Revive),
        5 => (n.clone(), 0..DAMAGES.len()).prop_map(|(n, what)| Op::Damage(n, what)),
        6 => (own.clone(), 0..MISCHIEF.len(), any::<u8>())
            .prop_map(|(n, what, k)| Op::Mischief(n, what, k)),
        1 => (own, any::<bool>()).prop_map(|(n, is_there)| Op::Plug(n, is_there)),
        1 => any::<bool>().prop_map(Op::Foreign),
        1 => (n, t, any::<bool>()).prop_map(|(n, t, is_inside)| Op::Cut(n, t, is_inside)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let point = (select(&CALLS[..]), any::<u8>());
    let point = point.prop_map(|((call, count), k)| KillPoint(call, k % count + 1));
    let killed = prop_oneof![2 => Just(None), 1 => point.prop_map(Some)];
    (op(), killed, any::<bool>(), any::<u8>()).prop_map(|(op, killed, is_repaired, often)| {
        let is_verb = op.is_verb();
        let is_hurt = matches!(op, Op::Mischief(..));
        let killed_at = killed.filter(|_| is_verb || is_hurt);
        let is_repaired = is_repaired || is_hurt;
        Step { op, killed_at, is_repaired, twice: is_verb && often < 40 }
    })
}

/// Runs the sequence of this number. If it fails, steps are left out for as long as it fails.
fn run_numbered(number: u64) -> Result<(), String> {
    let seed: Vec<_> = number.to_le_bytes().into_iter().cycle().take(32).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let sequence = (select(&FIREWALLS[..]), vec(step(), OPS)).new_tree(&mut runner).unwrap();
    let (firewall, mut steps) = sequence.current();
    let run = |steps: &[Step]| {
        let run = AssertUnwindSafe(|| run_sequence(firewall, steps));
        catch_unwind(run).unwrap_or_else(|why| Err(why.downcast_ref().cloned().unwrap_or_default()))
    };
    let Err(mut why) = run(&steps) else { return Ok(()) };
    for left_out in (0..steps.len()).rev() {
        let mut fewer = steps.clone();
        fewer.remove(left_out);
        if let Err(still) = run(&fewer) {
            (steps, why) = (fewer, still);
        }
    }
    Err(format!("with {firewall}, {steps:#?}: {why}"))
}

/// A number that the environment gives.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

#[test]
fn any_sequence_of_verbs_comes_to_what_the_model_says() {
    let random = env::var_os("RANDOM").map(|_| RandomState::new().hash_one(0) >> 32);
    let first = number("SEED").or(random).unwrap_or(0);
    let end = first + number("PROPTEST_CASES").unwrap_or(40);
    say(&format!("sequences {first} to {}", end - 1));
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        break;
                    }
                    if number > first && (number - first).is_multiple_of(50) {
                        say(&format!("sequence {number}"));
                    }
                    if let Err(error) = run_numbered(number) {
                        say(&format!("sequence {number}: {error}"));
                        failed.lock().unwrap().push(number);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "of {first} to {}, these failed: {failed:?}", end - 1);
}

#[test]
fn a_target_that_is_not_there_is_not_found_where_there_is_no_network_either() {
    let lab = Lab::new();
    for words in ["port web", "publish web 80"] {
        lab.netcord(words).fails(3, &["no target `web`"]);
    }
    for words in ["unpublish web 8080:80", "unpublish web --all"] {
        assert!(lab.netcord(words).exits(0).stderr.starts_with("nothing to do: no target `web`"));
    }
}
