//! netcord as docker's network driver, with the real dockerd. Each dockerd serves several sequences.

use serde_json::Value;

use crate::support::{EngineHost, NETCORD, Run};

const SOCKET: &str = "/run/docker/plugins/netcord.sock";
const PAGE: &str = "http://192.0.2.1:8080";

/// Starts the plugin, and waits until it listens.
#[track_caller]
fn start_plugin(host: &EngineHost) {
    let dir = host.dir();
    host.sh(&format!(
        "setsid {NETCORD} docker-plugin --listen >>{dir}/plugin.log 2>&1 & echo $! >/run/plugin.pid"
    ))
    .ok();
    host.until(&format!("curl -fsS -X POST --unix-socket {SOCKET} http://d/Plugin.Activate"));
}

/// Sends the plugin a signal, and waits until it has ended.
#[track_caller]
fn end_plugin(host: &EngineHost, signal: &str) {
    host.sh(&format!("kill -{signal} $(cat /run/plugin.pid)")).ok();
    host.until("! grep -qs '^State:.[^Z]' /proc/$(cat /run/plugin.pid)/status");
}

/// The endpoints that netcord lists.
#[track_caller]
fn endpoints(host: &EngineHost) -> Vec<Value> {
    let listed: Value = serde_json::from_str(&host.netcord("ps --format json").ok()).unwrap();
    listed["items"].as_array().or(listed.as_array()).unwrap().clone()
}

/// What is between the braces of docker's inspect.
#[track_caller]
fn inspect(host: &EngineHost, container: &str, what: &str) -> String {
    host.docker(&format!("inspect -f '{{{{{what}}}}}' {container}")).ok()
}

/// Checks that docker refuses a command, with these words.
#[track_caller]
fn refused(run: &Run, words: &str) {
    assert!(run.code != 0 && run.stderr.contains(words), "{run:?}");
}

/// The lines of the plugin's log about a method, less their IDs and times.
fn logged(host: &EngineHost, method: &str) -> usize {
    let log = host.sh(&format!("cat {}/plugin.log", host.dir())).ok();
    log.lines().filter(|line| line.starts_with(method)).count()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a dockerd for each sequence would take longer than all")]
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
