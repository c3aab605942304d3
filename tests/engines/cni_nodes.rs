//! Two nodes of a cluster, with an overlay network between them: containerd on both calls netcord as its
//! CNI plugin, by CRI, as the kubelet has it, and by `ctr`.

use serde_json::{Value, json};

use super::cni::{for_ctr, import, import_sandbox, node, start_containerd};
use crate::support::{
    EngineHost, comes_true,
    cri::{self, Message},
};

/// The address of a pod.
fn address(node: &EngineHost, pod: &str) -> String {
    let listed: Value = serde_json::from_str(&node.netcord("ps --json").ok()).unwrap();
    let mut all = listed.as_array().unwrap().iter();
    let pod = all.find(|e| e["target"] == pod).unwrap_or_else(|| panic!("{listed}"));
    pod["addresses"][0].as_str().unwrap().split('/').next().unwrap().to_owned()
}

#[test]
fn pods_of_two_nodes_reach_each_other() {
    // The file of docs/kubernetes.md.
    let plugin = json!({
        "type": "netcord", "network": "pods", "hairpinMode": true,
        "capabilities": {"portMappings": true, "ips": true, "mac": true, "dns": true},
    });
    let nodes = [1, 2].map(|_| node("cluster", &plugin));
    EngineHost::connect(&nodes[0], &nodes[1]);
    let store = nodes[0].start_etcd("192.0.2.1");
    let ctr = |node: &EngineHost, words: &str| {
        node.sh(&format!(
            "ctr -a /run/ctd.sock run --rm --cni --snapshotter native \
             docker.io/library/busybox:1 {words}"
        ))
    };
    for node in &nodes {
        for_ctr(node);
        start_containerd(node);
        import_sandbox(node);
        import(node, "default", "busybox:1", "");
    }
    let before = nodes.each_ref().map(|node| node.snapshot());
    let early = cri::run_sandbox(&nodes[0], "early", None).unwrap_err();
    assert!(early.contains("pods"), "the node has not joined: {early}");
    before[0].assert_same(&nodes[0].snapshot(), "before the node has joined");

    let pods = nodes.each_ref().map(|node| {
        node.netcord(&format!("overlay pods --store {store} --subnet 10.5.0.0/16")).ok();
        cri::run_sandbox(node, "web", Some(8080)).unwrap()
    });
    let addresses = nodes.each_ref().map(|node| address(node, "default.web"));
    assert_ne!(addresses[0].rsplit_once('.').unwrap().0, addresses[1].rsplit_once('.').unwrap().0);
    for (node, there) in [(&nodes[0], 1), (&nodes[1], 0)] {
        let (other, host) = (&addresses[there], ["192.0.2.1", "192.0.2.2"][there]);
        node.until(&format!("ip route get {other} | grep -q ' dev vx-'"));
        // A pod, the node, and a container of `ctr`'s fetch from the other node's pod; and by its port.
        let inside = "nsenter --net=/var/run/netns/$(ls /var/run/netns | grep -m1 cni-)";
        for page in [format!("http://{other}/cat"), format!("http://{host}:8080/cat")] {
            for from in [inside, ""] {
                node.sh(&format!("{from} curl -fsS --max-time 3 -o /dev/null {page}")).ok();
            }
            ctr(node, &format!("client busybox wget -q -O /dev/null {page}")).ok();
        }
        let traced = node.netcord(&format!("trace default.web {other}:80")).ok();
        let tunnel = format!("in a UDP packet to {host}, port 8472");
        assert!(traced.contains(&tunnel), "{traced}");
        assert_eq!(node.netcord("doctor").ok(), "");
    }
    // The runtime is killed, and the kubelet removes the pods of the one that comes after it.
    for (node, pod) in nodes.iter().zip(&pods) {
        node.sh("kill -KILL $(pidof containerd)").ok();
        node.until("! ctr -a /run/ctd.sock --connect-timeout 1s version >/dev/null 2>&1");
        start_containerd(node);
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            let ask = || cri::call(node, method, &Message::default().with(1, pod));
            assert!(comes_true(|| ask().is_ok()), "{method}: {:?}", ask());
        }
        assert_eq!(node.netcord("ps --json").ok(), "[]");
    }
    for (node, before) in nodes.iter().zip(before).rev() {
        node.netcord("rm pods").ok();
        before.assert_same(&node.snapshot(), "after rm");
    }
}
