//! What each verb costs, counted and not timed: exact, so that a cost that creeps in is seen, and
//! on any machine. `UPDATE=1` writes `tests/counts.txt` anew.
//!
//! Left out is what is not the same each time: how often the runtime wakes itself and asks whether
//! an answer has come, and how often a switch below `/proc/sys` is written, which the kernel has
//! repeated while another namespace holds its lock. So is what differs from host to host: libraries,
//! and what the programs do that netcord starts.

use std::{collections::BTreeMap, env, fmt::Write, fs, os::unix::net::UnixListener, path::Path};

use crate::support::{FIREWALLS, Lab, NETCORD};

/// What a run did, by strace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Datagrams to the kernel.
    sends: usize,
    /// Requests in them.
    messages: usize,
    /// Those of them that begin a transaction of nftables.
    transactions: usize,
    /// Those that read the elements of a set of nftables.
    elements: usize,
    /// Programs that ran, netcord too.
    programs: usize,
    /// Files opened, other than libraries.
    opens: usize,
    /// Bytes written to records.
    recorded: usize,
    /// Bytes read of records.
    recalled: usize,
}

const CALLS: &str = "trace=sendto,sendmsg,sendmmsg,execve,openat,read,write";

/// Where the dynamic linker and the C library look, and what they read.
const LIBRARIES: [&str; 4] = ["/etc/ld.so", "/lib/", "/usr/lib", "/proc/self/maps"];

/// Runs netcord's words on a host, and counts.
fn count(lab: &Lab, words: &str) -> Counts {
    counted(lab, &[], &words.split_whitespace().collect::<Vec<_>>()).0
}

/// Runs netcord with these arguments and variables; returns what it printed, too.
fn counted(lab: &Lab, variables: &[&str], arguments: &[&str]) -> (Counts, String) {
    let (counts, output) = measured(lab, variables, arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    (counts, String::from_utf8(output.stdout).unwrap())
}

/// The same of one that may have something to tell.
fn measured(lab: &Lab, variables: &[&str], arguments: &[&str]) -> (Counts, std::process::Output) {
    lab.sh("rm -rf /run/traces; mkdir /run/traces").ok();
    let mut command = lab.command("strace");
    // cargo sets it, and the linker looks in each place.
    command.env_remove("LD_LIBRARY_PATH");
    // A file for each process; a send is shown whole: each request in it has a header.
    command.args(["-ff", "-qq", "-y", "-s", "4096", "-o", "/run/traces/of", "-e", CALLS]);
    command.args(variables.iter().flat_map(|variable| ["-E", variable]));
    let output = command.arg(NETCORD).args(arguments).output().unwrap();
    let mut traces = BTreeMap::new();
    for entry in fs::read_dir(lab.path("/run/traces")).unwrap() {
        let path = entry.unwrap().path();
        let pid: u32 = path.extension().unwrap().to_str().unwrap().parse().unwrap();
        traces.insert(pid, fs::read_to_string(path).unwrap());
    }
    let first = traces.first_key_value().map(|(pid, _)| *pid);
    let mut counts = Counts::default();
    for (pid, line) in traces.iter().flat_map(|(pid, t)| t.lines().map(move |l| (*pid, l))) {
        let (name, arguments) = line.split_once('(').unwrap_or_default();
        match name {
            "execve" if arguments.ends_with("= 0") => counts.programs += 1,
            _ if Some(pid) != first => {}
            // What is in a datagram of many strace does not tell: it counts as one.
            "sendmmsg" => {
                counts.sends += 1;
                counts.messages += arguments.matches("iov_base").count();
            }
            "sendto" | "sendmsg" if arguments.contains("nlmsg_len") => {
                counts.sends += 1;
                counts.messages += arguments.matches("nlmsg_len").count();
                counts.transactions += arguments.matches("NFNL_MSG_BATCH_BEGIN").count();
                counts.elements += arguments.matches("NFT_MSG_GETSETELEM").count();
            }
            "openat" if !LIBRARIES.iter().any(|l| arguments.contains(&format!("\"{l}"))) => {
                counts.opens += 1;
            }
            "read" | "write" if arguments.contains("</run/netcord/") => {
                let bytes = arguments.rsplit_once("= ").and_then(|(_, n)| n.parse().ok());
                let sum = if name == "read" { &mut counts.recalled } else { &mut counts.recorded };
                *sum += bytes.unwrap_or(0_usize);
            }
            _ => {}
        }
    }
    (counts, output)
}

/// Verbs in an order in which each finds what it needs.
const VERBS: [(&str, &str); 15] = [
    ("bridge", "bridge lab0 --subnet 172.20.0.0/16"),
    ("bridge again", "bridge lab0 --subnet 172.20.0.0/16"),
    ("attach", "attach lab0 a"),
    ("attach again", "attach lab0 a"),
    ("attach a second", "attach lab0 b"),
    ("ls", "ls"),
    ("ps", "ps"),
    ("inspect", "inspect lab0"),
    ("doctor", "doctor"),
    ("trace", "trace a b"),
    ("graph", "graph"),
    ("publish", "publish a 8080:80"),
    ("unpublish", "unpublish a 8080:80"),
    ("detach", "detach lab0 a b"),
    ("rm", "rm lab0"),
];

fn table() -> String {
    let lab = Lab::new();
    lab.netns(&["a", "b"]);
    let mut table = format!(
        "{:<16} {:>5} {:>8} {:>8} {:>5}\n",
        "verb", "sends", "messages", "programs", "opens"
    );
    for (name, words) in VERBS {
        let Counts { sends, messages, programs, opens, .. } = count(&lab, words);
        writeln!(table, "{name:<16} {sends:>5} {messages:>8} {programs:>8} {opens:>5}").unwrap();
    }
    table
}

#[test]
fn every_verb_costs_what_it_did() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/counts.txt");
    let table = table();
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &table).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        table == expected,
        "if that is meant, write tests/counts.txt anew with `UPDATE=1 cargo test counts`\n\
         expected:\n{expected}\nfound:\n{table}"
    );
}

/// A host whose `lab0` has this many endpoints, and the namespace `one` more.
fn with_endpoints(n: usize) -> Lab {
    let lab = Lab::new();
    let commands = "sed 's/^/netns add n/' | ip -batch -";
    lab.sh(&format!("seq {n} | {commands}; ip netns add one")).ok();
    lab.netcord("bridge lab0 --subnet 172.20.0.0/16").ok();
    let all: Vec<_> = (1..=n).map(|i| format!("n{i}")).collect();
    lab.netcord(&format!("attach lab0 {}", all.join(" "))).ok();
    lab
}

/// The size of the record of `lab0`.
fn size_of_record(lab: &Lab) -> usize {
    lab.sh("cat /run/netcord/*/network-lab0.json | wc -c").ok().trim().parse().unwrap()
}

/// What an attach does and writes does not depend on who else is there: it adds a line to the
/// record, and reads it once. A detach writes the record anew.
#[test]
fn an_attach_costs_the_same_however_many_there_are() {
    let mut found = BTreeMap::new();
    // Numbers at which the reserve, which grows by whole pages, does not grow.
    for n in [1, 50, 490] {
        let lab = with_endpoints(n);
        let before = size_of_record(&lab);
        let mut attach = count(&lab, "attach lab0 one");
        let after = size_of_record(&lab);
        assert_eq!(attach.recorded, after - before, "{n} endpoints: one line");
        assert_eq!(attach.recalled, before, "{n} endpoints: read once");
        assert!(attach.recorded < 350, "{n} endpoints: {} bytes", attach.recorded);
        // Addresses have more or fewer digits.
        assert!(before < 300 + 350 * n, "{n} endpoints: {before} bytes");
        (attach.recorded, attach.recalled) = (0, 0);
        let mut detach = count(&lab, "detach lab0 one");
        assert_eq!((detach.recorded, size_of_record(&lab)), (before, before), "{n} endpoints");
        (detach.recorded, detach.recalled) = (0, 0);
        found.insert(n, (attach, detach));
    }
    assert_eq!(found[&1], found[&50]);
    assert_eq!(found[&1], found[&490]);
}

/// Many are taken away in one deletion and one write of the record; many are written down in one.
#[test]
fn many_endpoints_share_a_deletion_and_a_record() {
    let lab = with_endpoints(50);
    let all: Vec<_> = (1..=50).map(|i| format!("n{i}")).collect();
    let whole = size_of_record(&lab);
    let detach = count(&lab, &format!("detach lab0 {}", all.join(" ")));
    assert!(detach.recorded < whole / 10, "one write, of an empty network: {detach:?}");
    let attach = count(&lab, &format!("attach lab0 {}", all.join(" ")));
    assert!(attach.recorded <= whole + 100, "one write: {attach:?}");
}

/// Who waits at a prompt does not wait for what is many, nor for an engine that never answers.
#[test]
fn a_completion_costs_the_same_however_many_there_are_and_abandons_an_engine_that_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    // Connections are made, and nobody ever accepts.
    let _listener = UnixListener::bind(&socket).unwrap();
    let engine = format!("DOCKER_HOST=unix://{}", socket.display());
    let mut found = BTreeMap::new();
    for n in [3, 300] {
        let lab = with_endpoints(n);
        for (words, offered) in [
            (&["attach", "l"][..], "lab0"),
            (&["detach", "lab0", "n"], "n3"),
            (&["inspect", ""], "n3"),
        ] {
            let index = format!("_CLAP_COMPLETE_INDEX={}", words.len());
            let variables = [
                engine.as_str(),
                "COMPLETE=bash",
                "_CLAP_IFS=\n",
                "_CLAP_COMPLETE_COMP_TYPE=9",
                "_CLAP_COMPLETE_SPACE=true",
                &index,
            ];
            let arguments = [&["--", "netcord"], words].concat();
            let (mut counts, shown) = counted(&lab, &variables, &arguments);
            assert!(shown.lines().any(|line| line.trim() == offered), "{words:?}: {shown}");
            // A network's record has its endpoints in it, and is read once.
            counts.recalled = 0;
            found.entry(words).or_insert_with(Vec::new).push(counts);
        }
    }
    for (words, counts) in found {
        assert_eq!(counts[0], counts[1], "{words:?}");
    }
}

/// A trace opens only what the packet gets to, however many others there are.
#[test]
fn a_trace_costs_the_same_however_many_there_are() {
    let of = |n| {
        let lab = with_endpoints(n);
        let mut found = count(&lab, "trace n1 n2");
        found.recalled = 0;
        found
    };
    assert_eq!(of(20), of(200));
}

/// Without a record each namespace is tried once at the most, by the trace and by who looks for lost
/// records.
#[test]
fn a_trace_across_a_foreign_bridge_tries_each_namespace_once() {
    let of = |n: usize| {
        let lab = Lab::new();
        lab.sh(&format!(
            "ip link add br0 type bridge forward_delay 0; ip link set br0 up
             for i in $(seq {n}); do
                 ip netns add n$i; ip link add p$i type veth peer name eth0 netns n$i
                 ip link set p$i master br0 up; ip -n n$i link set eth0 up
                 ip -n n$i addr add 10.0.$((i / 200)).$((i % 200 + 1))/16 dev eth0
             done"
        ))
        .ok();
        count(&lab, "trace n1 n2")
    };
    let (few, many) = (of(20), of(120));
    assert!(many.sends <= few.sends + 100 * 5, "{few:?} {many:?}");
    assert!(many.opens <= few.opens + 100 * 3, "{few:?} {many:?}");
}

/// What takes many published ports away costs as many sends, programs and writes as what takes a few
/// away, whatever takes them.
#[test]
fn many_ports_are_taken_away_as_a_few_are() {
    let all = ["detach lab0 web", "unpublish web --all", "reset", "prune"];
    // Not the machine's root, iptables takes no more than these in one restore.
    for (firewall, many, verbs) in [("nftables", 400, &all[..]), ("iptables", 120, &all[..2])] {
        for takes in verbs {
            let [few, many] = [4, many].map(|n| {
                let lab = Lab::with_firewall(firewall);
                lab.netns(&["web"]);
                lab.netcord("bridge lab0 --subnet 172.20.0.0/16").ok();
                lab.netcord("attach lab0 web").ok();
                // Some on this host's 127.0.0.1 alone, and some of UDP, whose flows are forgotten.
                let specs: Vec<_> = (0..n)
                    .map(|i| match i % 4 {
                        0 => format!("{}:80/udp", 10_000 + i),
                        1 => format!("127.0.0.1:{}:80", 10_000 + i),
                        _ => format!("{}:80", 10_000 + i),
                    })
                    .collect();
                lab.netcord(&format!("publish web {}", specs.join(" "))).ok();
                if *takes == "prune" {
                    lab.sh("ip netns del web").ok();
                    lab.until("! ip -br link | grep -q ^nc");
                }
                let counts = count(&lab, takes);
                assert!(lab.rules_of_ports().is_empty(), "{takes}");
                (counts.sends, counts.programs, counts.opens)
            });
            assert_eq!(many, few, "sends, programs and files of `{takes}` with {firewall}");
        }
    }
}

/// So it is where each of many endpoints has one.
#[test]
fn a_port_each_of_many_endpoints_is_taken_away_as_that_of_one() {
    let [one, many] = [1, 20].map(|n| {
        let lab = with_endpoints(n);
        let commands = format!("for i in $(seq {n}); do {NETCORD} publish n$i 80$i:80; done");
        lab.sh(&commands).ok();
        let all: Vec<_> = (1..=n).map(|i| format!("n{i}")).collect();
        let counts = count(&lab, &format!("detach lab0 {}", all.join(" ")));
        assert!(lab.rules_of_ports().is_empty());
        (counts.transactions, counts.programs)
    });
    assert_eq!(many, one, "transactions and programs");
}

/// Doctor reads the elements of each set, and each table of iptables, once.
#[test]
fn a_diagnosis_reads_each_firewall_once() {
    for firewall in FIREWALLS {
        let lab = Lab::with_firewall(firewall);
        lab.netns(&["web"]);
        lab.netcord("bridge lab0 --subnet 172.20.0.0/16").ok();
        lab.netcord("attach lab0 web -p 8080:80").ok();
        let (counts, _) = measured(&lab, &[], &["doctor"]);
        if firewall == "nftables" {
            let sets = lab.sh("nft list table inet netcord | grep -cE '^.(set|map) '").ok();
            // Those of netcord's own bridges are also compared with the plan.
            assert_eq!(counts.elements, sets.trim().parse::<usize>().unwrap() + 1, "{counts:?}");
            assert_eq!(counts.programs, 1);
        } else {
            // netcord itself; and both tables of IPv4, and `raw`.
            assert_eq!((counts.elements, counts.programs), (0, 4), "{counts:?}");
        }
    }
}

/// What doctor reads does not depend on how many ports are published: sockets are read once, and so
/// are the processes that have them.
#[test]
fn a_diagnosis_costs_the_same_however_many_ports_are_published() {
    let mut found = BTreeMap::new();
    for n in [10, 500] {
        let lab = Lab::new();
        lab.netns(&["web"]);
        lab.netcord("bridge lab0 --subnet 172.20.0.0/16").ok();
        lab.netcord("attach lab0 web").ok();
        let ports: Vec<_> = (0..n).map(|i| format!("{0}:{0}", 20000 + i)).collect();
        lab.netcord(&format!("publish web {}", ports.join(" "))).ok();
        // Somebody of the host listens to one of them.
        lab.sh("busybox httpd -p 20005 -h /run").ok();
        let (mut counts, output) = measured(&lab, &[], &["--format", "json", "doctor"]);
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told.matches("port-unserved").count(), n + 1, "{n}, and the name of the check");
        assert_eq!(told.matches("busybox (pid").count(), 1, "{told}");
        (counts.recorded, counts.recalled) = (0, 0);
        found.insert(n, counts);
    }
    assert_eq!(found[&10], found[&500]);
}

/// The words of an overlay network with so many other hosts, the last of which has this address.
fn overlay_of(n: usize, last: &str) -> String {
    let peers = (1..n).map(|i| format!("10.5.{}.0/24=198.51.{}.{}", i + 1, i / 200, i % 200 + 1));
    let peers: Vec<_> = peers.chain([format!("10.5.0.0/24={last}")]).collect();
    format!(
        "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.250.0/24 --peer {}",
        peers.join(" --peer ")
    )
}

/// Entries for other hosts are sent a hundred at a time. Those that the kernel has are left alone, and
/// the change of one host is that host's entries, however many others there are.
#[test]
fn entries_for_other_hosts_are_sent_together() {
    let mut found = BTreeMap::new();
    for n in [5, 200] {
        let lab = Lab::new();
        lab.sh("ip link add eth0 type veth peer name wire; ip link set wire up
             ip addr add 192.0.2.1/24 dev eth0; ip link set eth0 up
             ip route add 198.51.0.0/16 via 192.0.2.254")
            .ok();
        let mut made = count(&lab, &overlay_of(n, "198.51.100.1"));
        let mut again = count(&lab, &overlay_of(n, "198.51.100.1"));
        let mut changed = count(&lab, &overlay_of(n, "198.51.100.2"));
        let mut peers = count(&lab, "peers pods");
        let routes = lab.sh("ip route show type unicast | grep -c 'proto 110'").ok();
        assert_eq!(routes, n.to_string());
        // How each host is reached is asked of the kernel.
        for counts in [&mut made, &mut again, &mut changed, &mut peers] {
            counts.sends -= n;
        }
        made.sends -= (3 * n).div_ceil(100);
        found.insert(n, [made, again, changed, peers]);
    }
    for (few, many) in found[&5].iter().zip(&found[&200]) {
        // Of many, each table is read once; a few are read one by one.
        assert!(many.sends <= few.sends + 6, "{few:?} {many:?}");
        assert_eq!((many.programs, many.opens), (few.programs, few.opens));
    }
}
