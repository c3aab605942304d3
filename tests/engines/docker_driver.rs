//! netcord as docker's network driver, with the real dockerd. Each dockerd serves several sequences.

use serde_json::Value;

use crate::support::{EngineHost, NETCORD, Run};

pub(super) const SOCKET: &str = "/run/docker/plugins/netcord.sock";
const PAGE: &str = "http://192.0.2.1:8080";

/// Starts the plugin, and waits until it listens.
#[track_caller]
pub(super) fn start_plugin(host: &EngineHost) {
    let dir = host.dir();
    host.sh(&format!(
        "setsid {NETCORD} docker-plugin --listen >>{dir}/plugin.log 2>&1 & echo $! >/run/plugin.pid"
    ))
    .ok();
    host.until(&format!("curl -fsS -X POST --unix-socket {SOCKET} http://d/Plugin.Activate"));
}

/// Sends the plugin a signal, and waits until it has ended.
#[track_caller]
pub(super) fn end_plugin(host: &EngineHost, signal: &str) {
    host.sh(&format!("kill -{signal} $(cat /run/plugin.pid)")).ok();
    host.until("! grep -qs '^State:.[^Z]' /proc/$(cat /run/plugin.pid)/status");
}

/// The endpoints that netcord lists.
#[track_caller]
pub(super) fn endpoints(host: &EngineHost) -> Vec<Value> {
    let listed: Value = serde_json::from_str(&host.netcord("ps --format json").ok()).unwrap();
    listed["items"].as_array().or(listed.as_array()).unwrap().clone()
}

/// What is between the braces of docker's inspect.
#[track_caller]
pub(super) fn inspect(host: &EngineHost, container: &str, what: &str) -> String {
    host.docker(&format!("inspect -f '{{{{{what}}}}}' {container}")).ok()
}

/// Checks that docker refuses a command, with these words.
#[track_caller]
pub(super) fn refused(run: &Run, words: &str) {
    assert!(run.code != 0 && run.stderr.contains(words), "{run:?}");
}

/// Calls the plugin as docker does; returns its answer.
#[track_caller]
pub(super) fn call(host: &EngineHost, method: &str, body: &str) -> String {
    host.sh(&format!("curl -sS -X POST --unix-socket {SOCKET} -d '{body}' http://d/{method}")).ok()
}

/// The lines of the plugin's log about a method, less their IDs and times.
fn logged(host: &EngineHost, method: &str) -> usize {
    let log = host.sh(&format!("cat {}/plugin.log", host.dir())).ok();
    log.lines().filter(|line| line.starts_with(method)).count()
}

#[test]
fn containers_live_on_networks_of_netcords() {
    let host = EngineHost::new();
    host.neighbour("outside");
    start_plugin(&host);
    let before = host.snapshot();
    host.docker("network create -d netcord --subnet 10.50.0.0/24 mn").ok();
    let empty = host.snapshot();

    // run: an address of docker's choice or the user's, ports by netcord, names by docker.
    host.run_docker("web", "--network mn -p 8080:80 --ip 10.50.0.50");
    host.serve_docker("web");
    host.run_docker("db", "--network mn --network-alias data");
    assert_eq!(host.fetch("outside", PAGE).ok(), "web");
    assert_eq!(host.fetch("host", PAGE).ok(), "web");
    assert_eq!(host.fetch("host", "http://127.0.0.1:8080").ok(), "web");
    assert_eq!(host.fetch_docker("db", PAGE).ok(), "web");
    assert_eq!(host.fetch_docker("db", "http://10.50.0.50").ok(), "web");
    assert_eq!(host.docker("exec db busybox wget -qO- http://web").ok(), "web");
    assert_eq!(host.docker("port web").ok(), "", "docker knows nothing of the ports");
    let listed = endpoints(&host);
    assert_eq!(
        listed.iter().map(|e| e["target"].as_str().unwrap()).collect::<Vec<_>>(),
        ["db", "web"]
    );
    let web = &listed[1];
    assert_eq!(
        (&web["state"], &web["ifname"], &web["addresses"][0], &web["mac"]),
        (&"up".into(), &"eth0".into(), &"10.50.0.50/24".into(), &"02:42:0a:32:00:32".into())
    );
    assert_eq!(web["owner"]["interface"], "docker");
    let network = web["network"].as_str().unwrap();

    // netcord knows the container, and leaves it to docker.
    assert_eq!(host.netcord("doctor").ok(), "");
    assert_eq!(host.netcord("repair --check").ok(), "");
    assert!(host.netcord("graph").ok().contains("0.0.0.0:8080 -> 80/tcp"));
    assert!(host.netcord("trace db web:80").ok().contains("arrives: web listens on 80/tcp"));
    assert!(host.netcord("inspect web").ok().contains("\"web\""));
    assert!(!host.netcord("export").ok().contains("10.50.0.50"));
    host.netcord(&format!("detach {network} web")).fails(4, &["docker attached `web`"]);
    host.netcord("prune").ok();
    assert_eq!(endpoints(&host).len(), 2);

    // A second network, connected and disconnected while the container runs.
    host.docker("network create -d netcord --subnet 10.51.0.0/24 second").ok();
    host.docker("network connect --ip 10.51.0.9 second db").ok();
    host.docker("network connect second web").ok();
    assert!(host.docker("exec db cat /proc/net/route").ok().contains("eth1\t0000330A"));
    assert_eq!(
        host.fetch_docker(
            "db",
            &format!(
                "http://{}",
                inspect(&host, "web", "(index .NetworkSettings.Networks \"second\").IPAddress")
            )
        )
        .ok(),
        "web"
    );
    assert_eq!(endpoints(&host).len(), 4);
    host.docker("network disconnect second db").ok();
    host.docker("network disconnect second web").ok();
    refused(&host.docker("network rm mn"), "has active endpoints");
    host.docker("network rm second").ok();
    assert_eq!(host.fetch("outside", PAGE).ok(), "web");

    // Stopped and started in every way; each start is a new endpoint.
    for again in
        ["restart -t 0 web", "kill web && docker start web", "stop -t 0 web && docker start web"]
    {
        host.docker(again).ok();
        host.serve_docker("web");
        assert_eq!(host.fetch("outside", PAGE).ok(), "web", "{again}");
        assert_eq!(inspect(&host, "web", ".NetworkSettings.Networks.mn.IPAddress"), "10.50.0.50");
    }
    host.sh(&format!("kill -KILL {}", host.docker_pid("web"))).ok();
    host.until("! docker inspect -f '{{.State.Running}}' web | grep -q true");
    assert_ne!(host.fetch("outside", PAGE).code, 0);
    assert_eq!(endpoints(&host).len(), 1);
    host.docker("rm -f web db").ok();
    empty.assert_same(&host.snapshot(), "after rm");

    // What is taken is refused, and leaves nothing.
    host.run_docker("one", "--network mn -p 8080:80");
    refused(
        &host.docker("run -d --name two --network mn -p 8080:80 busybox"),
        "8080/tcp of the host is taken by `one`",
    );
    host.docker("rm -f two one").ok();
    empty.assert_same(&host.snapshot(), "after refusals");

    // The plugin is killed while containers run, and their network goes on.
    host.run_docker("web", "--network mn -p 8080:80");
    host.serve_docker("web");
    end_plugin(&host, "KILL");
    assert_eq!(host.fetch("outside", PAGE).ok(), "web");
    start_plugin(&host);
    host.docker("restart -t 0 web").ok();
    host.serve_docker("web");
    assert_eq!(host.fetch("outside", PAGE).ok(), "web");
    host.docker("rm -f web").ok();
    host.docker("network rm mn").ok();
    before.assert_same(&host.snapshot(), "after all");
    end_plugin(&host, "TERM");
    assert_ne!(host.sh(&format!("test -e {SOCKET}")).code, 0);
    assert!(logged(&host, "NetworkDriver.Leave") >= 8);
}

/// Ends dockerd with SIGTERM.
#[track_caller]
pub(super) fn stop_docker(host: &EngineHost) {
    host.sh("cp /run/docker.pid /run/former.pid && kill -TERM $(cat /run/former.pid)").ok();
    host.until("! grep -qs '^State:.[^Z]' /proc/$(cat /run/former.pid)/status");
    host.sh(&format!("rm -f /run/docker.pid {}/docker-run/containerd/*.pid", host.dir())).ok();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a dockerd for each sequence would take longer than all")]
fn networks_outlive_docker_and_the_plugin() {
    let host = EngineHost::without_engines();
    host.neighbour("outside");
    host.sh("mkdir -p /etc/docker && echo '{\"live-restore\": true}' >/etc/docker/daemon.json")
        .ok();
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
    let verified = host.sh(&format!(
        "mkdir /run/units && cd /run/units && cp {packaging}/netcord-docker.socket . && \
         sed 's|/usr/bin/netcord|{NETCORD}|' {packaging}/netcord-docker@.service >netcord-docker@.service && \
         systemd-analyze verify ./netcord-docker.socket ./netcord-docker@1.service 2>&1"
    ));
    assert_eq!(verified.ok(), "");
    // A process a call, as systemd starts it.
    host.sh(&format!(
        "mkdir -p /run/docker/plugins; setsid systemd-socket-activate --accept --inetd -l {SOCKET} \
         {NETCORD} docker-plugin >{}/plugin.log 2>&1 &",
        host.dir()
    ))
    .ok();
    host.start_docker();
    host.import_busybox();
    let before = host.snapshot();
    host.netcord("bridge pods --subnet 10.60.0.0/24 --no-spoof").ok();
    host.docker("network create -d netcord -o network=pods --subnet 10.60.0.0/24 pn").ok();
    host.docker(
        "network create -d netcord --internal --ipv6 --subnet 10.61.0.0/24 --subnet fd61::/64 in",
    )
    .ok();
    let empty = host.snapshot();

    // Internal, with IPv6, and on a network of netcord's with another program's target.
    host.netns(&["ns"]);
    host.netcord("attach pods ns --ip 10.60.0.200").ok();
    host.run_docker("web", "--network pn -p 127.0.0.1:8080:80 -p 53:53/udp -p 8090-8099:81");
    host.serve_docker("web");
    host.run_docker("shut", "--network in --ip6 fd61::9");
    host.serve_docker("shut");
    host.run_docker("also", "--network in");
    assert_eq!(host.fetch("ns", "http://10.60.0.2").ok(), "web");
    assert_eq!(host.fetch("host", "http://127.0.0.1:8080").ok(), "web");
    assert_ne!(host.fetch("outside", PAGE).code, 0);
    assert_eq!(host.fetch_docker("also", "http://[fd61::9]").ok(), "shut");
    assert!(!host.docker("exec shut cat /proc/net/route").ok().contains("eth0\t00000000\t"));
    assert!(inspect(&host, "shut", "json .NetworkSettings.Networks").contains("fd61::9"));
    let ports = host.netcord("port web").ok();
    assert!(ports.contains("8090") && ports.contains("53/udp"), "{ports}");
    let found = host.netcord("doctor").exits(1).stdout;
    assert_eq!(found.matches("no socket has").count(), 2, "nothing else: {found}");
    assert_eq!(found.lines().filter(|line| !line.is_empty()).count(), 4, "nothing else: {found}");

    // docker is killed and comes back, while its containers live; then without one of them.
    for (how, end) in
        [("killed", EngineHost::crash_docker as fn(&EngineHost)), ("ended", stop_docker)]
    {
        end(&host);
        assert_eq!(host.fetch("ns", "http://10.60.0.2").ok(), "web", "{how}");
        host.start_docker();
        assert_eq!(host.fetch("host", "http://127.0.0.1:8080").ok(), "web", "{how}");
        host.docker("restart -t 0 also").ok();
        assert_eq!(endpoints(&host).len(), 4, "{how}");
    }
    host.docker("rm -f shut also").ok();
    host.crash_docker();
    host.sh("for pid in $(pidof sleep); do kill -KILL $pid; done").ok();
    host.until("! ip -br link | grep -q '^nc.*@' || ! netcord ps 2>/dev/null | grep -q web");
    host.start_docker();
    host.docker("rm -f web").ok();

    // The records are lost, as at a reboot: a network is made again from what docker asked for.
    host.netcord("detach pods ns").ok();
    host.sh("ip netns del ns").ok();
    empty.assert_same(&host.snapshot(), "after the crash");
    let made = host.sh("ip -br link show type bridge | grep -o '^nc-[0-9a-f]*'").ok();
    host.netcord(&format!("rm {made}")).ok();
    host.run_docker("again", "--network in");
    assert!(host.sh(&format!("ip -br link show {made}")).ok().contains(&made));
    host.docker("rm -f again").ok();
    host.sh("mv /var/lib/netcord/docker /var/lib/netcord/away").ok();
    refused(&host.docker("run --rm --network in busybox true"), "docker network rm");
    host.sh("mv /var/lib/netcord/away /var/lib/netcord/docker").ok();
    empty.assert_same(&host.snapshot(), "after the records were away");

    // What docker forgot is found against its list.
    host.run_docker("lost", "--network pn");
    let lives = endpoints(&host).remove(0);
    let (lost, used) = (&lives["owner"], lives["addresses"][0].as_str().unwrap());
    let (network, id) = (lost["network"].as_str().unwrap(), lost["id"].as_str().unwrap());
    let ids = |id: &str| format!("\"NetworkID\":\"{network}\",\"EndpointID\":\"{id}\"");
    let other = "0".repeat(64);
    let body = format!("{{{},\"Interface\":{{\"Address\":\"10.60.0.77/24\"}}}}", ids(&other));
    let made = call(&host, "NetworkDriver.CreateEndpoint", &body);
    assert!(made.contains("\"MacAddress\":\"02:42:0a:3c:00:4d\""), "{made}");
    assert_eq!(call(&host, "NetworkDriver.CreateEndpoint", &body), made, "again");
    // An address of a container that lives is taken; one of an endpoint that docker did not get is not.
    let third = body.replace(&other, &"1".repeat(64));
    let clash = call(&host, "NetworkDriver.CreateEndpoint", &third.replace("10.60.0.77/24", used));
    assert!(clash.contains("\"Err\"") && clash.contains("is taken by"), "{clash}");
    assert_eq!(call(&host, "NetworkDriver.CreateEndpoint", &third), made, "in its place");
    assert_eq!(call(&host, "NetworkDriver.CreateEndpoint", &body), made, "and back");
    let join = format!("{{{},\"SandboxKey\":\"/run/nothing/there\"}}", ids(&other));
    let joined = call(&host, "NetworkDriver.Join", &join);
    assert!(joined.contains("\"Gateway\":\"10.60.0.1\""), "{joined}");
    assert_eq!(call(&host, "NetworkDriver.Join", &join), joined, "again");
    assert!(call(&host, "NetworkDriver.Join", "").contains("lost its connection"));
    assert!(
        call(&host, "NetworkDriver.Join", &join.replace("/run/n", "../n"))
            .contains("no absolute path")
    );
    assert!(call(&host, "NetworkDriver.Nonsense", "{}").contains("does not have this method"));
    assert_eq!(endpoints(&host).len(), 2);
    assert!(host.netcord("prune").ok().contains("endpoint pods/docker-000000000000"));
    assert_eq!(endpoints(&host).len(), 1);
    assert_eq!(call(&host, "NetworkDriver.Leave", &format!("{{{}}}", ids(&other))), "{}");
    assert_eq!(call(&host, "NetworkDriver.DeleteEndpoint", &format!("{{{}}}", ids(id))), "{}");
    assert_eq!(endpoints(&host).len(), 0, "whatever came before");
    host.docker("rm -f lost").ok();
    empty.assert_same(&host.snapshot(), "after prune");

    // What is refused.
    for (options, why) in [
        ("-o network=absent", "absent"),
        ("-o network=pods --subnet 10.99.0.0/24", "10.60.0.0/24"),
        ("-o colour=red", "option `colour=red`"),
        ("-o driver=macvlan", "-o parent="),
    ] {
        refused(&host.docker(&format!("network create -d netcord {options} no")), why);
    }
    empty.assert_same(&host.snapshot(), "after refusals");

    // docker publishes, on its own second link.
    host.docker("network create -d netcord --subnet 10.62.0.0/24 -o ports=docker dn").ok();
    host.run_docker("web", "--network dn -p 8080:80");
    host.serve_docker("web");
    assert_eq!(host.fetch("outside", PAGE).ok(), "web");
    assert!(host.docker("port web").ok().contains("80/tcp -> 0.0.0.0:8080"));
    assert_eq!(host.netcord("port web").ok(), "");
    host.docker("rm -f web").ok();
    for network in ["dn", "in", "pn", "docker_gwbridge"] {
        host.docker(&format!("network rm {network}")).ok();
    }
    refused(
        &host.docker("network create -d netcord -o network=pods --subnet 10.60.0.0/25 no"),
        "--subnet 10.60.0.0/24 --ip-range 10.60.0.0/25",
    );
    host.netcord("rm pods").ok();
    before.assert_same(&host.snapshot(), "after all");
}
