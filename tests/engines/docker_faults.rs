//! docker's calls, in their order, and what becomes of a container when one of them fails, is lost, or
//! finds nobody who listens: with the real dockerd.

use std::fs;

use super::docker_driver::{
    SOCKET, call, end_plugin, endpoints, inspect, refused, start_plugin, stop_docker,
};
use crate::support::{EngineHost, NETCORD, comes_true};

const PAGE: &str = "http://192.0.2.1:8080";
/// The calls of a container that starts, and of one that ends.
const STARTS: &str = "CreateEndpoint Join ProgramExternalConnectivity";
const ENDS: &str = "RevokeExternalConnectivity Leave DeleteEndpoint";

/// Starts netcord as docker's plugin behind a program that notes docker's calls, and fails some.
#[track_caller]
fn start_failing_plugin(host: &EngineHost) {
    let script = include_str!("../support/sh/docker_faults.pl");
    fs::write(host.path("/run/docker_faults.pl"), script).unwrap();
    host.sh(&format!(
        "mkdir -p /run/docker/plugins /run/docker-faults; : >/run/docker-calls
         setsid perl /run/docker_faults.pl {NETCORD} {SOCKET} >>{}/plugin.log 2>&1 &",
        host.dir()
    ))
    .ok();
    host.until(&format!("curl -fsS -X POST --unix-socket {SOCKET} http://d/Plugin.Activate"));
}

/// The calls since [`forget_calls`], but those that docker makes as often as it likes.
#[track_caller]
fn calls(host: &EngineHost) -> String {
    let all = host.sh("cat /run/docker-calls").ok();
    let at_any_time =
        ["Activate", "GetCapabilities", "GetDefaultAddressSpaces", "EndpointOperInfo"];
    let is_at_any_time = |call: &&str| at_any_time.iter().any(|name| call.starts_with(name));
    all.lines().filter(|call| !is_at_any_time(call)).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn forget_calls(host: &EngineHost) {
    host.sh(": >/run/docker-calls").ok();
}

/// Checks that docker makes these calls after something is done.
#[track_caller]
fn calls_of(host: &EngineHost, what: &str, act: impl FnOnce(), expected: &str) {
    forget_calls(host);
    act();
    assert!(comes_true(|| calls(host) == expected), "{what}: {} != {expected}", calls(host));
}

/// Has the next call of a method fail.
#[track_caller]
fn next(host: &EngineHost, method: &str, fault: &str) {
    host.sh(&format!("echo {fault} >/run/docker-faults/{method}")).ok();
}

/// Checks that a container serves its page, to others and by its name.
#[track_caller]
fn serves(host: &EngineHost, name: &str, when: &str) {
    host.serve_docker(name);
    assert_eq!(host.fetch("outside", PAGE).ok(), name, "{when}");
}

/// Whether docker says that a container runs.
#[track_caller]
fn runs(host: &EngineHost, name: &str) -> bool {
    inspect(host, name, ".State.Running") == "true"
}

#[test]
fn docker_calls_the_driver_in_this_order() {
    let host = EngineHost::without_engines();
    host.neighbour("outside");
    start_failing_plugin(&host);
    host.start_docker();
    host.import_busybox();
    let before = host.snapshot();
    let docker = |words: &str, expected: &str| {
        calls_of(&host, words, || drop(host.docker(words).ok()), expected);
    };
    docker("network create -d netcord --subnet 10.50.0.0/24 mn", "CreateNetwork");
    docker("network create -d netcord --subnet 10.51.0.0/24 second", "CreateNetwork");
    let empty = host.snapshot();
    docker("run -d --name web --network mn -p 8080:80 busybox", STARTS);
    docker("network connect second web", "CreateEndpoint Join");
    docker("network disconnect second web", "Leave DeleteEndpoint");
    refused(&host.docker("network rm mn"), "has active endpoints");
    docker("stop -t 0 web", ENDS);
    docker("start web", STARTS);
    docker("restart -t 0 web", &format!("{ENDS} {STARTS}"));
    docker("kill web", ENDS);
    docker("start web", STARTS);
    let first = host.docker_pid("web");
    calls_of(&host, "SIGKILL", || drop(host.sh(&format!("kill -KILL {first}")).ok()), ENDS);
    assert_eq!(endpoints(&host).len(), 0);
    docker("start web", STARTS);
    calls_of(&host, "SIGTERM of dockerd", || stop_docker(&host), ENDS);
    calls_of(&host, "start of dockerd", || host.start_docker(), "");
    docker("start web", STARTS);
    // docker kills the container, and forgets the endpoint without a call.
    calls_of(&host, "SIGKILL of dockerd", || host.crash_docker(), "");
    calls_of(&host, "start after SIGKILL", || host.start_docker(), "");
    docker("start web", STARTS);
    serves(&host, "web", "after a crash");
    assert_eq!(endpoints(&host).len(), 1);
    docker("rm -f web", ENDS);
    empty.assert_same(&host.snapshot(), "after rm");
    docker("network rm mn second", "DeleteNetwork DeleteNetwork");
    before.assert_same(&host.snapshot(), "after network rm");
}

#[test]
fn a_call_that_fails_or_is_lost_leaves_nothing() {
    let host = EngineHost::without_engines();
    host.neighbour("outside");
    start_failing_plugin(&host);
    host.start_docker();
    host.import_busybox();
    let before = host.snapshot();
    let create = "network create -d netcord --subnet 10.50.0.0/24 mn";
    let run = "run -d --name web --network mn --ip 10.50.0.50 -p 8080:80 busybox";

    for (fault, why) in [("error", "boom"), ("lost", "lost its connection")] {
        // docker does not take back what it did not get, and the same command works again.
        next(&host, "CreateNetwork", fault);
        refused(&host.docker(create), why);
        host.docker(create).ok();
        assert_eq!(host.sh("ip -o link show type bridge | grep -c ' nc-'").ok(), "1", "{fault}");
        let empty = host.snapshot();

        for (method, then) in [
            ("CreateEndpoint", ""),
            ("Join", "DeleteEndpoint"),
            ("ProgramExternalConnectivity", "Leave DeleteEndpoint"),
            ("EndpointOperInfo", ENDS),
        ] {
            let when = format!("{method}: {fault}");
            forget_calls(&host);
            next(&host, method, fault);
            refused(&host.docker(run), why);
            let made = calls(&host);
            assert!(made.ends_with(then), "{when}: {made}");
            host.docker("rm -f web").ok();
            host.docker(run).ok();
            serves(&host, "web", &when);
            host.docker("rm -f web").ok();
            empty.assert_same(&host.snapshot(), &when);
        }

        // docker shows no error, and does not call again: the next call removes it.
        for methods in [
            &["RevokeExternalConnectivity"][..],
            &["Leave"],
            &["DeleteEndpoint"],
            &["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"],
        ] {
            let when = format!("{}: {fault}", methods.join(", "));
            host.docker(run).ok();
            for method in methods {
                next(&host, method, fault);
            }
            host.docker("stop -t 0 web").ok();
            assert_ne!(host.fetch("outside", PAGE).code, 0, "{when}");
            host.docker("start web").ok();
            serves(&host, "web", &when);
            assert_eq!(endpoints(&host).len(), 1, "{when}");
            host.docker("rm -f web").ok();
            empty.assert_same(&host.snapshot(), &when);
        }

        // Of a removal that failed, docker has forgotten the network; one of the same subnet takes its
        // place, or `prune` removes it.
        next(&host, "DeleteNetwork", fault);
        host.docker("network rm mn").ok();
        host.docker(create).ok();
        host.docker(run).ok();
        serves(&host, "web", fault);
        host.docker("rm -f web").ok();
        next(&host, "DeleteNetwork", fault);
        host.docker("network rm mn").ok();
        let pruned = host.netcord("prune").ok();
        let left = usize::from(fault == "error");
        assert_eq!(pruned.matches(" (docker:").count(), left, "{fault}: {pruned}");
        before.assert_same(&host.snapshot(), fault);
        assert_eq!(host.sh("ls /var/lib/netcord/docker/*.json 2>/dev/null || :").ok(), "");
    }

    // Of netcord's pools and addresses.
    let create = "network create -d netcord --ipam-driver netcord mn";
    for method in ["RequestPool", "RequestAddress"] {
        next(&host, method, "error");
        refused(&host.docker(create), "boom");
    }
    host.docker(create).ok();
    next(&host, "RequestAddress", "error");
    refused(&host.docker("run --rm --network mn busybox true"), "boom");
    next(&host, "ReleaseAddress", "error");
    host.docker("run --rm --network mn busybox cat /dev/null").ok();
    host.docker("run --rm --network mn busybox cat /dev/null").ok();

    // Another netcord has locked the records: docker is answered in time.
    let held =
        "lock=$(echo /run/netcord/*/lock); exec flock $lock -c 'touch /run/held; cat /run/never'";
    host.sh("mkfifo /run/never").ok();
    let mut holder = host.start(held);
    host.until("test -e /run/held");
    refused(&host.docker("run --name web --network mn busybox true"), "locked by process");
    host.sh(": >/run/never").ok();
    holder.wait().unwrap();
    host.docker("rm -f web").ok();
    host.docker("run --rm --network mn busybox cat /dev/null").ok();
    host.docker("network rm mn").ok();
    before.assert_same(&host.snapshot(), "after all");
}

/// docker with `live-restore`, by which containers outlive dockerd.
#[track_caller]
fn restore_live(host: &EngineHost) {
    host.sh("mkdir -p /etc/docker && echo '{\"live-restore\": true}' >/etc/docker/daemon.json")
        .ok();
}

#[test]
fn container_docker_and_plugin_restart_in_any_order() {
    let host = EngineHost::without_engines();
    host.neighbour("outside");
    restore_live(&host);
    start_plugin(&host);
    host.start_docker();
    host.import_busybox();
    let before = host.snapshot();
    host.docker("network create -d netcord --subnet 10.50.0.0/24 mn").ok();
    let empty = host.snapshot();
    host.run_docker("web", "--network mn -p 8080:80");
    host.serve_docker("web");
    host.run_docker("db", "--network mn --ip 10.50.0.50");
    host.serve_docker("db");
    let restart = |what: char, signal: &str| match (what, signal) {
        ('c', "TERM") => {
            host.docker("restart -t 0 web").ok();
            host.serve_docker("web");
        }
        ('c', _) => {
            host.sh(&format!("kill -KILL {}", host.docker_pid("web"))).ok();
            assert!(comes_true(|| !runs(&host, "web")));
            host.docker("start web").ok();
            host.serve_docker("web");
        }
        ('d', "TERM") => {
            stop_docker(&host);
            host.start_docker();
        }
        ('d', _) => {
            host.crash_docker();
            host.start_docker();
        }
        (_, signal) => {
            end_plugin(&host, signal);
            start_plugin(&host);
        }
    };
    for order in ["cdp", "cpd", "dcp", "dpc", "pcd", "pdc"] {
        for signal in ["TERM", "KILL"] {
            for what in order.chars() {
                restart(what, signal);
                let when = format!("{order}, {signal}: {what}");
                assert_eq!(host.fetch("outside", PAGE).ok(), "web", "{when}");
                assert_eq!(host.fetch("host", "http://10.50.0.50").ok(), "db", "{when}");
                assert_eq!(host.fetch_docker("db", PAGE).ok(), "web", "{when}");
                assert_eq!(endpoints(&host).len(), 2, "{when}");
            }
        }
    }
    host.docker("stop -t 0 web db").ok();
    for prune in ["container prune -f", "network prune -f"] {
        host.docker(prune).ok();
        let is_left = host.docker("network ls -q -f driver=netcord").ok() != "";
        assert_eq!(is_left, prune.starts_with("container"), "{prune}");
        (if is_left { &empty } else { &before }).assert_same(&host.snapshot(), prune);
    }
    host.docker("network create -d netcord --subnet 10.50.0.0/24 mn").ok();
    host.run_docker("web", "--network mn -p 8080:80");
    host.docker("stop -t 0 web").ok();
    host.docker("system prune -f").ok();
    before.assert_same(&host.snapshot(), "after system prune");
}

#[test]
fn docker_goes_on_when_nobody_has_listened() {
    let host = EngineHost::without_engines();
    host.neighbour("outside");
    start_plugin(&host);
    host.start_docker();
    host.import_busybox();
    let before = host.snapshot();
    host.docker("network create -d netcord --subnet 10.50.0.0/24 mn").ok();
    let empty = host.snapshot();
    host.run_docker("web", "--network mn -p 8080:80");
    host.run_docker("always", "--network mn --restart always");

    // A container that ends meanwhile starts again once somebody listens.
    end_plugin(&host, "KILL");
    refused(&host.docker("network create -d netcord no"), "netcord.sock");
    host.docker("stop -t 0 web").ok();
    start_plugin(&host);
    host.docker("start web").ok();
    serves(&host, "web", "stopped meanwhile");

    // dockerd waits for the plugin when it starts, and does not start what needs it.
    host.crash_docker();
    end_plugin(&host, "KILL");
    host.start_docker();
    assert!(!runs(&host, "always"));
    start_plugin(&host);
    host.docker("start web always").ok();
    serves(&host, "web", "after docker was started without the plugin");
    assert_eq!(endpoints(&host).len(), 2);
    host.docker("rm -f always").ok();

    // Another docker has none of these, and is not asked.
    let podmans = "DOCKER_HOST=unix:///run/podman/podman.sock";
    host.start_podman();
    assert_eq!(host.sh(&format!("{podmans} {NETCORD} prune")).ok(), "");
    assert_eq!(endpoints(&host).len(), 1);

    // With live-restore, it needs no plugin for what runs; but then it cannot end it, and says so until
    // it is started again.
    stop_docker(&host);
    restore_live(&host);
    host.start_docker();
    host.docker("start web").ok();
    serves(&host, "web", "live-restore");
    end_plugin(&host, "TERM");
    host.crash_docker();
    host.start_docker();
    assert_eq!(host.fetch("outside", PAGE).ok(), "web");
    host.docker("stop -t 0 web").ok();
    start_plugin(&host);
    refused(&host.docker("start web"), "endpoint with name web already exists");
    stop_docker(&host);
    host.start_docker();
    host.docker("start web").ok();
    serves(&host, "web", "after docker was started again");
    host.docker("rm -f web").ok();
    empty.assert_same(&host.snapshot(), "after rm");

    // A network whose creation may not be over is left alone: docker does not have it yet.
    let id = "a".repeat(64);
    let body = format!(
        "{{\"NetworkID\":\"{id}\",\"Options\":{{}},\"IPv4Data\":[{{\"Pool\":\"10.59.0.0/24\"}}]}}"
    );
    assert_eq!(call(&host, "NetworkDriver.CreateNetwork", &body), "{}");
    assert_eq!(host.netcord("prune").ok(), "");
    host.sh("ip link show nc-aaaaaaaaaaaa").ok();
    host.sh(&format!("touch -d '2 minutes ago' /var/lib/netcord/docker/{id}.json")).ok();
    let pruned = host.netcord("prune").ok();
    assert_eq!(pruned, "network nc-aaaaaaaaaaaa (docker:aaaaaaaaaaaa)");
    empty.assert_same(&host.snapshot(), "after prune of a network that docker did not get");

    // The plugin is removed while docker has a network of it.
    end_plugin(&host, "TERM");
    host.docker("network rm mn").ok();
    assert!(host.netcord("prune").ok().contains(" (docker:"));
    before.assert_same(&host.snapshot(), "after prune");
}
