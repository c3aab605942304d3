//! A printed script does what netcord does: two hosts, one of each, are the same in the end.

use crate::{
    explain::without_hashes,
    support::{Lab, NETCORD, SCENARIOS, Snapshot},
};

/// Without netcord's own records, and with names that are another on every host made equal.
fn comparable(snapshot: &Snapshot) -> Snapshot {
    snapshot.without(|line| line.starts_with("record ")).mapped(without_hashes)
}

#[test]
fn the_script_of_every_scenario_does_the_same_as_netcord() {
    for scenario in SCENARIOS {
        let (by_netcord, by_hand) = (scenario.stage(), scenario.stage());
        by_netcord.run().ok();
        let script = by_hand.dry_run();
        by_hand.lab.pipe_to_sh(&script).ok();
        comparable(&by_netcord.lab.snapshot())
            .assert_same(&comparable(&by_hand.lab.snapshot()), scenario.name);
    }
}

#[test]
fn the_commands_of_what_exists_make_it_on_another_host() {
    let (built, fresh) = (Lab::new(), Lab::new());
    built
        .sh(&format!(
            "netcord() {{ {NETCORD} \"$@\"; }}
             netcord none web; netcord none db
             netcord bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --isolate
             netcord attach lab0 web -p 8080:80 -p 5353:53/udp; netcord attach lab0 db --ip 172.20.0.9"
        ))
        .ok();
    let script = built.netcord("inspect lab0 --commands").ok();
    fresh.pipe_to_sh(&format!("{script}\n")).ok();
    comparable(&built.snapshot()).assert_same(&comparable(&fresh.snapshot()), "by inspect");
}

#[test]
fn the_commands_of_an_underlay_make_it_of_a_link_that_has_the_same() {
    let scenario = SCENARIOS.iter().find(|s| s.name == "underlay").unwrap();
    let (by_netcord, by_hand) = (scenario.stage(), scenario.stage());
    for stage in [&by_netcord, &by_hand] {
        // Who has been learned as a neighbour is another's business.
        stage.lab.sh("ip neigh flush all nud reachable nud stale nud delay nud probe").ok();
    }
    by_netcord.run().ok();
    let script = by_netcord.lab.netcord("inspect mydr0 --commands").exits(0).stdout;
    by_hand.lab.pipe_to_sh(&script).ok();
    comparable(&by_netcord.lab.snapshot())
        .assert_same(&comparable(&by_hand.lab.snapshot()), "by inspect");
}

#[test]
fn odd_names_are_quoted() {
    // What a name in /run/netns may hold: anything but a slash, as long as the shell sees it whole.
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    lab.sh("mkdir -p '/run/odd $(touch /run/oops)'; touch '/run/odd $(touch /run/oops)/ns'
            unshare --net='/run/odd $(touch /run/oops)/ns' true")
        .ok();
    let args =
        ["--dry-run", "attach", "lab0", "path:/run/odd $(touch /run/oops)/ns", "--name", "odd"];
    let script = lab.netcord_args(&args).exits(0).stdout;
    lab.pipe_to_sh(&script).ok();
    lab.sh("test ! -e /run/oops; ip -n odd addr show eth0 | grep -q 172.17.0.2").ok();
}
