//! podman with netcord in the place of its network program, netavark.

use crate::support::{EngineHost, Run, netavark};

/// A host whose podman calls netcord by the name of netavark.
fn host() -> EngineHost {
    let host = EngineHost::without_engines();
    let (dir, helpers) = (host.dir().to_string(), netavark::packages());
    host.sh(&format!(
        "mkdir -p {dir}/helpers {dir}/networks && ln -s {netcord} {dir}/helpers/netavark
         ln -s {aardvark} {dir}/helpers/aardvark-dns
         echo '[engine]
         helper_binaries_dir = [\"{dir}/helpers\", \"/usr/lib/podman\", \"/usr/libexec/podman\"]
         [network]
         network_backend = \"netavark\"' >/run/containers.conf",
        netcord = env!("CARGO_BIN_EXE_netcord"),
        aardvark = helpers.join("usr/lib/podman/aardvark-dns").display(),
    ))
    .ok();
    podman(&host, &format!("import -q {dir}/busybox.tar localhost/busybox")).ok();
    host
}

fn podman(host: &EngineHost, words: &str) -> Run {
    let (podman, dir) = (host.podman_command(), host.dir());
    host.sh(&format!(
        "CONTAINERS_CONF=/run/containers.conf {podman} --network-backend netavark \
         --network-config-dir {dir}/networks {words}"
    ))
}

/// The options of a container that sleeps.
const SLEEP: &str =
    "--ulimit nofile=1024:1024 --ulimit nproc=4096:4096 localhost/busybox sleep 3600";

fn run(host: &EngineHost, name: &str, options: &str) -> Run {
    podman(host, &format!("run -d --name {name} {options} {SLEEP}"))
}

fn inspect(host: &EngineHost, name: &str, what: &str) -> String {
    podman(host, &format!("inspect -f '{{{{{what}}}}}' {name}")).ok()
}

fn serve(host: &EngineHost, name: &str) {
    let page = format!("echo {name} >/www/index.html && httpd -p 80 -h /www");
    podman(host, &format!("exec {name} sh -c '{page}'")).ok();
}

#[test]
fn its_containers_are_on_networks_of_netcord() {
    let host = host();
    host.neighbour("outside");
    let before = host.snapshot();
    run(&host, "web", "-p 8080:80 -p 9080-9081:80-81").ok();
    assert_eq!(inspect(&host, "web", ".NetworkSettings.IPAddress"), "10.88.0.2");
    serve(&host, "web");
    for url in ["http://192.0.2.1:8080/", "http://127.0.0.1:8080/"] {
        assert_eq!(host.fetch("host", url).ok(), "web");
    }
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080/").ok(), "web");
    let shown = host.netcord("ps").ok();
    assert!(shown.contains("web") && shown.contains("8080->80/tcp"), "{shown}");
    // podman holds the ports itself, for its container.
    let doctor = host.netcord("doctor").stdout;
    assert!(!doctor.contains("conmon"), "{doctor}");
    let id = inspect(&host, "web", ".Id");
    assert!(!host.netcord("export").ok().contains(&id), "an engine makes it again itself");
    host.netcord("detach podman0 web").fails(4, &["podman"]);

    // What is refused leaves nothing behind.
    run(&host, "twin", "-p 8080:80").exits(126);
    podman(&host, "rm -f twin").ok();

    // Networks of users, with all that one can ask for.
    podman(&host, "network create --subnet 10.30.0.0/24 --ipv6 --subnet fd00:30::/64 front").ok();
    podman(&host, "network create --subnet 10.31.0.0/24 --internal --disable-dns back").ok();
    let options = "--network front:ip=10.30.0.77,mac=02:00:00:00:00:77 --network back";
    run(&host, "db", options).ok();
    let exec = |name: &str, words: &str| podman(&host, &format!("exec {name} busybox {words}"));
    let links = exec("db", "ip addr").ok();
    for part in ["10.30.0.77/24", "02:00:00:00:00:77", "10.31.0.1/24", "fd00:30::"] {
        assert!(links.contains(part), "{part}: {links}");
    }
    let routes = exec("db", "ip route").ok();
    assert_eq!(routes.matches("default").count(), 1, "{routes}");
    assert!(routes.contains("default via 10.30.0.1"), "{routes}");

    // Names are served by aardvark-dns.
    run(&host, "cli", "--network front --network-alias www").ok();
    let found = exec("db", "nslookup cli.dns.podman 10.30.0.1").ok();
    let address = inspect(&host, "cli", ".NetworkSettings.Networks.front.IPAddress");
    assert!(found.contains(&address), "{found}");
    assert!(exec("db", "nslookup www.dns.podman 10.30.0.1").ok().contains(&address));

    // It joins another network, and leaves the one with which its ports were published.
    podman(&host, "network connect front web").ok();
    assert!(exec("web", "ip addr show eth1").ok().contains("10.30.0."));
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080/").ok(), "web");
    podman(&host, "network disconnect podman web").ok();
    assert!(!exec("web", "ip link").ok().contains("eth0"));
    // Its default route went with that network: that of the other one was there already.
    let routes = exec("web", "ip route").ok();
    assert!(routes.contains("default via 10.30.0.1 dev eth1"), "{routes}");
    assert_eq!(host.fetch("host", "http://127.0.0.1:8080/").ok(), "web");
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080/").ok(), "web");
    exec("web", "ping -qc1 -W2 192.0.2.2").ok();
    podman(&host, "network connect podman web").ok();
    podman(&host, "network disconnect front web").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080/").ok(), "web");
    podman(&host, "network reload --all").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080/").ok(), "web");

    // It restarts, with another namespace.
    podman(&host, "restart -t 0 web").ok();
    serve(&host, "web");
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080/").ok(), "web");
    host.sh(&format!("kill -KILL {}", inspect(&host, "web", ".State.Pid"))).ok();
    host.until("! ip link show podman0");

    // A pod: its containers share the namespace of the first.
    let changes = r#"-c 'ENTRYPOINT ["/bin/sleep", "3600"]'"#;
    podman(&host, &format!("import -q {changes} {}/busybox.tar localhost/infra", host.dir())).ok();
    podman(&host, "pod create --name pod -p 8081:80 --infra-image localhost/infra").ok();
    run(&host, "member", "--pod pod").ok();
    serve(&host, "member");
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8081/").ok(), "member");
    podman(&host, "pod rm -f pod").ok();

    // A network with several subnets of a family: an address of each.
    podman(&host, "network create --subnet 10.32.0.0/24 --subnet 10.33.0.0/24 --ipv6 --subnet fd00:32::/64 wide")
        .ok();
    run(&host, "wide", "--network wide").ok();
    serve(&host, "wide");
    let routes = exec("wide", "ip route").ok();
    assert!(routes.contains("default via 10.32.0.1"), "{routes}");
    for address in ["10.32.0.2", "10.33.0.2", "[fd00:32::2]"] {
        assert_eq!(host.fetch("host", &format!("http://{address}/")).ok(), "wide");
    }

    podman(&host, "rm -f -t 0 web db cli wide").ok();
    podman(&host, "network rm front back wide").ok();
    assert_eq!(host.netcord("ps --json").ok(), "[]");
    assert_eq!(host.netcord("ls --json").ok(), "[]");
    before.assert_same(&host.snapshot(), "after rm");
}
