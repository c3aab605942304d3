//! Real container runtimes that call netcord as a CNI plugin: podman, and containerd's `ctr`.

use serde_json::{Value, json};

use crate::support::{
    EngineHost, Run,
    cni::plugins,
    cri::{self, Message},
};

/// A host with a list of plugins in `/run/cni`, which no other program reads.
pub(super) fn node(name: &str, plugin: &Value) -> EngineHost {
    let host = EngineHost::without_engines();
    plugins(&host);
    let list = json!({
        "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": name, "plugins": [plugin],
    });
    host.sh(&format!(
        "mkdir -p /run/cni && echo '{list}' >/run/cni/10-{name}.conflist
         echo '[network]
         network_backend = \"cni\"
         cni_plugin_dirs = [\"/run/cni-bin\"]' >/run/containers.conf"
    ))
    .ok();
    host
}

fn plugin(bridge: &str, subnet: &str) -> Value {
    json!({
        "type": "netcord", "bridge": bridge, "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "capabilities": {"portMappings": true, "ips": true, "mac": true, "aliases": true},
        "ipam": {"type": "host-local", "subnet": subnet, "routes": [{"dst": "0.0.0.0/0"}]},
    })
}

/// podman, with CNI as its network backend.
fn podman(host: &EngineHost, words: &str) -> Run {
    let podman = host.podman_command();
    host.sh(&format!(
        "CONTAINERS_CONF=/run/containers.conf {podman} --network-backend cni \
         --network-config-dir /run/cni {words}"
    ))
}

/// The options of a container that sleeps.
const SLEEP: &str =
    "--ulimit nofile=1024:1024 --ulimit nproc=4096:4096 localhost/busybox sleep 3600";

#[test]
fn podman_attaches_its_containers_by_the_plugin() {
    let host = node("pods", &plugin("cni0", "10.22.0.0/16"));
    host.neighbour("outside");
    podman(&host, &format!("import -q {}/busybox.tar localhost/busybox", host.dir())).ok();
    assert!(podman(&host, "network ls").ok().contains("pods"));
    let run = |name: &str, options: &str| {
        podman(&host, &format!("run -d --name {name} --network pods {options} {SLEEP}"))
    };
    let inspect =
        |name: &str, what: &str| podman(&host, &format!("inspect -f '{{{{{what}}}}}' {name}")).ok();
    let address = |name: &str| inspect(name, ".NetworkSettings.Networks.pods.IPAddress");
    run("web", "-p 8080:80 --network-alias www").ok();
    assert_eq!(address("web"), "10.22.0.2");
    podman(&host, "exec web sh -c 'echo web >/www/index.html && httpd -p 80 -h /www'").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080/").ok(), "web");
    assert_eq!(host.fetch("host", "http://127.0.0.1:8080/").ok(), "web");
    let shown = host.netcord("ps").ok();
    assert!(shown.contains("web") && shown.contains("8080->80/tcp"), "{shown}");

    // A second one with all that one can ask for, which is refused while the port is taken.
    run("twin", "-p 8080:80").exits(126);
    podman(&host, "rm -f twin").ok();
    run("db", "--ip 10.22.0.77 --mac-address 02:00:00:00:00:77").ok();
    assert_eq!(address("db"), "10.22.0.77");
    let mac = inspect("db", ".NetworkSettings.Networks.pods.MacAddress");
    assert_eq!(mac, "02:00:00:00:00:77");
    let pid = inspect("db", ".State.Pid").parse().unwrap();
    assert_eq!(host.fetch_as(pid, "http://10.22.0.2/").ok(), "web");

    // A second network, and back.
    let second =
        json!({"cniVersion": "1.0.0", "name": "more", "plugins": [plugin("cni1", "10.23.0.0/16")]});
    host.sh(&format!("echo '{second}' >/run/cni/20-more.conflist")).ok();
    podman(&host, "network connect more db").ok();
    assert!(podman(&host, "exec db busybox ip -4 addr show eth1").ok().contains("10.23.0.2/16"));
    podman(&host, "network disconnect more db").ok();
    assert!(!podman(&host, "exec db busybox ip link").ok().contains("eth1"));
    podman(&host, "network reload db").ok();
    assert_eq!(address("db"), "10.22.0.77");

    // It restarts with another namespace, and the same port.
    podman(&host, "restart -t 0 web").ok();
    podman(&host, "exec web httpd -p 80 -h /www").ok();
    assert_eq!(host.fetch("outside", "http://192.0.2.1:8080/").ok(), "web");
    host.netcord("detach cni0 web").fails(4, &["a CNI runtime"]);
    // One that is killed, and one that is removed.
    host.sh(&format!("kill -KILL {}", inspect("db", ".State.Pid"))).ok();
    host.until("! ip -br link show type veth | grep -q 0a:16:00:4d");
    podman(&host, "rm -f web db").ok();
    let left = host.netcord("ps --json").ok();
    assert_eq!(left, "[]");
    assert!(host.rules_of_ports().is_empty());
    host.netcord("rm cni0 cni1").ok();
}

/// Starts containerd with the plugins of this host, and waits until it answers.
pub(super) fn start_containerd(host: &EngineHost) {
    let dir = host.dir();
    let config = format!(
        "version = 2
         root = \"{dir}/ctd\"
         state = \"/run/ctd\"
         [grpc]
         address = \"/run/ctd.sock\"
         [plugins.\"io.containerd.grpc.v1.cri\"]
         sandbox_image = \"docker.io/library/pause:1\"
         disable_apparmor = true
         restrict_oom_score_adj = true
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]
         snapshotter = \"native\"
         [plugins.\"io.containerd.grpc.v1.cri\".cni]
         bin_dir = \"/run/cni-bin\"
         conf_dir = \"/run/cni\"
         max_conf_num = 1"
    );
    host.sh(&format!(
        "echo '{config}' >/run/ctd.toml
         setsid containerd -c /run/ctd.toml >{dir}/ctd.log 2>&1 &"
    ))
    .ok();
    host.until("ctr -a /run/ctd.sock version >/dev/null 2>&1");
}

/// Gives `ctr` the plugins and the list of this host: it has both folders in its program.
pub(super) fn for_ctr(host: &EngineHost) {
    host.sh("mount -t tmpfs tmpfs /opt && mkdir -p /opt/cni && ln -s /run/cni-bin /opt/cni/bin
         rm -f /etc/cni/net.d/* && cp /run/cni/*.conflist /etc/cni/net.d/")
        .ok();
}

/// Imports the image of a sandbox, which serves its programs over HTTP.
pub(super) fn import_sandbox(host: &EngineHost) {
    let entry = "-c 'ENTRYPOINT [\"/bin/httpd\",\"-f\",\"-p\",\"80\",\"-h\",\"/bin\"]'";
    import(host, "k8s.io", "pause:1", entry);
}

/// Imports the image of busybox for a namespace of containerd's, with changes such as a command.
pub(super) fn import(host: &EngineHost, namespace: &str, name: &str, changes: &str) {
    let (dir, image) = (host.dir(), format!("docker.io/library/{name}"));
    podman(host, &format!("import -q {changes} {dir}/busybox.tar {image}")).ok();
    podman(host, &format!("save -q -o {dir}/image.tar {image}")).ok();
    host.sh(&format!(
        "ctr -a /run/ctd.sock -n {namespace} images import {dir}/image.tar; rm {dir}/image.tar"
    ))
    .ok();
}

/// What the kubelet asks of a runtime for each pod: a sandbox, with its ports and its names.
#[test]
fn containerd_attaches_the_pods_of_a_kubelet_by_the_plugin() {
    let host = node("pods", &plugin("cni0", "10.22.0.0/16"));
    host.neighbour("outside");
    start_containerd(&host);
    import_sandbox(&host);
    let sandbox = |name: &str, port: Option<usize>| cri::run_sandbox(&host, name, port);
    let ask = |method: &str, id: &str| cri::call(&host, method, &Message::default().with(1, id));
    let web = sandbox("web", Some(8080)).unwrap();
    let status = String::from_utf8_lossy(&ask("PodSandboxStatus", &web).unwrap()).into_owned();
    assert!(status.contains("10.22.0.2"), "{status}");
    assert_eq!(host.fetch("outside", "-o /dev/null http://192.0.2.1:8080/sleep").code, 0);
    let shown = host.netcord("ps").ok();
    assert!(shown.contains("default.web") && shown.contains("8080->80/tcp"), "{shown}");
    assert!(host.netcord("trace default.web 192.0.2.2").ok().contains("arrives"));
    // The second one asks for the same port: nothing of it stays.
    let failed = sandbox("twin", Some(8080)).unwrap_err();
    assert!(failed.contains("8080"), "{failed}");
    let db = sandbox("db", None).unwrap();
    assert_eq!(host.netcord("ps --json").ok().matches("\"interface\":\"cni\"").count(), 2);
    // Stop deletes, once more, and so does removal.
    for id in [&web, &db] {
        for method in ["StopPodSandbox", "StopPodSandbox", "RemovePodSandbox"] {
            ask(method, id).unwrap();
        }
    }
    assert_eq!(host.netcord("ps --json").ok(), "[]");
    assert!(host.rules_of_ports().is_empty());
    host.netcord("rm cni0").ok();
}

#[test]
fn containerd_attaches_what_ctr_runs_by_the_plugin() {
    let host = node("pods", &plugin("cni0", "10.22.0.0/16"));
    for_ctr(&host);
    start_containerd(&host);
    let ctr = |words: &str| host.sh(&format!("ctr -a /run/ctd.sock {words}"));
    import(&host, "default", "busybox:1", "");
    let inside = ctr("run --rm --cni --snapshotter native docker.io/library/busybox:1 t1 busybox ip -4 addr show eth0").ok();
    assert!(inside.contains("10.22.0.2/16"), "{inside}");
    assert_eq!(host.netcord("ps --json").ok(), "[]", "DEL came without the namespace");
    // What 1.6 forgets to delete goes with its namespace.
    ctr("run -d --cni --snapshotter native docker.io/library/busybox:1 t2 sleep 3600").ok();
    assert!(host.netcord("ps").ok().contains("default-t2"));
    ctr("task kill -s KILL t2").ok();
    host.until("[ -z \"$(ip link show type veth)\" ]");
    host.netcord("prune").ok();
    assert_eq!(host.netcord("ps --json").ok(), "[]");
}
