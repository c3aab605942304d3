//! What breaks, and who names it: `doctor`, `repair --check`, `trace`. Each breakage is made on a
//! host on which all three find nothing, and mended again, by doctor's own command where it prints
//! one. `UPDATE=1` writes the table in docs/diagnosis.md anew.

use std::{env, fmt::Write, fs, path::Path, sync::Mutex};

use crate::support::{Lab, NETCORD};

/// Something that breaks. Several words of an answer stand in their order.
struct Breakage {
    /// In words, for the table.
    what: &'static str,
    /// The firewall that has netcord's rules.
    firewall: &'static str,
    /// The script that breaks it.
    breaks: &'static str,
    /// The codes that doctor finds; empty: it does not judge it.
    doctor: &'static str,
    /// A part of what doctor shows.
    shows: &'static str,
    /// Whether `repair --check` reports it.
    repair: bool,
    /// A packet, as for `trace`, and how it ends: outcome and stage; real traffic ends likewise.
    trace: (&'static str, &'static str),
    /// The script that mends it; empty: doctor's commands do, or else `repair`.
    mends: &'static str,
    /// What is done after that, so that all is as before.
    tidies: &'static str,
}

/// Whether doctor finds nothing, or which packet is looked at, if most is so.
const NONE: Breakage = Breakage {
    what: "",
    firewall: "nftables",
    breaks: "",
    doctor: "",
    shows: "",
    repair: false,
    trace: ("", ""),
    mends: "",
    tidies: "",
};

include!("support/breakages.rs");

/// An overlay network of two hosts, the other of which need not be there.
const OVERLAY: &str = "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
                       --peer 10.5.2.0/24=198.18.5.2 --parent eth2";

/// A host with everything that can break.
fn host(firewall: &'static str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    lab.neighbour("outside")
        .netns(&["web", "db", "iso", "iso2", "far", "site", "plc", "guest"])
        .netns(&["other", "pod"]);
    lab.sh("mkdir /run/etc && cp -r /etc/. /run/etc 2>/dev/null || true
            rm -f /run/etc/resolv.conf && echo nameserver 192.0.2.2 >/run/etc/resolv.conf
            mount --bind /run/etc /etc")
        .ok();
    // The world, as doctor takes examples of it.
    lab.sh("ip -n outside addr add 198.51.100.1/32 dev lo
            ip -n outside addr add 2001:db8:ffff::1/128 nodad dev lo")
        .ok();
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
    lab.netcord("bridge lab1 --subnet 10.2.0.0/24 --isolate").ok();
    lab.netcord("macvlan lan0 --parent eth0 --ip-range 192.0.2.64/27").ok();
    lab.netcord("attach lab0 web -p 8080:80 --host-ifname webport").ok();
    lab.netcord("attach lab0 db --host-ifname dbport").ok();
    lab.netcord("attach lab1 iso --host-ifname isoport").ok();
    lab.netcord("attach lab1 iso2 --gateway 10.2.0.1").ok();
    lab.netcord("attach lan0 far --ip 192.0.2.70").ok();
    lab.sh("ip link add eth1 type veth peer name wire netns site
            ip link set eth1 addrgenmode none up; ip -n site link set wire addrgenmode none up
            ip addr add 203.0.113.1/24 dev eth1; ip -n site addr add 203.0.113.2/24 dev wire
            ip link add br9 type bridge; ip addr add 10.9.0.1/24 dev br9; ip link set br9 up")
        .ok();
    lab.netcord("underlay phys0 --parent eth1 --ip-range 203.0.113.64/27").ok();
    lab.netcord("attach phys0 plc --ip 203.0.113.70 --host-ifname plcport").ok();
    lab.netcord("attach br9 guest --ip 10.9.0.2 --host-ifname guestport").ok();
    lab.sh("ip link add eth2 type veth peer name wire netns other
            ip link set eth2 addrgenmode none up; ip -n other link set wire addrgenmode none up
            ip addr add 198.18.5.1/24 dev eth2; ip -n other addr add 198.18.5.2/24 dev wire")
        .ok();
    lab.netcord(OVERLAY).ok();
    lab.netcord("attach pods pod").ok();
    lab.serve("web", 80);
    // Two processes of one namespace: the first one gives it its name.
    lab.sh("unshare --net sh -c 'sleep infinity & echo $! >/run/second; echo $$ >/run/first; exec sleep infinity' >/dev/null 2>&1 &
            until [ -s /run/first ] && [ -s /run/second ]; do sleep 0.02; done")
        .ok();
    lab.sh(&format!("{NETCORD} --firewall {firewall} attach lab0 $(cat /run/first) --name twins"))
        .ok();
    lab
}

/// Returns what doctor and `repair --check` report on a host on which nothing is broken.
fn healthy(lab: &Lab) -> Result<(), String> {
    for words in ["doctor", "repair --check"] {
        let run = lab.netcord(words);
        if run.code != 0 || !run.stdout.is_empty() || !run.stderr.is_empty() {
            return Err(format!("{words} on a healthy host: {}{}", run.stdout, run.stderr));
        }
    }
    Ok(())
}

/// How a packet ends by `trace`: outcome and stage.
fn traced(lab: &Lab, words: &str) -> String {
    let run = lab.netcord(&format!("--format json trace {words}"));
    let Ok(way) = serde_json::from_str::<serde_json::Value>(&run.stdout) else { return run.stderr };
    let word = |key: &str| way["verdict"][key].as_str().unwrap_or_default().to_owned();
    format!("{} {}", word("outcome"), word("stage"))
}

/// The packets that doctor follows on this host: to what is published, to gateways, to the world.
const FOLLOWED: [&str; 5] = [
    "outside 192.0.2.1:8080",
    "outside [2001:db8::1]:8080",
    "host 192.0.2.1:8080",
    "db 192.0.2.1:8080",
    "web 198.51.100.1",
];

/// Where doctor finds nothing, `trace` finds that packets arrive.
fn all_arrive(lab: &Lab) -> Result<(), String> {
    let ends = FOLLOWED.map(|words| (words, traced(lab, words)));
    let lost = ends.iter().filter(|(_, end)| !end.starts_with("arrives"));
    let lost: Vec<_> =
        lost.map(|(words, end)| format!("doctor is silent, trace {words}: {end}")).collect();
    if lost.is_empty() { Ok(()) } else { Err(lost.join("\n")) }
}

/// A path that doctor shows: the command that it names ends with the same line.
fn is_traced(lab: &Lab, finding: &serde_json::Value) -> Result<(), String> {
    let what = finding["what"].as_str().unwrap();
    let (_, command) = what.split_once("`netcord trace ").ok_or(what)?;
    let run = lab.netcord(&format!("--format json trace {}", command.trim_end_matches('`')));
    let way: serde_json::Value = serde_json::from_str(&run.stdout).map_err(|_| run.stderr)?;
    let text = way["verdict"]["text"].as_str().unwrap_or_default();
    let shown = finding["evidence"][0].as_str().unwrap();
    // To doctor, what is on the wire is outside: there, packets leave.
    let is_same = text == shown || text.replacen("arrives", "leaves", 1) == shown;
    if is_same { Ok(()) } else { Err(format!("doctor: {shown}; trace: {text}")) }
}

/// What neighbours remember hangs on the clock: whatever is sent begins without.
const FORGET: &str = "ip neigh flush all; ip -all netns exec ip neigh flush all";

/// Whether real traffic gets there.
fn passes(lab: &Lab, words: &str) -> bool {
    let (from, to) = words.split_once(' ').unwrap();
    let is_address = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    let script = if is_address(to) {
        format!("ping -qc1 -W1 {to}")
    } else {
        format!("curl -gsS --max-time 1 http://{to}/")
    };
    lab.sh(FORGET).ok();
    lab.within(from, &script).code == 0
}

/// Breaks one thing, asks all three, and mends it.
fn judge(lab: &Lab, b: &Breakage) -> Result<(), String> {
    let bin = Path::new(NETCORD).parent().unwrap().display();
    lab.sh(&format!("PATH={bin}:$PATH\n{}", b.breaks)).ok();
    let mut wrong = Vec::new();
    let run = lab.netcord("--format json doctor");
    let report: serde_json::Value = serde_json::from_str(&run.stdout).map_err(|_| run.stderr)?;
    let findings = report["findings"].as_array().unwrap();
    let mut ids: Vec<_> = findings.iter().map(|f| f["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    let ids = ids.join(" ");
    if ids != b.doctor || !run.stdout.contains(b.shows) {
        wrong.push(format!("doctor: {ids}\n{findings:#?}"));
    }
    let of_paths = findings.iter().filter(|finding| finding["id"] == "path-broken");
    wrong.extend(of_paths.filter_map(|finding| is_traced(lab, finding).err()));
    if findings.is_empty() {
        wrong.extend(all_arrive(lab).err());
    }
    let check = lab.netcord("repair --check");
    if (check.code == 1) != b.repair {
        wrong.push(format!("repair --check: {}{}", check.stdout, check.stderr));
    }
    let (words, end) = b.trace;
    if !end.is_empty() {
        lab.sh(FORGET).ok();
        // It sends nothing: both begin with the same.
        let worked_out = traced(lab, words);
        let live = traced(lab, &format!("--live {words}"));
        let passes = passes(lab, words);
        if worked_out != end || live != end || passes != end.starts_with("arrives") {
            wrong.push(format!("trace: {worked_out}; live: {live}; real traffic passes: {passes}"));
        }
    }
    let commands = findings.iter().filter_map(|f| f["command"].as_str());
    let commands: Vec<_> = commands.map(str::to_owned).collect();
    let mends = match (b.mends, commands.is_empty()) {
        ("", false) => commands.join("\n"),
        ("", true) => "netcord repair".to_owned(),
        (script, _) => script.to_owned(),
    };
    // What led nowhere is closed.
    let is_closed = mends.contains("netcord unpublish");
    let mended = lab.sh(&format!("PATH={bin}:$PATH\n{mends}"));
    if mended.code != 0 {
        wrong.push(format!("`{mends}`: {}", mended.stderr));
    }
    // A port of a bridge that comes up may take a moment.
    if !words.is_empty() && !is_closed && !(0..5).any(|_| passes(lab, words)) {
        wrong.push(format!("mended by `{mends}`: {words} does not pass"));
    }
    if !b.tidies.is_empty() {
        let tidied = lab.sh(&format!("PATH={bin}:$PATH\n{}", b.tidies));
        if tidied.code != 0 {
            wrong.push(format!("`{}`: {}", b.tidies, tidied.stderr));
        }
    }
    if let Err(error) = healthy(lab) {
        wrong.push(format!("mended by `{mends}`: {error}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("# {}\n{}", b.what, wrong.join("\n"))) }
}

/// More hosts than processors: most of the time is spent waiting for what does not come.
const HOSTS: usize = 4;

#[test]
fn every_breakage_is_named_by_who_judges_it() {
    let chosen = |b: &&Breakage| env::var("ONLY").map_or(true, |part| b.what.contains(&part));
    let all: Vec<_> = BREAKAGES.iter().filter(chosen).collect();
    let (nftables, iptables): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|b| b.firewall == "nftables");
    let lists = [("nftables", nftables, HOSTS), ("iptables", iptables, 1)]
        .map(|(firewall, list, hosts)| (firewall, hosts.min(list.len()), Mutex::new(list)));
    let judge_some = |firewall, list: &Mutex<Vec<&Breakage>>| {
        let lab = host(firewall);
        healthy(&lab).unwrap();
        all_arrive(&lab).unwrap();
        let take = || list.lock().unwrap().pop();
        std::iter::from_fn(take).filter_map(|b| judge(&lab, b).err()).collect::<Vec<_>>()
    };
    let judge_some = &judge_some;
    let wrong = std::thread::scope(|scope| {
        let judges: Vec<_> = lists
            .iter()
            .flat_map(|(firewall, hosts, list)| (0..*hosts).map(move |_| (*firewall, list)))
            .map(|(firewall, list)| scope.spawn(move || judge_some(firewall, list)))
            .collect();
        judges.into_iter().flat_map(|judge| judge.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_trace_finds_lost_doctor_finds_too() {
    for b in BREAKAGES {
        let (packet, end) = b.trace;
        let is_lost = end.starts_with("dies") || end.starts_with("refused");
        assert!(!is_lost || !b.doctor.is_empty(), "{}: trace {packet}: {end}", b.what);
    }
}

fn table() -> String {
    let mut table =
        "| what breaks | doctor | repair --check | trace |\n| --- | --- | --- | --- |\n".to_owned();
    for b in BREAKAGES {
        let doctor = match b.doctor {
            "" => "-".to_owned(),
            ids => ids.split(' ').map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", "),
        };
        let repair = if b.repair { "yes" } else { "-" };
        let trace = if b.trace.1.is_empty() { "-" } else { b.trace.1 };
        let of = if b.firewall == "nftables" { "" } else { ", with iptables" };
        writeln!(table, "| {}{of} | {doctor} | {repair} | {trace} |", b.what).unwrap();
    }
    table
}

#[test]
fn the_table_is_what_is_tested() {
    const MARK: &str =
        "<!-- written by `UPDATE=1 cargo test diagnosis` from tests/support/breakages.rs -->\n";
    assert!(BREAKAGES.len() >= 60, "{} breakages", BREAKAGES.len());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/diagnosis.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, _) = text.split_once(MARK).unwrap();
    let expected = format!("{before}{MARK}{}", table());
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &expected).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), expected, "UPDATE=1 writes it anew");
}
