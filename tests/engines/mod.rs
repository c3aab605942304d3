//! With real engines: containers of docker's and podman's, and netcord beside what the engines do
//! themselves. These are the only tests that need root.

mod cni;
mod cni_nodes;
mod docker_driver;
mod docker_faults;
mod docker_networks;
mod netavark;
mod podman;
mod recording;
mod restart;

use std::{os::unix::net::UnixListener, path::Path};

use crate::{
    cli::completion,
    support::{EngineHost, Snapshot, comes_true},
};

#[test]
fn the_walk_of_the_notes_by_pid_and_by_name() {
    let host = EngineHost::new();
    // Keeps docker0's carrier as it is.
    host.run_docker("own", "");
    host.serve_docker("own");
    host.run_docker("web", "--network=none");
    host.serve_docker("web");
    let pid = host.docker_pid("web");
    let before = settled(&host);
    let own = host.docker_address("own");

    let attach = format!("attach docker0 {pid} --ip 172.17.0.10/16 --gateway 172.17.0.1");
    assert_eq!(host.netcord(&attach).ok(), "172.17.0.10");
    assert_eq!(host.fetch("host", "http://172.17.0.10").ok(), "web");
    assert!(host.sh("ip netns list").ok().contains(&pid.to_string()));
    assert_eq!(host.fetch_docker("own", "http://172.17.0.10").ok(), "web");
    assert_eq!(host.fetch_docker("web", &format!("http://{own}")).ok(), "own");
    let of_docker0 = |snapshot: &Snapshot, scope| -> Vec<String> {
        let lines = snapshot.part(scope).into_iter();
        let lines =
            lines.filter(|l| l.contains("/docker0/") || l.starts_with(&format!("{scope} docker0")));
        // Less what the bridge learned.
        let words =
            |l: &str| l.replace("fdb_n_learned", "\n").lines().next().map(ToOwned::to_owned);
        lines.filter_map(words).collect()
    };
    let attached = host.snapshot();
    for scope in ["link", "addr", "sysctl"] {
        assert_eq!(of_docker0(&before, scope), of_docker0(&attached, scope));
    }
    host.netcord(&format!("detach docker0 {pid}")).ok();
    before.assert_same(&host.snapshot(), "after detach by PID");

    let address = host.netcord("attach docker0 web").ok();
    assert!(address.starts_with("172.17.0."), "{address}");
    assert_eq!(host.fetch("host", &format!("http://{address}")).ok(), "web");
    assert_eq!(host.fetch_docker("web", &format!("http://{own}")).ok(), "own");
    let routes = host.docker("exec web cat /proc/net/route").ok();
    assert!(routes.contains("eth0\t00000000\t010011AC"), "by 172.17.0.1: {routes}");
    assert_eq!(host.netcord("attach docker0 docker:web").ok(), address);
    host.netcord("detach docker0 web").ok();
    before.assert_same(&host.snapshot(), "after detach by name");
}

#[test]
fn pictures_show_containers_by_their_names() {
    let host = EngineHost::new();
    host.start_podman();
    host.run_docker("own", "");
    host.run_docker("web", "--network=none");
    host.run_podman("pod", "--network=none");
    let (own, own_pid) = (host.docker_address("own"), host.docker_pid("own"));
    // Wired by hand: nobody but podman knows whose namespace it is.
    let pid = host.podman("inspect -f '{{.State.Pid}}' pod").ok();
    host.sh(&format!(
        "ip link add hand type veth peer name eth7 netns {pid}; ip link set hand master docker0 up"
    ))
    .ok();
    host.netcord("attach docker0 web --ip 172.17.0.99").ok();
    // An engine that is busy has no names in a picture: none waits long for it.
    let shows = |words: &[&str]| {
        let picture = || host.netcord("graph").ok();
        let has = || picture().lines().any(|l| words.iter().all(|w| l.contains(w)));
        assert!(comes_true(has), "{words:?}: {}", picture());
    };
    shows(&["docker0", "bridge (docker:bridge)", "172.17.0.1/16"]);
    shows(&[" own ", "eth0", &own]);
    shows(&[" web ", "eth0", "172.17.0.99/16"]);
    shows(&["hand ", " pod ", "eth7"]);
    // Without its engine it is a process.
    host.crash_docker();
    shows(&[&format!("sleep ({own_pid})")]);
}

#[test]
fn addresses_of_docker_are_never_given_out() {
    let host = EngineHost::new();
    let silent = ["one", "two", "three"].map(|name| {
        host.run_docker(name, "");
        // Asking the neighbours does not reveal it.
        host.sh("ip neigh flush dev docker0").ok();
        host.docker_address(name)
    });
    host.run_docker("paused", "");
    let paused = host.docker_address("paused");
    host.docker("pause paused").ok();
    host.run_docker("web", "--network=none");
    host.netcord(&format!("attach docker0 web --ip {}", silent[2])).fails(4, &["docker:three"]);
    host.netcord(&format!("attach docker0 web --ip {paused}")).fails(4, &["docker:paused"]);
    host.netcord("attach docker0 web --ip 172.17.0.1").fails(4, &["docker0"]);
    let given = host.netcord("attach docker0 web").ok();
    assert!(!silent.contains(&given) && given != paused, "{given} is docker's");
}

#[test]
fn ports_on_docker0_pass_dockers_drop() {
    let host = EngineHost::new();
    host.neighbour("outside");
    host.run_docker("own", "-p 8081:80");
    host.serve_docker("own");
    host.run_docker("web", "--network=none");
    host.serve_docker("web");
    let policy = host.sh("iptables -S FORWARD | head -1").ok();
    assert_eq!(policy, "-P FORWARD DROP", "dockerd turned forwarding on, and closed it");
    let before = settled(&host);

    host.netcord("attach docker0 web").ok();
    host.netcord("publish web 8081:80").fails(4, &["8081", "taken"]);
    host.netcord("publish web 8080:80").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8081").ok(), "own");
    assert_eq!(host.fetch("host", "http://192.0.2.1:8080").ok(), "web");
    // A container of docker's calls it by the host's address, and its answer comes back.
    assert_eq!(host.fetch_docker("own", "http://172.17.0.1:8080").ok(), "web");
    // Out, by docker's own rules.
    host.sh("mkdir /run/page && echo outside >/run/page/index.html && ip netns exec outside busybox httpd -p 90 -h /run/page").ok();
    assert_eq!(host.fetch_docker("web", "http://192.0.2.2:90").ok(), "outside");
    host.netcord("unpublish web --all").ok();
    assert_ne!(host.fetch("outside", "http://192.0.2.1:8080").code, 0);
    host.netcord("detach docker0 web").ok();
    before.assert_same(&host.snapshot(), "after detach");
}

#[test]
fn ports_of_an_ordinary_container_are_published_while_it_runs() {
    let host = EngineHost::new();
    host.start_podman();
    host.neighbour("outside");
    host.run_docker("norm", "");
    host.serve_docker("norm");
    host.run_podman("pod", "--network=podman");
    let pod = host.podman("inspect -f '{{.State.Pid}}' pod").ok();
    host.sh(&format!(
        "mkdir /run/page && echo pod >/run/page/index.html && nsenter -n -t {pod} busybox httpd -p 80 -h /run/page"
    ))
    .ok();
    let before = settled(&host);
    host.netcord("publish norm 7777:80").ok();
    host.netcord("publish podman:pod 7778:80").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:7777").ok(), "norm");
    assert_eq!(host.fetch("outside", "http://192.0.2.1:7778").ok(), "pod");
    let doctor = host.netcord("doctor docker0");
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);
    let export = host.netcord("export").ok();
    for line in
        ["publish docker:norm 0.0.0.0:7777:80/tcp", "publish podman:pod 0.0.0.0:7778:80/tcp"]
    {
        assert!(export.contains(line), "{export}");
    }
    host.sh("iptables -F DOCKER-USER && iptables -A DOCKER-USER -j RETURN").ok();
    assert_ne!(host.fetch("outside", "http://192.0.2.1:7777").code, 0, "docker's FORWARD drops");
    host.netcord("repair").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:7777").ok(), "norm");
    host.netcord("unpublish norm --all").ok();
    host.netcord("unpublish podman:pod --all").ok();
    before.assert_same(&settled(&host), "after unpublish");
}

#[test]
fn ports_of_an_ordinary_container_are_kept_while_it_is_stopped() {
    let host = EngineHost::new();
    host.neighbour("outside");
    host.run_docker("norm", "");
    host.netcord("publish norm 7777:80").ok();
    // Started again, the container may have another address.
    host.docker("kill norm").ok();
    host.run_docker("other", "");
    assert!(host.netcord("ps").ok().lines().any(|l| l.contains("norm") && l.contains("stopped")));
    host.netcord("attach docker0 other -p 7777:80").fails(4, &["7777/tcp", "`norm`", "stopped"]);
    host.docker("start norm").ok();
    host.serve_docker("norm");
    let doctor = host.netcord("doctor").exits(1);
    assert!(doctor.stdout.contains("netcord publish docker:norm 7777:80"), "{}", doctor.stdout);
    host.netcord("repair").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:7777").ok(), "norm");
    host.docker("restart -t 0 norm").ok();
    host.serve_docker("norm");
    host.netcord("publish norm 7779:80").ok();
    for port in [7777, 7779] {
        assert_eq!(host.fetch("outside", &format!("http://192.0.2.1:{port}")).ok(), "norm");
    }
    // docker detaches it while it runs, and attaches it again.
    host.docker("network disconnect bridge norm").ok();
    host.netcord("prune").ok();
    assert_eq!(host.rules_of_ports(), Vec::<String>::new());
    host.docker("network connect bridge norm").ok();
    host.netcord("publish norm 7777:80").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:7777").ok(), "norm");
    host.docker("kill norm").ok();
    host.netcord("unpublish norm --all").ok();
    host.docker("start norm").ok();
    host.netcord("repair --check").ok();
    assert_eq!(host.rules_of_ports(), Vec::<String>::new());
    assert_eq!(host.netcord("ps --format {{.Target}}").ok(), "");
}

#[test]
fn a_container_is_found_by_every_reference_its_engine_knows() {
    let host = EngineHost::new();
    host.start_podman();
    let id = host.run_docker("web", "--network=none");
    let pweb = host.run_podman("pweb", "--network=none");
    host.netcord("bridge lab0").ok();
    let address = host.netcord("attach lab0 docker:web").ok();
    // Digits alone would be a PID.
    let letter = id.find(|c: char| c.is_ascii_alphabetic()).expect("an ID without a letter");
    let references = [
        "web",
        &id,
        &id[..12],
        &id[..8.max(letter + 1)],
        &format!("docker:{id}"),
        &format!("docker:{}", &id[..12]),
    ];
    for reference in references {
        assert_eq!(host.netcord(&format!("attach lab0 {reference}")).ok(), address, "{reference}");
    }
    let address = host.netcord("attach lab0 podman:pweb").ok();
    for reference in ["pweb", &pweb, &pweb[..12], &format!("podman:{}", &pweb[..12])] {
        assert_eq!(host.netcord(&format!("attach lab0 {reference}")).ok(), address, "{reference}");
    }
    assert!(host.sh("ip netns list").ok().lines().count() == 2, "each has one name");

    // One name in three places is nobody's.
    host.run_docker("twin", "--network=none");
    host.run_podman("twin", "--network=none");
    host.netcord("attach lab0 twin").fails(4, &["docker:twin", "podman:twin"]);
    host.netns(&["twin"]);
    host.netcord("attach lab0 twin").fails(4, &["netns:twin", "docker:twin", "podman:twin"]);
    host.netcord("attach lab0 netns:twin").ok();
    host.netcord("attach lab0 twin").fails(4, &["netns:twin", "docker:twin", "podman:twin"]);
    let own_name = host.netcord("attach lab0 docker:twin --name dtwin").ok();
    assert_eq!(host.netcord("attach lab0 dtwin").ok(), own_name);

    host.netcord("attach lab0 docker:nobody").fails(3, &["docker", "nobody"]);
    host.netcord("attach lab0 podman:nobody").fails(3, &["podman", "nobody"]);
    host.netcord("attach lab0 nobody").fails(3, &["nobody"]);

    // podman's is a target like any other: it serves, and its port is published.
    host.podman("exec pweb sh -c 'echo pweb >/www/index.html && httpd -p 80 -h /www'").ok();
    assert_eq!(host.fetch("host", &format!("http://{address}")).ok(), "pweb");
    host.neighbour("outside");
    host.netcord("publish podman:pweb 8080:80").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080").ok(), "pweb");
}

#[test]
fn every_state_of_a_container_has_its_answer() {
    let host = EngineHost::new();
    host.netcord("bridge lab0").ok();
    host.docker("create --name created --network=none busybox").ok();
    host.run_docker("stopped", "--network=none");
    host.docker("kill stopped").ok();
    for name in ["created", "stopped"] {
        let hint = format!("docker start {name}");
        host.netcord(&format!("attach lab0 {name}")).fails(4, &["not running", &hint]);
        host.netcord(&format!("attach lab0 docker:{name}")).fails(4, &["not running", &hint]);
    }
    host.run_docker("hosted", "--network=host");
    host.netcord("attach lab0 hosted").fails(4, &["host mode"]);

    let owner = host.run_docker("owner", "--network=none");
    host.run_docker("guest", "--network=container:owner");
    let shared = host.netcord("attach lab0 guest").exits(0);
    assert!(shared.stderr.contains(&owner[..12]), "names its owner: {}", shared.stderr);
    assert_eq!(host.netcord("attach lab0 owner").ok(), shared.ok(), "one namespace, one endpoint");

    host.run_docker("paused", "--network=none");
    host.docker("pause paused").ok();
    let address = host.netcord("attach lab0 paused").ok();
    host.docker("unpause paused").ok();
    host.sh(&format!("ping -c1 -W2 {address}")).ok();
}

#[test]
fn a_container_that_starts_anew_is_attached_anew() {
    let host = EngineHost::new();
    host.netcord("bridge lab0").ok();
    host.run_docker("web", "--network=none --stop-signal KILL");
    let without = host.snapshot();
    let first = host.netcord("attach lab0 web").ok();
    host.docker("restart web").ok();
    host.until("! ip -br link | grep -q ^nc");
    let second = host.netcord("attach lab0 web").ok();
    assert_eq!(first, second, "the dead endpoint's address is free again");
    host.sh(&format!("ping -c1 -W2 {second}")).ok();
    host.docker("rm -f web").ok();
    host.until("! ip -br link | grep -q ^nc");
    host.netcord("prune").ok();
    without.assert_same(&host.snapshot(), "after prune");
}

#[test]
fn an_engine_that_does_not_answer_holds_nobody_up() {
    let host = EngineHost::without_engines();
    host.netns(&["web", "db"]);
    host.netcord("bridge lab0").ok();
    host.netcord("attach lab0 netns:web").ok();
    host.netcord("detach lab0 web").ok();
    host.netcord("attach lab0 web").ok();
    // The kernel accepts for a listener that never does: what ends has given up waiting.
    let _docker = UnixListener::bind(host.path("/run/docker.sock")).unwrap();
    let _podman = UnixListener::bind(host.path("/run/podman/podman.sock")).unwrap();
    host.netcord("attach lab0 db").ok();
    for engine in ["docker", "podman"] {
        let attach = format!("attach lab0 {engine}:web");
        host.netcord(&attach).fails(7, &[engine, "did not answer"]);
    }
    host.netcord("attach lab0 nobody").fails(3, &["nobody", "did not answer"]);
}

#[test]
fn a_network_of_ours_beside_dockers() {
    let host = EngineHost::new();
    host.neighbour("outside");
    host.run_docker("own", "");
    host.serve_docker("own");
    host.run_docker("web", "--network=none");
    host.serve_docker("web");
    host.sh("mkdir /run/page && echo outside >/run/page/index.html && ip netns exec outside busybox httpd -p 90 -h /run/page").ok();
    host.netcord("bridge lab0").ok();
    let web = host.netcord("attach lab0 web").ok();
    host.netcord("publish web 8080:80").ok();
    let holds = || {
        assert_ne!(host.fetch_docker("own", &format!("http://{web}")).code, 0, "unpublished");
        assert_ne!(host.fetch("outside", &format!("http://{web}")).code, 0);
        assert_eq!(host.fetch("host", &format!("http://{web}")).ok(), "web");
        assert_eq!(host.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
        assert_eq!(host.fetch_docker("own", "http://192.0.2.1:8080").ok(), "web");
        // The neighbour has no way back to either network: both are masqueraded.
        assert_eq!(host.fetch_docker("own", "http://192.0.2.2:90").ok(), "outside");
        assert_eq!(host.fetch_docker("web", "http://192.0.2.2:90").ok(), "outside");
    };
    holds();
    host.sh("kill $(cat /run/docker.pid)").ok();
    host.until("! [ -e /run/docker.pid ]");
    host.start_docker();
    host.docker("start own web").ok();
    host.serve_docker("own");
    host.serve_docker("web");
    let again = host.netcord("attach lab0 web").ok();
    assert_eq!(again, web);
    host.netcord("publish web 8080:80").ok();
    holds();
    // Where docker wants it, and gone with the network.
    let in_dockers_chain = || host.sh("iptables -S DOCKER-USER").ok().matches("netcord").count();
    assert_eq!(in_dockers_chain(), 2);
    host.netcord("detach lab0 web").ok();
    host.netcord("rm lab0").ok();
    assert_eq!(in_dockers_chain(), 0);
}

#[test]
fn a_network_of_ours_beside_podmans() {
    let host = EngineHost::without_engines();
    host.neighbour("outside").netns(&["web"]);
    host.start_podman();
    host.run_podman("own", "--network=podman -p 8081:80");
    host.podman("exec own sh -c 'echo own >/www/index.html && httpd -p 80 -h /www'").ok();
    host.serve("web", 80);
    host.serve("outside", 90);
    let before = settled(&host);
    host.netcord("bridge lab0").ok();
    let web = host.netcord("attach lab0 web -p 8080:80").ok();
    let pid = host.podman("inspect -f '{{.State.Pid}}' own").ok().parse().unwrap();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8081").ok(), "own");
    assert_eq!(host.fetch("web", "http://192.0.2.1:8081").ok(), "own");
    assert_eq!(host.fetch("web", "http://192.0.2.2:90").ok(), "outside");
    assert_eq!(host.fetch_as(pid, "http://192.0.2.1:8080").ok(), "web");
    assert_eq!(host.fetch_as(pid, "http://192.0.2.2:90").ok(), "outside");
    assert_ne!(host.fetch_as(pid, &format!("http://{web}")).code, 0, "unpublished");
    host.netcord("detach lab0 web").ok();
    host.netcord("rm lab0").ok();
    before.assert_same(&host.snapshot(), "after rm");
}

#[test]
fn rules_of_ours_outlive_dockerd() {
    let host = EngineHost::new();
    host.neighbour("outside").netns(&["web"]);
    host.serve("web", 80);
    host.netcord("bridge lab0").ok();
    host.netcord("attach lab0 web -p 8080:80").ok();
    let ours = || -> Vec<String> {
        let rules = host.sh("iptables-save | grep -E 'netcord|NETCORD' | grep -v '^:'").ok();
        rules.lines().map(ToOwned::to_owned).collect()
    };
    let before = ours();
    host.crash_docker();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    host.start_docker();
    assert_eq!(ours(), before);
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
}

#[test]
fn a_bridge_of_podmans_is_a_network_too() {
    let host = EngineHost::new();
    host.start_podman();
    host.run_podman("own", "--network=podman");
    host.run_podman("web", "--network=none");
    host.podman("exec web sh -c 'echo web >/www/index.html && httpd -p 80 -h /www'").ok();
    let bridge =
        host.sh("ip -o link show type bridge | grep -o 'cni-podman0\\|podman0' | head -1").ok();
    let own = host.podman("inspect -f '{{.NetworkSettings.IPAddress}}' own").ok();
    let before = settled(&host);
    host.netcord(&format!("attach {bridge} podman:web --ip {own}")).fails(4, &["podman:own"]);
    let web = host.netcord(&format!("attach {bridge} podman:web")).ok();
    assert_ne!(web, own);
    assert_eq!(host.fetch("host", &format!("http://{web}")).ok(), "web");
    let pid = host.podman("inspect -f '{{.State.Pid}}' own").ok().parse().unwrap();
    assert_eq!(host.fetch_as(pid, &format!("http://{web}")).ok(), "web");
    host.netcord(&format!("detach {bridge} podman:web")).ok();
    before.assert_same(&host.snapshot(), "after detach");
}

#[test]
fn a_network_is_found_by_the_name_that_its_engine_has_for_it() {
    let host = EngineHost::new();
    host.start_podman();
    // Longer than the name of a link may be, as compose's names are.
    host.docker("network create --subnet 172.30.0.0/24 webshop_production_default").ok();
    host.run_docker("own", "--network=webshop_production_default");
    host.run_docker("web", "--network=none");
    host.run_podman("pod", "--network=none");
    let own = "http://172.30.0.2";
    host.docker("exec own sh -c 'echo own >/www/index.html && httpd -p 80 -h /www'").ok();
    let before = settled(&host);

    // `podman network ls` has its default network before its bridge exists.
    let missing = host.netcord("attach podman web");
    missing.fails(3, &["network `podman` of podman has no bridge", "first container"]);
    for name in ["webshop_production_default", "docker:webshop_production_default"] {
        let address = host.netcord(&format!("attach {name} web")).ok();
        assert!(address.starts_with("172.30.0."), "{address}");
        assert_eq!(host.fetch_docker("web", own).ok(), "own");
        host.netcord(&format!("detach {name} web")).ok();
        before.assert_same(&host.snapshot(), "after detach");
    }
    let address = host.netcord("attach bridge podman:pod").ok();
    assert!(address.starts_with("172.17.0."), "{address}");
    assert!(host.netcord("ps").ok().contains("docker0"), "the record has the bridge's name");
    host.netcord("detach docker0 podman:pod").ok();
    let run = format!("run --network webshop_production_default -- curl -s {own}");
    assert_eq!(host.netcord(&run).ok(), "own");

    for verb in ["ls", "graph"] {
        let shown = host.netcord(verb).ok();
        for name in ["(docker:bridge)", "(docker:webshop_production_default)"] {
            assert!(shown.contains(name), "{verb}: {shown}");
        }
    }
    let inspect = "inspect webshop_production_default --format {{.engine_network}}";
    assert_eq!(host.netcord(inspect).ok(), "docker:webshop_production_default");

    // Docker has little time to answer, since a user waits: on a busy machine, one presses TAB again.
    let completed = || host.sh(&completion(2, "attach webs")).ok();
    let completed = (0..20).map(|_| completed()).find(|names| !names.is_empty());
    assert_eq!(completed.as_deref(), Some("webshop_production_default"));
    host.netcord("attach docker:host web").fails(3, &["its driver is host"]);
    host.netcord("attach docker:webshop web").fails(3, &["docker has no network `webshop`"]);
    host.netcord("attach webshop_production web").fails(2, &["at most 15"]);
    host.netcord("detach docker:gone web").ok();
    before.assert_same(&host.snapshot(), "after all");
}

#[test]
fn the_example_with_docker_holds() {
    let host = EngineHost::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/docker-none.sh");
    let bin = Path::new(env!("CARGO_BIN_EXE_netcord")).parent().unwrap();
    host.sh(&format!("PATH={}:$PATH sh {examples}", bin.display())).ok();
    assert_eq!(host.sh("ip netns list").ok(), "");
    assert_eq!(host.docker("ps -aq").ok(), "");
}

/// The host's state once the kernel has checked that IPv6 addresses are nobody else's.
#[track_caller]
fn settled(host: &EngineHost) -> Snapshot {
    host.until("! ip -6 addr show tentative | grep -q .");
    host.snapshot()
}
