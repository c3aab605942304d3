//! A container that stops keeps what it had, and gets it back.

use std::fs;

use serde_json::Value;

use crate::support::{EngineHost, NETCORD, comes_true};

/// Waits until netcord has no link on this host any more.
#[track_caller]
fn until_unplugged(host: &EngineHost) {
    host.until("! ip -br link | grep -q ^nc");
}

/// The endpoint of a target on a network, as `ps` lists it.
#[track_caller]
fn endpoint(host: &EngineHost, network: &str, target: &str) -> Value {
    let listed: Value =
        serde_json::from_str(&host.netcord(&format!("ps {network} --format json")).ok()).unwrap();
    let mut all = listed["items"].as_array().or(listed.as_array()).unwrap().iter();
    all.find(|e| e["target"] == target).unwrap_or_else(|| panic!("{listed}")).clone()
}

/// What a container gets back.
fn kept(endpoint: &Value) -> Vec<Value> {
    ["ifname", "mac", "mtu", "addresses", "gateways", "routes", "ports"]
        .map(|key| endpoint[key].clone())
        .into()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a dockerd for each case would take longer than all of them"
)]
fn what_a_container_had_is_kept_and_given_back() {
    let host = EngineHost::new();
    host.neighbour("outside");
    host.netcord("bridge lab0 --subnet 10.7.0.0/24 --ipv6").ok();
    host.netcord("bridge lab1 --subnet 10.8.0.0/24").ok();
    let without = host.snapshot();
    let (old, page) = ("--network=none --stop-signal KILL", "http://192.0.2.1:8080");
    host.run_docker("web", old);
    host.run_docker("db", old);
    host.netcord(
        "attach lab0 web --ip 10.7.0.9 --mac 02:00:00:00:00:77 --mtu 1400 \
         --route 10.99.0.0/24,10.7.0.1 --route blackhole:10.98.0.0/16 -p 8080:80 -p 53:53/udp -p 90",
    )
    .ok();
    host.netcord("attach lab1 web --gateway 10.8.0.1 --ifname lan").ok();
    host.netcord("attach docker0 web -p 8081:80").ok();
    let networks = ["lab0", "lab1", "docker0"];
    let all = || networks.map(|network| kept(&endpoint(&host, network, "web")));
    let before = all();
    let rules = host.rules_of_ports();
    let exported = host.netcord("export").ok();
    assert!(exported.contains("docker:web"), "{exported}");

    // It stops: the record stays, and no rule leads to its address.
    host.docker("stop web").ok();
    until_unplugged(&host);
    let states = || networks.map(|network| endpoint(&host, network, "web")["state"].clone());
    assert_eq!(states(), ["stopped"; 3]);
    host.netcord("doctor lab0").ok();
    host.netcord("repair --check").ok();
    let other = host.netcord("attach lab0 db").ok();
    assert_eq!(other.lines().next(), Some("10.7.0.2"), "beside the reserved address");
    assert_eq!(host.rules_of_ports(), Vec::<String>::new());
    assert_eq!(states(), ["stopped"; 3]);
    assert_eq!(all(), before);
    assert_eq!(host.netcord("export").ok().lines().filter(|l| l.contains("web")).count(), 3);
    host.netcord("detach lab0 db").ok();
    host.netcord("attach lab0 db --ip 10.7.0.9")
        .fails(4, &["`web`", "stopped", "netcord detach lab0 web"]);
    host.netcord("attach lab0 db -p 8080:80")
        .fails(4, &["8080/tcp", "`web`", "stopped", "netcord unpublish web 8080:80"]);
    host.netcord("prune").ok();
    assert_eq!(all(), before, "a stopped container is not forgotten");

    // It starts: doctor and repair say so.
    host.docker("start web").ok();
    host.netcord("doctor").exits(1);
    let found = host.netcord("doctor lab0").exits(1).stdout;
    assert!(found.contains("[container-restarted]"), "{found}");
    assert!(found.contains("$ netcord attach lab0 docker:web"), "{found}");
    let drift = host.netcord("repair --check").exits(1).stdout;
    for network in networks {
        assert!(drift.contains(&format!("netcord attach {network} docker:web")), "{drift}");
    }
    host.netcord("repair").ok();
    assert_eq!(all(), before);
    assert_eq!(states(), ["up"; 3]);
    assert_eq!(host.rules_of_ports(), rules);
    host.netcord("repair --check").ok();
    host.serve_docker("web");
    assert_eq!(host.fetch("outside", page).ok(), "web");
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8081").ok(), "web");

    // By hand, in another order, and with another address.
    host.docker("restart web").ok();
    host.netcord("attach docker0 web").ok();
    host.netcord("attach lab1 web").ok();
    assert_eq!(
        host.netcord("attach lab0 web --ip 10.7.0.20").ok().lines().next(),
        Some("10.7.0.20")
    );
    let [mut first, second, third] = before.clone();
    let [changed, same, foreign] = all();
    assert_eq!((same, foreign), (second, third));
    assert_eq!(changed[0], first[0]);
    assert_eq!(changed[1], first[1], "the MAC");
    first[3][0] = "10.7.0.20/24".into();
    assert_eq!(changed[3], first[3]);
    let routes = host.sh(&format!("nsenter -t {} -n ip route", host.docker_pid("web"))).ok();
    assert!(routes.contains("default via 10.8.0.1 dev lan"), "{routes}");
    assert_eq!(routes.matches("default").count(), 1, "{routes}");
    host.netcord("repair --check").ok();

    // Everything works on what has stopped, and leaves nothing.
    host.docker("stop web").ok();
    until_unplugged(&host);
    host.netcord("unpublish web 8081:80").ok();
    host.netcord("detach docker0 web").ok();
    host.netcord("detach lab0 docker:web").ok();
    host.netcord("rm lab1").ok();
    host.netcord("bridge lab1 --subnet 10.8.0.0/24").ok();
    host.docker("rm -f web db").ok();
    without.assert_same(&host.snapshot(), "after detach");

    // A container that is made anew with the name is the same to its user.
    host.run_docker("web", old);
    host.netcord("attach lab0 web --ip 10.7.0.30 -p 8080:80").ok();
    host.docker("rm -f web").ok();
    until_unplugged(&host);
    host.run_docker("web", old);
    host.netcord("repair").ok();
    assert_eq!(endpoint(&host, "lab0", "web")["addresses"][0], "10.7.0.30/24");
    host.serve_docker("web");
    assert_eq!(host.fetch("outside", page).ok(), "web");
    // Paused, it lives.
    host.docker("pause web").ok();
    host.netcord("prune").ok();
    assert_eq!(endpoint(&host, "lab0", "web")["state"], "up");
    host.docker("unpause web").ok();
    // What is gone for good is what prune forgets.
    host.docker("rm -f web").ok();
    until_unplugged(&host);
    let found = host.netcord("doctor").exits(1).stdout;
    assert!(found.contains("[endpoint-dead]") && found.contains("$ netcord prune"), "{found}");
    assert_eq!(host.netcord("prune").ok(), "endpoint lab0/web");
    // One that docker removes when it stops never comes back.
    host.run_docker("web", &format!("{old} --rm"));
    host.netcord("attach lab0 web -p 8080:80").ok();
    host.docker("stop web").ok();
    until_unplugged(&host);
    host.netcord("attach lab0 nobody").fails(3, &["nobody"]);
    host.netcord("prune").ok();
    without.assert_same(&host.snapshot(), "after prune");
    // An engine that does not answer says nothing of a container.
    host.run_docker("web", old);
    host.netcord("attach lab0 web -p 8080:80").ok();
    host.docker("stop web").ok();
    until_unplugged(&host);
    host.crash_docker();
    let kept = host.netcord("prune").exits(0);
    assert!(kept.stderr.contains("`lab0/web` is kept"), "{}", kept.stderr);
    host.netcord("reset --yes").ok();
    let left = host.sh("ls /run/netns; ip -br link | grep -E '^(nc|lab)' || true").ok();
    assert_eq!(left, "outside");
}

/// `netcord watch`, which runs on a host.
struct Watch<'h>(&'h EngineHost);

impl<'h> Watch<'h> {
    #[track_caller]
    fn start(host: &'h EngineHost) -> Self {
        drop(host.start(&format!(
            "{NETCORD} watch --format json >/run/watch.log 2>/run/watch.err & \
             echo $! >/run/watch.pid; wait $!; echo $? >/run/watch.code"
        )));
        Self(host)
    }

    /// All that it has reported (`log`), or its errors (`err`).
    fn said(&self, what: &str) -> String {
        fs::read_to_string(self.0.path(&format!("/run/watch.{what}"))).unwrap_or_default()
    }

    /// How often it has reported an event, or one of several (`A|B`).
    fn times(&self, event: &str, parts: &[&str]) -> usize {
        let is_it = |line: &&str| {
            event.split('|').any(|event| line.contains(&format!("\"event\":\"{event}\"")))
                && parts.iter().all(|part| line.contains(&format!("\"{part}\"")))
        };
        self.said("log").lines().filter(is_it).count()
    }

    /// Waits until it has reported an event this many times, and shows all that it said if it does not.
    #[track_caller]
    fn until(&self, event: &str, parts: &[&str], times: usize) {
        let reported = comes_true(|| self.times(event, parts) >= times);
        assert!(reported, "{event} {parts:?}:\n{}\n{}", self.said("log"), self.said("err"));
    }

    /// Ends it with SIGTERM.
    #[track_caller]
    fn end(self) {
        self.0.sh("kill $(cat /run/watch.pid)").ok();
        self.0.until("[ -e /run/watch.code ]");
        assert_eq!(self.0.sh("cat /run/watch.code").ok(), "0");
    }
}

#[test]
fn watch_attaches_by_itself_what_is_started_again() {
    let host = EngineHost::new();
    host.start_podman();
    host.neighbour("outside");
    host.sh("ip link add up0 type veth peer name up1 netns outside; ip -n outside link set up1 up
         ip addr add 198.51.100.1/24 dev up0; ip link set up0 up")
        .ok();
    host.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    host.netcord("macvlan lan0 --parent eth0 --ip-range 192.0.2.64/28").ok();
    host.netcord("underlay und0 --parent up0 --ip-range 198.51.100.64/28 --takeover").ok();
    host.run_docker("web", "--network=none --stop-signal KILL");
    host.run_podman("pod", "--network=none --stop-signal KILL");
    let networks = ["lab0", "docker0", "lan0", "und0"];
    host.netcord("attach lab0 web -p 8080:80").ok();
    for network in &networks[1..] {
        host.netcord(&format!("attach {network} web")).ok();
    }
    host.netcord("attach lab0 podman:pod -p 8090:80").ok();
    let all = || networks.map(|network| kept(&endpoint(&host, network, "web")));
    let (before, pod) = (all(), kept(&endpoint(&host, "lab0", "pod")));
    let rules = host.rules_of_ports();

    let watch = Watch::start(&host);
    watch.until("follows", &["docker"], 1);
    watch.until("follows", &["podman"], 1);
    host.docker("restart web").ok();
    for network in networks {
        watch.until("attached", &[network, "web"], 1);
    }
    host.podman("restart pod").ok();
    watch.until("attached", &["lab0", "pod"], 1);
    assert_eq!((all(), kept(&endpoint(&host, "lab0", "pod"))), (before.clone(), pod));
    assert_eq!(host.rules_of_ports(), rules);
    host.podman("exec pod sh -c 'echo pod >/www/index.html && httpd -p 80 -h /www'").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8090").ok(), "pod");

    // The rules of what stops go at once.
    host.docker("stop web").ok();
    host.podman("stop pod").ok();
    for network in networks {
        watch.until("stopped", &[network, "web"], 1);
    }
    watch.until("stopped", &["lab0", "pod"], 1);
    assert_eq!(host.rules_of_ports(), Vec::<String>::new());

    // An engine that comes back is followed again.
    host.crash_docker();
    watch.until("lost", &["docker"], 1);
    host.start_docker();
    host.docker("start web").ok();
    watch.until("attached", &["lab0", "web"], 2);
    assert_eq!(all(), before);

    // One that its engine attached, whose ports netcord publishes.
    host.docker("network create -o com.docker.network.bridge.name=own0 own").ok();
    host.run_docker("norm", "--network=own --stop-signal KILL");
    host.netcord("publish norm 8085:80").ok();
    host.docker("restart norm").ok();
    watch.until("attached", &["own0", "norm"], 1);
    let address = host.docker("inspect -f '{{.NetworkSettings.Networks.own.IPAddress}}' norm").ok();
    watch.until("attached", &["own0", "norm", &address], 1);

    // A container that is started again and again has to wait; a command does not. A slow host
    // restarts it more often until five times are within a minute.
    for times in 3..20 {
        host.docker("restart web").ok();
        watch.until("attached|waits", &["lab0", "web"], times);
        if watch.times("waits", &["lab0", "web"]) == 1 {
            break;
        }
    }
    watch.until("waits", &["lab0", "web"], 1);
    host.netcord("repair").ok();
    assert_eq!(all(), before);
    watch.end();
}
