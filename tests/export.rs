//! `export`: the script makes the same on another host that has the same namespaces.

use crate::{
    explain::without_hashes,
    support::{Lab, NETCORD, SCENARIOS, Snapshot},
};

/// Without what is another on every host.
fn comparable(snapshot: &Snapshot) -> Snapshot {
    snapshot.without(|line| line.starts_with("record ")).mapped(without_hashes)
}

/// Runs an exported script.
#[track_caller]
fn import(lab: &Lab, script: &str) {
    lab.sh(&format!("netcord() {{ {NETCORD} \"$@\"; }}\n{script}")).ok();
}

#[test]
fn every_scenario_is_made_again_on_another_host() {
    for scenario in SCENARIOS.iter().filter(|s| !s.command.contains("PID")) {
        let stage = scenario.stage();
        stage.run().ok();
        let script = stage.lab.netcord("export").ok();
        assert!(script.starts_with("#!/bin/sh\nset -eu"), "{script}");
        let fresh = Lab::new();
        fresh.sh(&format!("netcord() {{ :; }}\n{}", scenario.setup)).ok();
        import(&fresh, &script);
        assert_eq!(fresh.netcord("export").ok(), script, "{}", scenario.name);
        // What a network turned on for others' sake stays on where it was removed.
        let switches = |line: &str| line.contains("forwarding") || line.contains("33:33:00:00:00");
        comparable(&stage.lab.snapshot())
            .without(switches)
            .assert_same(&comparable(&fresh.snapshot()).without(switches), scenario.name);
    }
}

#[test]
fn all_that_was_asked_for_is_in_it() {
    let make = |lab: &Lab| {
        lab.neighbour("outside").netns(&["web", "db"]);
        lab.sh("ip link set eth0 address 02:00:00:00:00:01
                ip -n outside link set wire address 02:00:00:00:00:02")
            .ok();
    };
    let (lab, fresh) = (Lab::new(), Lab::new());
    make(&lab);
    make(&fresh);
    import(
        &lab,
        "netcord bridge lab0 --subnet 10.7.0.0/24 --gateway 10.7.0.254 --ip-range 10.7.0.64/27 \
             --mtu 1400 --isolate --no-spoof --no-masquerade --label 'owner=a b'
         netcord bridge lab1 --subnet 10.8.0.0/24 --subnet fd00:8::/64 --open
         netcord macvlan lan0 --parent eth0 --ip-range 192.0.2.192/27 --host-access
         netcord none made
         netcord attach lab0 web --ifname lan7 --mac 02:00:00:00:00:07 \
             --host-ifname webport --route 198.51.100.0/24,10.7.0.254 -p 8080:80 -p 127.0.0.1::53/udp
         netcord attach lab1 web --gateway 10.8.0.1 -p 9000-9004:9000-9004
         netcord attach lab1 made --gateway none; netcord attach lan0 db --mtu 1300",
    );
    let script = lab.netcord("export").ok();
    import(&fresh, &script);
    assert_eq!(fresh.netcord("export").ok(), script);
    comparable(&lab.snapshot()).assert_same(&comparable(&fresh.snapshot()), "made again");
    for line in [
        "--label 'owner=a b'",
        "--host-ifname webport",
        "--gateway none",
        "none made",
        "--mtu 1300",
    ] {
        assert!(script.contains(line), "{line}: {script}");
    }
}

#[test]
fn a_process_is_a_comment() {
    let lab = Lab::new();
    let pid = lab.null_mode_process();
    lab.netcord("bridge lab0").ok();
    lab.netcord(&format!("attach lab0 {pid} --name web")).ok();
    let script = lab.netcord("export").ok();
    assert!(script.contains(&format!("# `web` was process {pid}")), "{script}");
    assert!(script.contains("# netcord attach lab0 PID --ip 172.17.0.2/16"), "{script}");
    assert!(script.contains("--name web"), "{script}");
    let fresh = Lab::new();
    import(&fresh, &script);
    assert_eq!(fresh.netcord("ps -q").ok(), "");
}

#[test]
fn nothing_is_a_script_too() {
    let lab = Lab::new();
    assert_eq!(lab.netcord("export").ok(), "#!/bin/sh\nset -eu");
}
