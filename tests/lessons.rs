//! `lab --check`: what a host has of what a lesson builds, made by hand or by netcord.

use serde_json::Value;

use crate::support::Lab;

/// The parts of a lesson that are missing, in words.
#[track_caller]
fn missing(lab: &Lab, lesson: &str) -> Vec<String> {
    let run = lab.netcord(&format!("--format json lab --check {lesson}"));
    let checked: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {run:?}"));
    let parts = checked["parts"].as_array().unwrap();
    let is_missing = |part: &&Value| !part["there"].as_bool().unwrap();
    let words = |part: &Value| part["part"].as_str().unwrap().to_owned();
    let missing: Vec<_> = parts.iter().filter(is_missing).map(words).collect();
    assert_eq!(run.code, i32::from(!missing.is_empty()), "{run:?}");
    assert_eq!(checked["complete"], missing.is_empty());
    missing
}

/// The commands for what is missing, as they are printed.
fn commands(lab: &Lab, lesson: &str) -> Vec<String> {
    let text = lab.netcord(&format!("lab --check {lesson}")).exits(1).stdout;
    text.lines().filter_map(|line| line.trim().strip_prefix("$ ").map(str::to_owned)).collect()
}

const OUTSIDE: &str = "ip netns add outside
    ip link add uplink type veth peer name eth0 netns outside
    ip address add 192.0.2.1/24 dev uplink; ip link set uplink up
    ip -n outside address add 192.0.2.2/24 dev eth0; ip -n outside link set eth0 up";

#[test]
fn the_commands_for_what_is_missing_make_it() {
    let lab = Lab::new();
    let typed = |lesson: &str, name: &str| {
        for command in commands(&lab, lesson) {
            // The last part has no command of its own: it follows from the others.
            let command =
                command.replace("ln -s /proc/PID/ns/net /run/netns/NAME", "ip netns add NAME");
            if !command.starts_with("netcord doctor") {
                lab.sh(&command.replace("NAME", name)).ok();
            }
        }
    };
    assert_eq!(missing(&lab, "null-mode").len(), 6);
    typed("1", "red");
    assert_eq!(missing(&lab, "null-mode.sh"), [""; 0]);
    // What there is already is not asked for again, and the addresses are others.
    lab.sh("ip netns add blue; ip link add B type veth peer name eth0 netns blue
        ip link set B master lab0 up")
        .ok();
    let shown = commands(&lab, "two-containers-and-arp");
    assert!(shown.contains(&"ip -n NAME address add 10.7.0.3/24 dev eth0".to_owned()), "{shown:?}");
    lab.sh("ip -n blue link set eth0 up; ip -n blue address add 10.7.0.3/24 dev eth0
        ip -n blue route add default via 10.7.0.1")
        .ok();
    assert_eq!(missing(&lab, "3"), [""; 0]);
    assert_eq!(missing(&lab, "2").len(), 3);
    typed("2", "blue");
    assert_eq!(missing(&lab, "2"), [""; 0]);
    // Broken again: only what is broken is missing.
    lab.sh("iptables -t nat -F").ok();
    let parts = missing(&lab, "2");
    assert!(parts.len() == 1 && parts[0].contains("masquerade"), "{parts:?}");
    lab.serve("blue", 80);
    assert_eq!(missing(&lab, "5").len(), 1);
    typed("5", "blue");
    assert_eq!(missing(&lab, "5"), [""; 0]);
    lab.sh("ip -n blue link set eth0 down").ok();
    assert!(missing(&lab, "3").len() >= 2, "a link is down, and packets do not arrive");
}

#[test]
fn what_netcord_makes_is_what_the_lessons_build() {
    let lab = Lab::new();
    lab.sh(OUTSIDE).ok();
    for lesson in ["1", "2", "3", "5", "8", "9", "11"] {
        assert_ne!(missing(&lab, lesson), [""; 0], "{lesson}");
    }
    lab.netns(&["red", "blue"]);
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord("attach lab0 red blue").ok();
    lab.serve("blue", 80);
    assert_eq!(missing(&lab, "5").len(), 1);
    lab.netcord("publish blue 2333:80").ok();
    for lesson in ["1", "2", "3", "5"] {
        assert_eq!(missing(&lab, lesson), [""; 0], "{lesson}");
    }
    lab.netcord("unpublish blue --all").ok();
    assert_eq!(missing(&lab, "5").len(), 1);
    lab.netcord(
        "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 --parent uplink \
         --peer 10.5.2.0/24=192.0.2.2",
    )
    .ok();
    assert_eq!(missing(&lab, "11"), [""; 0]);
    lab.sh("bridge fdb del $(bridge fdb show dev vx-pods | awk '/dst/ { print $1; exit }') dev vx-pods")
        .ok();
    assert_eq!(missing(&lab, "11").len(), 1, "without the FDB entry no packet leaves");
}

#[test]
fn the_physical_network_and_modes_without_a_bridge_are_checked_too() {
    let lab = Lab::new();
    lab.neighbour("peer").netns(&["web"]);
    assert_eq!(missing(&lab, "underlay").len(), 3);
    lab.netcord("underlay mydr0 --parent eth0 --ip-range 192.0.2.64/27 --takeover").ok();
    lab.netcord("confirm mydr0").ok();
    assert_eq!(missing(&lab, "9").len(), 1, "nothing is attached yet");
    lab.netcord("attach mydr0 web").ok();
    assert_eq!(missing(&lab, "9"), [""; 0]);
    assert_eq!(missing(&lab, "7").len(), 1);
    let server = lab.start("exec busybox httpd -f -p 127.0.0.1:8080 -h /run");
    lab.until("ss -Hlnt sport = :8080 | grep -q .");
    assert_eq!(missing(&lab, "host-mode"), [""; 0]);
    drop(server);
    let first = lab.start("exec ip netns exec web sleep infinity");
    let second = lab.start("exec ip netns exec web sleep infinity");
    lab.until("test $(ip netns pids web | wc -l) -ge 2");
    assert_eq!(missing(&lab, "8"), [""; 0]);
    drop((first, second));
}

#[test]
fn lessons_are_listed_and_checking_changes_nothing() {
    let lab = Lab::new();
    lab.netns(&["red"]);
    let before = lab.snapshot();
    let listed = lab.netcord("lab --check").ok();
    for line in listed.lines() {
        let number = line.split_whitespace().next().unwrap();
        lab.netcord(&format!("lab --check {number}")).exits(1);
    }
    assert!(listed.lines().count() >= 8, "{listed}");
    before.assert_same(&lab.snapshot(), "after the checks");
    lab.netcord("lab --check brige-and-nat").fails(3, &["did you mean `bridge-and-nat`?"]);
    lab.netcord("lab --check nosuch").fails(3, &["`netcord lab --check` lists those that can"]);
    // Each that can be checked is a script, with its number.
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        let (number, name) = (words.next().unwrap(), words.next().unwrap());
        let script = format!("{}/examples/{name}.sh", env!("CARGO_MANIFEST_DIR"));
        let script = std::fs::read_to_string(script).unwrap();
        assert!(script.contains(&format!("\n# Lesson {number}.\n")), "{name}");
    }
}
