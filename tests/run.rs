//! `run`: a command in a namespace of its own; signals, exit codes, and nothing left of it.

use crate::support::{Lab, NETCORD, Run};

/// A host with `lab0`.
fn wired() -> Lab {
    let lab = Lab::new();
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab
}

/// A script with `$netcord` as a command.
fn sh(lab: &Lab, script: &str) -> Run {
    lab.sh(&format!("netcord={NETCORD}\n{script}"))
}

#[test]
fn a_command_has_a_namespace_of_its_own_and_leaves_nothing() {
    let lab = wired();
    let before = lab.snapshot();
    for (network, wanted) in [
        ("none", "127.0.0.1/8"),
        ("lab0", "127.0.0.1/8 10.7.0.2/24"),
        ("lab0 --ip 10.7.0.9 --ifname lan0 --mac 02:00:00:00:00:09", "127.0.0.1/8 10.7.0.9/24"),
    ] {
        let run = sh(
            &lab,
            &format!(
                "$netcord run --network {network} -- sh -c '
                     ip -o -4 addr | awk \"{{ print \\$4 }}\"; ls /run/netns | wc -l'"
            ),
        );
        assert_eq!(run.ok().replace('\n', " "), format!("{wanted} 1"), "{network}");
        before.assert_same(&lab.snapshot(), network);
    }
    sh(&lab, "$netcord run --network lab0 -- ping -c1 -W2 10.7.0.1").ok();
}

#[test]
fn others_namespaces_are_entered_as_they_are() {
    let lab = wired();
    lab.netns(&["web"]).netcord("attach lab0 web").ok();
    let before = lab.snapshot();
    let own = lab.sh("readlink /proc/self/ns/net").ok();
    assert_eq!(lab.netcord("run --network host -- readlink /proc/self/ns/net").ok(), own);
    let inside = lab.netcord("run --network container:web -- ip -o -4 addr show eth0").ok();
    assert!(inside.contains("10.7.0.2/24"), "{inside}");
    before.assert_same(&lab.snapshot(), "after commands in others' namespaces");
}

#[test]
fn a_run_has_its_commands_exit_code_or_dockers() {
    let lab = wired();
    let before = lab.snapshot();
    for (words, code) in [
        (&["run", "--", "sh", "-c", "exit 7"][..], 7),
        (&["run", "--network", "lab0", "--", "sh", "-c", "exit 8"], 8),
        (&["run", "--network", "lab0", "--", "sh", "-c", "kill -KILL $$"], 137),
        (&["run", "--network", "lab0", "--", "/nosuch"], 127),
        (&["run", "--network", "lab0", "--", "/etc/passwd"], 126),
        (&["run", "--network", "nosuch", "--", "true"], 125),
        (&["run", "--network", "lab0", "--ip", "10.7.0.1", "--", "true"], 125),
        (&["run", "--network", "container:nosuch", "--", "true"], 125),
        (&["run", "--publish", "8080:80", "--", "true"], 125),
        (&["run", "--network", "host", "--name", "web", "--", "true"], 125),
        (&["--dry-run", "run", "--", "true"], 125),
        (&["run", "--network", "lab0"], 2),
    ] {
        lab.netcord_args(words).exits(code);
        before.assert_same(&lab.snapshot(), &words.join(" "));
    }
}

#[test]
fn a_published_port_is_open_while_the_command_runs() {
    for firewall in crate::support::FIREWALLS {
        let lab = Lab::with_firewall(firewall);
        lab.neighbour("outside");
        lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
        let before = lab.snapshot();
        lab.sh("mkdir /run/www; echo page > /run/www/index.html").ok();
        sh(
            &lab,
            &format!(
                "$netcord --firewall {firewall} run --network lab0 --name web -p 8080:80 -- \
                     busybox httpd -f -p 80 -h /run/www > /run/out 2>&1 &
                 echo $! > /run/pid"
            ),
        )
        .ok();
        lab.until("ip netns exec outside curl -gsS --max-time 1 http://192.0.2.1:8080");
        assert_eq!(lab.netcord("port web").ok(), "80/tcp -> 0.0.0.0:8080");
        assert!(lab.netcord("ps").ok().contains("web"));
        lab.sh("kill $(cat /run/pid); stat=/proc/$(cat /run/pid)/stat
                until [ ! -e $stat ] || [ $(cut -d' ' -f3 $stat) = Z ]; do sleep 0.02; done")
            .ok();
        before.assert_same(&lab.snapshot(), "after the end");
    }
}

#[test]
fn signals_are_the_commands() {
    let lab = wired();
    let before = lab.snapshot();
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"] {
        // A shell starts what is in the background deaf to INT and QUIT.
        let script = format!(
            "rm -f /run/up; env --default-signal $netcord run --network lab0 -- \
                 sh -c 'trap \"echo got; exit 3\" {signal}; : > /run/up; while :; do sleep 0.1; done' \
                 > /run/out & run=$!
             until [ -e /run/up ]; do sleep 0.02; done
             kill -{signal} $run; code=0; wait $run || code=$?
             cat /run/out; exit $code"
        );
        assert_eq!(sh(&lab, &script).exits(3).stdout, "got\n", "{signal}");
    }
    before.assert_same(&lab.snapshot(), "after signals");
    // A command that does not handle the signal ends by it.
    let script = "rm -f /run/up
        $netcord run --network lab0 -- sh -c ': > /run/up; exec sleep 60' & run=$!
        until [ -e /run/up ]; do sleep 0.02; done
        kill -TERM $run; code=0; wait $run || code=$?; exit $code";
    sh(&lab, script).exits(143);
    before.assert_same(&lab.snapshot(), "after TERM");
}

#[test]
fn nothing_is_left_when_netcord_is_killed() {
    for network in ["lab0 --name web -p 8080:80", "none"] {
        let lab = wired();
        let before = lab.snapshot();
        let script = format!(
            "$netcord run --network {network} -- sh -c ': > /run/up; exec sleep 60' & run=$!
             until [ -e /run/up ]; do sleep 0.02; done
             kill -KILL $run; wait $run || true"
        );
        sh(&lab, &script).ok();
        lab.until("! ls /run/netns/* && ! grep -q 8080 /run/netcord/*/network-lab0.json");
        lab.until("! ip -br link | grep -q ^nc && ! ps ax | grep -q '[n]etcord attendant'");
        assert_eq!(lab.rules_of_ports(), [""; 0]);
        lab.sh("! ps ax | grep -q '[s]leep 60'").ok();
        before.assert_same(&lab.snapshot(), network);
    }
}

#[test]
fn what_was_attached_meanwhile_goes_too() {
    let lab = wired();
    lab.netcord("bridge lab1 --subnet 10.8.0.0/24").ok();
    let before = lab.snapshot();
    let script = "
        $netcord run --network lab0 --name web -- sh -c ': > /run/up; exec sleep 60' & run=$!
        until [ -e /run/up ]; do sleep 0.02; done
        $netcord attach lab1 web -p 8080:80; $netcord container web
        kill $run; code=0; wait $run || code=$?; exit $code";
    sh(&lab, script).exits(143);
    before.assert_same(&lab.snapshot(), "after a second network");
}

#[test]
fn a_terminal_speaks_to_the_command_once_and_can_stop_it() {
    let lab = wired();
    let before = lab.snapshot();
    let tmux = "tmux -L run -f /dev/null";
    lab.sh(&format!("SHELL=/bin/sh {tmux} new-session -d -x 80 -y 24 sh")).ok();
    let type_in = |keys: &str| lab.sh(&format!("{tmux} send-keys {keys}")).ok();
    let shown = |text: &str| lab.until(&format!("{tmux} capture-pane -p | grep -qx '{text}'"));
    lab.sh("echo 'trap \"echo heard\" INT; echo here; while :; do sleep 0.1; done' > /run/loop")
        .ok();
    type_in(&format!("'{NETCORD} run --network lab0 -- sh /run/loop' Enter"));
    shown("here");
    type_in("C-c");
    lab.until(&format!("{tmux} capture-pane -p | grep -q heard"));
    type_in("C-z");
    lab.until("ps ax -o stat,args | grep -q '^T.*[s]h /run/loop'");
    type_in("'echo back' Enter");
    shown("back");
    assert_eq!(lab.sh(&format!("{tmux} capture-pane -p | grep -c heard")).ok(), "1");
    type_in("'fg' Enter");
    lab.until("ps ax -o stat,args | grep -q '^S.*[s]h /run/loop'");
    lab.sh("kill -KILL $(pgrep -f '^[s]h /run/loop')").ok();
    lab.until("! ps ax | grep -q '[n]etcord run'");
    lab.sh(&format!("{tmux} kill-server")).ok();
    before.assert_same(&lab.snapshot(), "after a terminal");
}
