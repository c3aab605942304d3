//! Networks of docker's whose addresses netcord assigns, and those of netcord's other drivers.

use super::docker_driver::{end_plugin, endpoints, inspect, refused, start_plugin, stop_docker};
use crate::support::{EngineHost, comes_true};

const POOLS: &str = "/var/lib/netcord/docker/pools";

/// docker's address of a container in a network.
#[track_caller]
fn address(host: &EngineHost, container: &str, network: &str) -> String {
    inspect(host, container, &format!("(index .NetworkSettings.Networks \"{network}\").IPAddress"))
}

/// Checks that docker does not run a container, with these words, and that nothing is left.
#[track_caller]
fn not_run(host: &EngineHost, options: &str, words: &str) {
    refused(&host.docker(&format!("run -d --name no {options} busybox")), words);
    host.docker("rm -f no").ok();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a dockerd for each sequence would take longer than all")]
fn netcord_assigns_dockers_addresses() {
    let host = EngineHost::without_engines();
    host.sh("mkdir -p /etc/docker && echo '{\"live-restore\": true}' >/etc/docker/daemon.json")
        .ok();
    start_plugin(&host);
    host.start_docker();
    host.import_busybox();
    let before = host.snapshot();

    // netcord chooses a subnet that nothing on the host uses: docker0 has the first.
    host.netcord("bridge own --subnet 172.18.0.0/16").ok();
    host.docker("network create -d netcord --ipam-driver netcord one").ok();
    host.docker("network create -d netcord --ipam-driver netcord --ipv6 two").ok();
    let subnets = |network: &str| {
        host.docker(&format!(
            "network inspect -f '{{{{range .IPAM.Config}}}}{{{{.Subnet}}}} {{{{.Gateway}}}},{{{{end}}}}' {network}"
        ))
        .ok()
    };
    assert_eq!(subnets("one"), "172.19.0.0/16 172.19.0.1,");
    assert!(subnets("two").starts_with("172.20.0.0/16 172.20.0.1,fd"), "{}", subnets("two"));

    // What is attached by hand is not assigned, and the other way round.
    let bridge = host.sh("ip -br -4 addr | awk '/172.19.0.1/ {print $1}'").ok();
    host.netns(&["ns"]);
    assert_eq!(host.netcord(&format!("attach {bridge} ns")).ok(), "172.19.0.2");
    host.run_docker("web", "--network one");
    assert_eq!(address(&host, "web", "one"), "172.19.0.3");
    host.serve_docker("web");
    assert_eq!(host.fetch("ns", "http://172.19.0.3").ok(), "web");
    host.run_docker("six", "--network two");
    let six = inspect(&host, "six", "(index .NetworkSettings.Networks \"two\").GlobalIPv6Address");
    assert!(six.ends_with("::2"), "{six}");

    // As asked for, within what was asked for.
    host.docker(
        "network create -d netcord --ipam-driver netcord --subnet 10.61.0.0/24 --ip-range 10.61.0.64/30 \
         --gateway 10.61.0.9 --aux-address other=10.61.0.64 --aux-address far=10.61.0.200 three",
    )
    .ok();
    assert_eq!(subnets("three"), "10.61.0.0/24 10.61.0.9,");
    host.run_docker("db", "--network three");
    assert_eq!(address(&host, "db", "three"), "10.61.0.65");
    host.run_docker("fixed", "--network three --ip 10.61.0.130");
    for taken in ["10.61.0.130", "10.61.0.64", "10.61.0.200", "10.61.0.9"] {
        not_run(&host, &format!("--network three --ip {taken}"), taken);
    }
    for (options, why) in [
        ("--subnet 10.61.0.0/24", "overlaps with 10.61.0.0/24"),
        ("--subnet 10.61.0.0/16", "overlaps with 10.61.0.0/24"),
        ("--subnet 127.0.0.0/16", "is the loopback"),
        ("--subnet 172.18.0.0/17", "overlaps with network `own`"),
        ("--subnet 10.62.0.0/24 --ipam-opt colour=red", "no options"),
    ] {
        let create = format!("network create -d netcord --ipam-driver netcord {options} no");
        refused(&host.docker(&create), why);
    }
    assert_eq!(host.sh(&format!("ls {POOLS} | wc -l")).ok(), "4", "refused ones are free again");
    host.docker("rm -f fixed").ok();
    host.docker("run -d --name fixed --network three --ip 10.61.0.130 busybox").ok();

    // docker says again what it has when it starts, however it ended.
    for end in [EngineHost::crash_docker as fn(&EngineHost), stop_docker] {
        end(&host);
        host.start_docker();
        assert_eq!(host.fetch("ns", "http://172.19.0.3").ok(), "web");
        not_run(&host, "--network three --ip 10.61.0.130", "10.61.0.130");
        refused(
            &host
                .docker("network create -d netcord --ipam-driver netcord --subnet 10.61.0.0/24 no"),
            "overlaps with 10.61.0.0/24",
        );
        host.run_docker("next", "--network one");
        assert_eq!(address(&host, "next", "one"), "172.19.0.4");
        host.docker("restart -t 0 next").ok();
        assert_eq!(address(&host, "next", "one"), "172.19.0.4");
        host.docker("rm -f next").ok();
    }

    // docker's own drivers, and a network of netcord's that is there.
    host.docker("network create --ipam-driver netcord --subnet 10.63.0.0/24 bridge2").ok();
    host.run_docker("plain", "--network bridge2");
    assert_eq!(address(&host, "plain", "bridge2"), "10.63.0.2");
    host.docker(
        "network create -d netcord -o network=own --ipam-driver netcord --subnet 172.18.0.0/16 own",
    )
    .ok();
    host.netcord("attach own ns").ok();
    host.run_docker("guest", "--network own");
    assert_eq!(address(&host, "guest", "own"), "172.18.0.3");

    // A compose file, up and down.
    host.sh(
        "mkdir /run/app && cat >/run/app/docker-compose.yml <<'E'\n\
         version: '3'\n\
         services:\n  \
           web:\n    image: busybox\n    ports: ['8085:80']\n    networks: [back, front]\n    \
             command: sh -c 'echo composed >/www/index.html && exec httpd -f -p 80 -h /www'\n  \
           client:\n    image: busybox\n    networks: {back: {aliases: [me]}}\n\
         networks:\n  \
           back: {driver: netcord, internal: true, ipam: {driver: netcord, config: [{subnet: 10.64.0.0/24}]}}\n  \
           front: {driver: netcord, driver_opts: {no-spoof: 'true'}}\nE",
    )
    .ok();
    let compose = |words: &str| host.sh(&format!("cd /run/app && docker-compose {words} 2>&1"));
    compose("up -d").ok();
    host.until("docker exec app_client_1 busybox wget -qO- http://web");
    assert_eq!(host.docker("exec app_client_1 busybox wget -qO- http://web").ok(), "composed");
    assert_eq!(host.fetch("host", "http://127.0.0.1:8085").ok(), "composed");
    compose("restart -t 0").ok();
    host.until("docker exec app_client_1 busybox wget -qO- http://web");
    compose("down -t 0").ok();

    host.docker("rm -f web six db fixed plain guest").ok();
    host.netcord(&format!("detach {bridge} ns")).ok();
    host.docker("network rm one two three bridge2").ok();
    host.docker("network rm own").ok();
    assert_eq!(host.sh(&format!("ls {POOLS}")).ok(), "", "released");
    host.netcord("detach own ns").ok();
    host.netcord("rm own").ok();
    host.sh("ip netns del ns").ok();
    before.assert_same(&host.snapshot(), "after all");
    end_plugin(&host, "TERM");
}

#[test]
fn containers_join_the_physical_network() {
    let host = EngineHost::new();
    host.neighbour("outside");
    start_plugin(&host);
    let before = host.snapshot();
    let page = |name: &str, address: &str| {
        host.serve_docker(name);
        assert_eq!(host.fetch("outside", &format!("http://{address}")).ok(), name);
    };

    // docker moves the macvlan that netcord made, and the neighbours see it.
    host.docker(
        "network create -d netcord -o driver=macvlan -o parent=eth0 --subnet 192.0.2.0/24 \
         --gateway 192.0.2.2 lan",
    )
    .ok();
    let empty = host.snapshot();
    host.run_docker("web", "--network lan --ip 192.0.2.50");
    page("web", "192.0.2.50");
    host.run_docker("db", "--network lan --ip 192.0.2.51");
    assert_eq!(host.docker("exec db busybox wget -qO- http://web").ok(), "web");
    let listed = endpoints(&host);
    assert_eq!(listed.iter().map(|e| &e["state"]).collect::<Vec<_>>(), ["up", "up"]);
    assert_eq!(host.netcord("repair --check").ok(), "");
    host.netcord("repair").ok();
    host.docker("restart -t 0 web").ok();
    page("web", "192.0.2.50");
    host.crash_docker();
    host.sh("for pid in $(pidof sleep); do kill -KILL $pid; done").ok();
    host.start_docker();
    host.docker("start web").ok();
    page("web", "192.0.2.50");
    host.docker("rm -f web db").ok();
    host.netcord("prune").ok();
    empty.assert_same(&host.snapshot(), "macvlan: after rm");
    host.docker("network rm lan").ok();
    before.assert_same(&host.snapshot(), "macvlan: after network rm");

    // netcord asks the wire before it assigns an address.
    host.docker(
        "network create -d netcord -o driver=underlay -o parent=eth0 -o takeover=true \
         --ipam-driver null lan",
    )
    .ok();
    host.run_docker("web", "--network lan");
    assert_eq!(address(&host, "web", "lan"), "192.0.2.3");
    page("web", "192.0.2.3");
    assert_eq!(host.fetch("host", "http://192.0.2.3").ok(), "web");
    host.docker("rm -f web").ok();
    host.docker("network rm lan").ok();
    before.assert_same(&host.snapshot(), "underlay: after network rm");

    for (options, why) in [
        ("-o driver=macvlan -o parent=eth7 --subnet 192.0.2.0/24", "eth7"),
        ("-o driver=underlay -o parent=eth0 -o takeover=true --subnet 10.9.0.0/24", "192.0.2.0/24"),
        ("-o driver=macvlan -o parent=eth0 --internal", "--internal"),
    ] {
        refused(&host.docker(&format!("network create -d netcord {options} no")), why);
        before.assert_same(&host.snapshot(), options);
    }
}

#[test]
fn containers_of_two_dockers_reach_each_other() {
    let hosts = [1, 2].map(|_| EngineHost::new());
    EngineHost::connect(&hosts[0], &hosts[1]);
    let store = hosts[0].start_etcd("192.0.2.1");
    let before = hosts.each_ref().map(|host| host.snapshot());
    for host in &hosts {
        start_plugin(host);
        host.docker(&format!(
            "network create -d netcord -o driver=overlay -o store={store} \
             -o prefix=/netcord/pods -o subnet=10.5.0.0/16 --ipam-driver null pods"
        ))
        .ok();
        host.run_docker("web", "--network pods");
        host.serve_docker("web");
        host.run_docker("client", "--network pods");
        assert_eq!(host.docker("exec client busybox wget -qO- http://web").ok(), "web");
    }
    let addresses = hosts.each_ref().map(|host| address(host, "web", "pods"));
    assert_ne!(addresses[0], addresses[1]);
    for (host, other) in [(&hosts[0], &addresses[1]), (&hosts[1], &addresses[0])] {
        // The agents of both learn of each other from the store.
        host.until(&format!("ip route get {other} | grep -q ' dev vx-'"));
        assert_eq!(host.fetch_docker("client", &format!("http://{other}")).ok(), "web");
    }

    // A compose file on each host, on the same network, and one docker that is killed meanwhile.
    let file = "version: '3'\nservices:\n  app:\n    image: busybox\n    networks: [pods, front]\n    \
                ports: ['8085:80']\n    \
                command: sh -c 'echo composed >/www/index.html && exec httpd -f -p 80 -h /www'\n\
                networks:\n  pods: {external: true}\n  front: {driver: netcord}\n";
    let compose = |host: &EngineHost, words: &str| {
        host.sh(&format!("cd /run/app && docker-compose {words} 2>&1")).ok()
    };
    for host in &hosts {
        host.sh(&format!("mkdir /run/app && cat >/run/app/docker-compose.yml <<'E'\n{file}E")).ok();
        compose(host, "up -d");
    }
    hosts[1].crash_docker();
    hosts[1].start_docker();
    compose(&hosts[1], "up -d");
    let composed = hosts.each_ref().map(|host| address(host, "app_app_1", "pods"));
    for (host, other) in [(&hosts[0], &composed[1]), (&hosts[1], &composed[0])] {
        if host.docker("inspect -f '{{.State.Running}}' client").ok() == "false" {
            host.docker("start client").ok();
        }
        let page = |url: &str| host.fetch_docker("client", url);
        assert!(comes_true(|| page(&format!("http://{other}")).code == 0));
        assert_eq!(page(&format!("http://{other}")).ok(), "composed");
        assert_eq!(host.docker("exec client busybox wget -qO- http://app").ok(), "composed");
        for address in ["192.0.2.1", "192.0.2.2"] {
            assert_eq!(host.fetch("host", &format!("http://{address}:8085")).ok(), "composed");
        }
    }
    for host in &hosts {
        compose(host, "down -t 0");
    }
    for (host, before) in hosts.iter().zip(before).rev() {
        host.docker("rm -f web client").ok();
        host.docker("network rm pods").ok();
        before.assert_same(&host.snapshot(), "after network rm");
    }
}
