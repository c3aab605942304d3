//! netcord as a CNI plugin: alone, and in a chain with the stock plugins, which are also what it is
//! compared with.

use serde_json::{Value, json};

use crate::support::{
    Lab, NETCORD, Run,
    cni::{Conflist, Container, call, plugins},
};

/// The bridge of a node, as its conflist has it: for the stock plugin, or for netcord.
fn bridge(plugin: &str) -> Value {
    json!({
        "type": plugin, "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "capabilities": {"portMappings": true, "ips": true, "mac": true},
        "ipam": {
            "type": "host-local", "dataDir": "/run/host-local",
            "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    })
}

fn netcord() -> Conflist {
    Conflist::new("pods", vec![bridge("netcord")])
}

fn stock() -> Conflist {
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    Conflist::new("pods", vec![bridge("bridge"), portmap, json!({"type": "firewall"})])
}

/// A node with two namespaces for pods, and another host on its wire.
fn node() -> Lab {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["pod1", "pod2"]);
    plugins(&lab);
    lab
}

const POD1: Container<'_> = Container {
    id: "c1",
    netns: "/var/run/netns/pod1",
    arguments: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
};
const POD2: Container<'_> = Container { id: "c2", netns: "/run/netns/pod2", arguments: "" };
const ENDED: Container<'_> = Container { netns: "", ..POD1 };

/// As containerd spells it.
fn ports() -> Value {
    json!({"portMappings": [
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
    ]})
}

/// What reaches what, by page that is fetched.
fn reach(lab: &Lab) -> Vec<(&'static str, bool)> {
    let fetches = [
        ("host to pod", "host", "http://10.22.0.2/"),
        ("host to pod, IPv6", "host", "http://[fd00:22::2]/"),
        ("pod to pod", "pod2", "http://10.22.0.2/"),
        ("pod to pod, IPv6", "pod2", "http://[fd00:22::2]/"),
        ("pod to the world", "pod1", "http://192.0.2.2:8000/"),
        ("the world to the port", "outside", "http://192.0.2.1:8080/"),
        ("the world to the port, IPv6", "outside", "http://[2001:db8::1]:8080/"),
        ("the host to the port", "host", "http://127.0.0.1:8080/"),
        ("a pod to the port", "pod2", "http://192.0.2.1:8080/"),
        ("a pod to its own port", "pod1", "http://192.0.2.1:8080/"),
        ("the world to the pod", "outside", "http://10.22.0.2/"),
    ];
    fetches.map(|(what, from, url)| (what, lab.fetch(from, url).code == 0)).into()
}

/// A result, without what has to differ: names and MACs of links.
fn comparable(result: &Value) -> Value {
    let names = ["bridge", "host end", "inside"];
    let interfaces = result["interfaces"].as_array().unwrap();
    let interfaces: Vec<_> = interfaces
        .iter()
        .zip(names)
        .map(|(i, name)| json!({"is": name, "sandbox": i.get("sandbox"), "has_mac": i["mac"].is_string()}))
        .collect();
    let mut ips: Vec<_> = result["ips"].as_array().unwrap().clone();
    ips.sort_by_key(|ip| ip["address"].to_string());
    // With the gateway that the kernel uses, which the stock plugins leave out.
    let routes = result["routes"].as_array().unwrap().iter().map(|r| r["dst"].clone());
    json!({"interfaces": interfaces, "ips": ips, "routes": routes.collect::<Vec<_>>(), "dns": result["dns"]})
}

#[test]
fn a_pod_is_attached_as_by_the_stock_chain() {
    let measured = [stock(), netcord()].map(|list| {
        let lab = node();
        lab.serve("outside", 8000);
        lab.sh("ip -n outside route add 10.22.0.0/16 via 192.0.2.1").ok();
        let first = list.add(&lab, POD1, &ports()).unwrap();
        list.add(&lab, POD2, &json!({})).unwrap();
        lab.serve("pod1", 80);
        let inside = lab
            .within(
                "pod1",
                "ip -br -4 addr show eth0 | tr -s ' '; ip route show default | cut -d' ' -f1-5",
            )
            .ok();
        let seen = (
            comparable(&first),
            inside.replace("eth0@if", "").split_once(' ').map(|(_, rest)| rest.to_owned()),
            reach(&lab),
        );
        list.check(&lab, POD1, &ports(), &first).map(Run::ok);
        // As containerd ends a sandbox: once with the namespace, and twice without.
        list.del(&lab, POD1, &ports(), Some(&first));
        list.del(&lab, ENDED, &ports(), None);
        list.del(&lab, ENDED, &ports(), None);
        list.del(&lab, POD2, &json!({}), None);
        assert_ne!(lab.fetch("outside", "http://192.0.2.1:8080/").code, 0);
        seen
    });
    let [(stock, stock_inside, stock_reach), (ours, inside, reach)] = measured;
    assert_eq!(ours, stock);
    assert_eq!(inside, stock_inside);
    let differences: Vec<_> = stock_reach.iter().zip(&reach).filter(|(a, b)| a != b).collect();
    // The node is no router for strangers: pods are reached by published ports.
    assert_eq!(differences, [(&("the world to the pod", true), &("the world to the pod", false))]);
    assert!(reach.iter().filter(|(_, works)| !works).count() == 1, "{reach:?}");
}

/// A bridge as the plugin `bridge` makes it by default: the host has no address there, and the router of
/// the pods is another machine.
fn switch(plugin: &str, ranges: &Value) -> Conflist {
    let ipam = json!({
        "type": "host-local", "dataDir": "/run/host-local", "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    Conflist::new(
        "pods",
        vec![json!({
            "type": plugin, "bridge": "cni0", "ipam": ipam,
            "capabilities": {"portMappings": true, "ips": true},
        })],
    )
}

/// What is set inside of a pod, and on the bridge.
fn set(lab: &Lab) -> (Vec<String>, String) {
    let inside = lab
        .sh("ip -n pod1 -br addr show eth0 scope global | tr -s ' ' '\n' | grep / | grep -v ^fe80 | sort
             ip -n pod1 route show default | cut -d' ' -f1-5")
        .ok();
    let bridge = lab.sh("ip -o addr show dev cni0 scope global | awk '{print $4}' | sort").ok();
    (inside.lines().map(str::to_owned).collect(), bridge)
}

#[test]
fn a_bridge_without_an_address_is_as_that_of_the_stock_plugin() {
    let ranges = json!([[{"subnet": "10.22.0.0/16", "gateway": "10.22.0.2"}]]);
    let measured = ["bridge", "netcord"].map(|plugin| {
        let lab = node();
        lab.netns(&["router"]);
        lab.sh("ip -n router link set lo up; ip -n router addr add 198.51.100.1/32 dev lo").ok();
        let before = lab.snapshot();
        let list = switch(plugin, &ranges);
        let first = list.add(&lab, POD1, &json!({})).unwrap();
        let second = list.add(&lab, POD2, &json!({})).unwrap();
        assert_eq!(list.check(&lab, POD1, &json!({}), &first).map_or(0, |run| run.code), 0);
        lab.sh(
            "ip link add r0 type veth peer name eth0 netns router && ip link set r0 master cni0 up
             ip -n router addr add 10.22.0.2/16 dev eth0 && ip -n router link set eth0 up",
        )
        .ok();
        for (server, port) in [("pod1", 80), ("router", 81)] {
            lab.serve(server, port);
        }
        lab.until_within("pod1", "ping -qc1 -W1 10.22.0.2");
        let fetches = [
            ("pod to pod", "pod2", "http://10.22.0.1/", true),
            ("pod to the router", "pod1", "http://10.22.0.2:81/", true),
            ("pod to the world behind the router", "pod1", "http://198.51.100.1:81/", true),
            ("the router to the pod", "router", "http://10.22.0.1/", true),
            ("host to pod", "host", "http://10.22.0.1/", false),
            ("pod to the host", "pod1", "http://192.0.2.1/", false),
        ];
        for (what, from, url, works) in fetches {
            assert_eq!(lab.fetch(from, url).code == 0, works, "{plugin}: {what}");
        }
        let seen = (comparable(&first), comparable(&second), set(&lab));
        // The router's address is nobody else's, whoever asks for it.
        let taken = list.add(
            &lab,
            Container::named("c3", "/run/netns/outside"),
            &json!({"ips": ["10.22.0.2"]}),
        );
        assert!(taken.unwrap_err().stdout.contains("gateway"), "{plugin}");
        list.del(&lab, Container::named("c3", "/run/netns/outside"), &json!({}), None);
        lab.sh("ip link del r0").ok();
        list.del(&lab, POD1, &json!({}), Some(&first));
        list.del(&lab, POD2, &json!({}), None);
        if plugin == "netcord" {
            lab.netcord("rm cni0").ok();
            lab.sh("ip -n pod1 link set lo down; ip -n pod2 link set lo down").ok();
            before.assert_same(&lab.snapshot(), "after all of it");
        }
        seen
    });
    let [stock, ours] = measured;
    assert_eq!(ours, stock);
    assert_eq!(
        ours.2,
        (vec!["10.22.0.1/16".into(), "default via 10.22.0.2 dev eth0".into()], String::new())
    );
}

/// What cannot be on a bridge without an address, and bridges that are there already.
#[test]
fn a_bridge_without_an_address_publishes_nothing_and_takes_no_address_away() {
    let lab = node();
    let ranges = json!([[{"subnet": "10.22.0.0/16"}]]);
    let list = switch("netcord", &ranges);
    let (code, message) = failure(list.add(&lab, POD1, &ports()).unwrap_err());
    assert!(code == 104 && message.contains("has no gateway"), "{code} {message}");
    // The network stays; another configuration does not get an address for it, or the router's for a pod.
    let gateway = with(list.plugins[0].clone(), &json!({"isGateway": true}));
    let refused = Conflist::new("pods", vec![gateway]).add(&lab, POD1, &json!({})).unwrap_err();
    let (code, message) = failure(refused);
    assert!(code == 104 && message.contains("gateway is none, not 10.22.0.1"), "{code} {message}");
    lab.netcord("rm cni0").ok();
    // By default, a bridge that has an address is used as it is; but not if it was to have none.
    lab.netcord("bridge cni0 --subnet 10.22.0.0/16").ok();
    let kept = lab.snapshot();
    let none = with(list.plugins[0].clone(), &json!({"isGateway": false}));
    let refused = Conflist::new("pods", vec![none]).add(&lab, POD1, &json!({})).unwrap_err();
    let (code, message) = failure(refused);
    assert!(code == 104 && message.contains("gateway is 10.22.0.1, not none"), "{code} {message}");
    kept.assert_same(&lab.snapshot(), "refused");
    let result = list.add(&lab, POD1, &ports()).unwrap();
    assert_eq!(result["ips"][0]["gateway"], "10.22.0.1");
    lab.serve("pod1", 80);
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080/").ok(), "pod1");
    list.del(&lab, POD1, &ports(), Some(&result));
}

/// A transaction of nftables that changes nothing costs 20 ms all the same.
#[test]
fn a_second_pod_needs_no_rules() {
    let lab = node();
    let list = netcord();
    let first = list.add(&lab, POD1, &json!({})).unwrap();
    let config = list.config(&list.plugins[0], &json!({}), None);
    lab.sh(&format!(
        "CNI_COMMAND=ADD CNI_CONTAINERID=c2 CNI_NETNS=/run/netns/pod2 CNI_IFNAME=eth0 \
         CNI_PATH=/run/cni-bin strace -f -e trace=sendto,sendmsg -o /run/trace {NETCORD} <<'E'\n{config}\nE"
    ))
    .ok();
    let trace = lab.sh("cat /run/trace").ok();
    assert!(trace.contains("RTM_NEWLINK") && !trace.contains("NFT_MSG_NEW"), "{trace}");
    // What an ADD that was killed left undone is done while the network has no endpoints.
    list.del(&lab, POD1, &json!({}), Some(&first));
    list.del(&lab, POD2, &json!({}), None);
    lab.sh("ip addr flush dev cni0").ok();
    list.add(&lab, POD1, &json!({})).unwrap();
    assert!(lab.sh("ip addr show dev cni0").ok().contains("10.22.0.1/16"));
}

/// `host-local` assigns an address of each set of ranges, also of one IP family.
#[test]
fn a_pod_has_an_address_of_each_set_of_ranges() {
    let two_v6 = json!([
        [{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}],
        [{"subnet": "fd00:23::/64", "rangeStart": "fd00:23::9"}],
    ]);
    let two_v4 = json!([
        [{"subnet": "10.22.0.0/24"}], [{"subnet": "10.23.0.0/24", "gateway": "10.23.0.7"}],
    ]);
    for (ranges, is_gateway) in [(&two_v6, true), (&two_v4, false)] {
        let measured = ["bridge", "netcord"].map(|plugin| {
            let lab = node();
            let mut list = switch(plugin, ranges);
            list.plugins[0]["isGateway"] = json!(is_gateway);
            let first = list.add(&lab, POD1, &json!({})).unwrap();
            // One that asks for an address gets the others all the same.
            let ips = json!({"ips": [if is_gateway { "fd00:23::77" } else { "10.23.0.77" }]});
            let second = list.add(&lab, POD2, &ips).unwrap();
            assert_eq!(list.check(&lab, POD1, &json!({}), &first).map_or(0, |run| run.code), 0);
            for ip in second["ips"].as_array().unwrap() {
                let ip = ip["address"].as_str().unwrap().split('/').next().unwrap();
                lab.until_within("pod1", &format!("ping -qc1 -W1 {ip}"));
            }
            let seen = (comparable(&first), comparable(&second), set(&lab));
            list.del(&lab, POD1, &json!({}), Some(&first));
            list.del(&lab, POD2, &ips, None);
            seen
        });
        let [stock, ours] = measured;
        assert_eq!(ours, stock, "{ranges}");
    }
    // Two IPv4 addresses on one bridge are more than the stock plugin takes.
    let both = ["bridge", "netcord"].map(|plugin| {
        let lab = node();
        let mut list = switch(plugin, &two_v4);
        list.plugins[0]["isGateway"] = json!(true);
        let result = list.add(&lab, POD1, &json!({}));
        result.map(|result| (comparable(&result)["ips"].clone(), set(&lab).1))
    });
    let [stock, ours] = both;
    let refused = stock.unwrap_err().stdout;
    assert!(refused.contains("already has an IP address"), "{refused}");
    let (ips, bridge) = ours.unwrap();
    assert_eq!(ips.as_array().unwrap().len(), 2);
    assert_eq!(bridge, "10.22.0.1/24\n10.23.0.7/24");
}

/// Adds `changes` to a plugin's configuration.
fn with(mut plugin: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        plugin[key] = value.clone();
    }
    plugin
}

/// The error that a call ended with.
#[track_caller]
fn failure(run: Run) -> (u64, String) {
    let run = run.exits(1);
    let error: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(error["cniVersion"].is_string(), "{error}");
    (error["code"].as_u64().unwrap(), error["msg"].as_str().unwrap().to_owned())
}

/// What a runtime relies on, however often it calls, and whatever is left.
#[test]
fn the_same_call_again_and_a_del_of_anything_succeed() {
    for firewall in ["nftables", "iptables"] {
        let lab = node();
        let plugin = with(bridge("netcord"), &json!({"ipMasqBackend": firewall}));
        let list = Conflist::new("pods", vec![plugin]);
        list.del(&lab, POD1, &ports(), None);
        let empty = lab.snapshot();
        let first = list.add(&lab, POD1, &ports()).unwrap();
        let attached = lab.snapshot();
        assert_eq!(list.add(&lab, POD1, &ports()).unwrap(), first);
        attached.assert_same(&lab.snapshot(), "after ADD again");
        // As podman does on `network reload`: the addresses that it has, each of them twice.
        let mut again = ports();
        again["ips"] = json!(["10.22.0.2", "10.22.0.2", "fd00:22::2/64"]);
        list.del(&lab, POD1, &ports(), Some(&first));
        assert_eq!(list.add(&lab, POD1, &again).unwrap(), first);
        attached.assert_same(&lab.snapshot(), "after DEL and ADD");

        // Others see the runtime's name for it, and leave it alone.
        assert!(lab.netcord("ps").ok().contains("default.web"));
        let shown: Value = serde_json::from_str(&lab.netcord("ps --json").ok()).unwrap();
        assert_eq!(shown[0]["owner"]["interface"], "cni");
        assert_eq!(shown[0]["owner"]["id"], "c1");
        lab.netcord("detach cni0 pod1").fails(4, &["a CNI runtime", "--force"]);
        lab.netcord("detach cni0 default.web").fails(4, &["a CNI runtime"]);
        assert!(!lab.netcord("export").ok().contains("attach"));
        for look in ["trace default.web 192.0.2.2", "inspect default.web", "port default.web"] {
            assert!(!lab.netcord(look).ok().is_empty(), "{look}");
        }
        assert!(lab.netcord("graph").ok().contains("default.web"));
        assert!(
            lab.netcord("doctor").exits(1).stdout.contains("cni0/default.web"),
            "nobody serves"
        );
        lab.netcord("repair --check").ok();
        attached.assert_same(&lab.snapshot(), "after what others did");

        // Everything is lost but what the kernel has.
        lab.sh("rm -rf /run/netcord").ok();
        let other = call(
            &lab,
            "DEL",
            Container { id: "c9", ..ENDED },
            &list.config(&list.plugins[0], &json!({}), None),
        );
        other.ok();
        attached.assert_same(&lab.snapshot(), "after DEL of another");
        list.del(&lab, ENDED, &json!({}), None);
        list.add(&lab, POD1, &ports()).unwrap();
        // The namespace ends, and what was outside of it with the next call.
        lab.sh("ip netns del pod1").ok();
        list.add(&lab, POD2, &ports()).unwrap();
        list.del(&lab, ENDED, &ports(), Some(&first));
        list.del(&lab, POD2, &ports(), None);
        lab.netcord("rm cni0").ok();
        lab.sh("ip netns add pod1").ok();
        empty.assert_same(&lab.snapshot(), "after all of it");
    }
}

#[test]
fn gc_takes_what_no_runtime_knows_and_nothing_else() {
    let lab = node();
    lab.netns(&["pod3", "own"]);
    let list = netcord();
    let others = Conflist { name: "other", ..netcord() };
    list.add(&lab, POD1, &ports()).unwrap();
    others.add(&lab, Container::named("c3", "/run/netns/pod3"), &json!({})).unwrap();
    lab.netcord("attach cni0 own").ok();
    let kept = lab.snapshot();
    list.add(&lab, POD2, &json!({})).unwrap();
    let gc = |valid: Value| {
        let mut config = with(list.config(&list.plugins[0], &json!({}), None), &valid);
        config["cniVersion"] = json!("1.1.0");
        call(&lab, "GC", Container::named("", ""), &config)
    };
    // A runtime that sends no list is not one without containers.
    assert_eq!(failure(gc(json!({}))).0, 7);
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]});
    gc(valid.clone()).ok();
    kept.assert_same(&lab.snapshot(), "after GC");
    gc(valid).ok();
    gc(json!({"cni.dev/valid-attachments": []})).ok();
    let left = lab.netcord("ps").ok();
    assert!(
        left.contains("own") && left.contains("pod3") && !left.contains("default.web"),
        "{left}"
    );
}

#[test]
fn an_error_has_the_code_and_the_words_of_its_reason() {
    let lab = node();
    let list = netcord();
    let config = |changes: Value| with(list.config(&list.plugins[0], &json!({}), None), &changes);
    let add = |of, changes| failure(call(&lab, "ADD", of, &config(changes)));
    for (changes, code, words) in [
        (json!({"promiscMode": true}), 2, "promiscMode"),
        (json!({"vlan": 5}), 2, "vlan"),
        (json!({"forceAddress": true}), 2, "forceAddress"),
        (json!({"runtimeConfig": {"bandwidth": {"IngressRate": 1000}}}), 2, "bandwidth"),
        (json!({"cniVersion": "0.1.0"}), 1, "0.1.0"),
        (json!({"name": "../x"}), 7, "../x"),
        (json!({"bridge": "a/b"}), 6, "a/b"),
        (
            json!({"ipam": {"type": "host-local", "ranges": [[{"rangeStart": "10.1.0.5"}]]}}),
            7,
            "subnet",
        ),
        (
            json!({"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "ranges": [[{"subnet": "10.1.0.0/25"}]]}}),
            7,
            "overlap",
        ),
        (json!({"ipam": {"type": "nosuch"}}), 7, "nosuch"),
        (json!({"ipam": {"type": "../bridge"}}), 7, "../bridge"),
        (
            json!({"runtimeConfig": {"portMappings": [{"HostPort": 70000, "ContainerPort": 80}]}}),
            7,
            "70000",
        ),
        (json!({"runtimeConfig": {"ips": ["web"]}}), 7, "web"),
    ] {
        let (found, message) = add(POD1, changes.clone());
        assert!(found == code && message.contains(words), "{changes}: {found} {message}");
    }
    let (code, message) = add(Container { netns: "/run/netns/nosuch", ..POD1 }, json!({}));
    assert!(code > 100 && message.contains("nosuch"), "{code} {message}");
    let (code, message) = add(Container { netns: "/etc/passwd", ..POD1 }, json!({}));
    assert!(code > 100 && message.contains("not a network namespace"), "{code} {message}");
    let (code, message) = add(Container { netns: "/proc/self/ns/net", ..POD1 }, json!({}));
    assert!(code > 100 && message.contains("the host"), "{code} {message}");
    assert_eq!(add(ENDED, json!({})).0, 4);
    assert_eq!(add(Container { id: "", ..POD1 }, json!({})).0, 4);
    assert_eq!(add(Container { id: "../x", ..POD1 }, json!({})).0, 4);
    assert_eq!(add(Container { arguments: "FOO=1", ..POD1 }, json!({})).0, 4);
    assert_eq!(failure(call(&lab, "FETCH", POD1, &config(json!({})))).0, 4);
    // What is taken already.
    lab.sh("ip -n pod1 link add eth0 type bridge").ok();
    let (code, message) = add(POD1, json!({}));
    assert!(code == 104 && message.contains("already has a link `eth0`"), "{code} {message}");
    list.add(&lab, POD2, &ports()).unwrap();
    let (code, message) = add(
        Container { netns: "/run/netns/outside", ..POD1 },
        json!({
            "ipam": {"type": "host-local", "subnet": "10.23.0.0/16"}
        }),
    );
    assert!(code == 104 && message.contains("subnet is 10.22.0.0/16"), "{code} {message}");
    let (code, _) = failure(call(&lab, "CHECK", POD1, &config(json!({}))));
    assert_eq!(code, 3);
    // VERSION needs nothing, and STATUS no container.
    let version =
        call(&lab, "VERSION", Container::named("", "dummy"), &json!({"cniVersion": "1.0.0"}));
    assert!(version.ok().contains("\"supportedVersions\":[\"0.3.0\""));
    call(&lab, "STATUS", Container::named("", ""), &config(json!({"cniVersion": "1.1.0"}))).ok();
    assert!(!lab.netcord("ps").ok().contains("default.web"));
}

#[test]
fn other_plugins_come_before_and_behind_it() {
    let lab = node();
    lab.serve("pod1", 80);
    let before = lab.snapshot();
    let tuning =
        json!({"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.proxy_arp": "1"}, "mtu": 1400});
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let bandwidth =
        json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 8_000_000});
    // It publishes nothing itself where it does not declare that it can.
    let without_ports = with(bridge("netcord"), &json!({"capabilities": {}}));
    let list = Conflist::new(
        "pods",
        vec![without_ports, tuning, portmap, json!({"type": "firewall"}), bandwidth],
    );
    let result = list.add(&lab, POD1, &ports()).unwrap();
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080/").ok(), "pod1");
    assert_eq!(
        lab.within("pod1", "cat /sys/class/net/eth0/mtu /proc/sys/net/ipv4/conf/eth0/proxy_arp")
            .ok(),
        "1400\n1"
    );
    assert!(lab.sh("tc qdisc").ok().contains("tbf"), "`bandwidth` found the host's end");
    list.check(&lab, POD1, &ports(), &result).unwrap().ok();
    lab.sh("ip -n pod1 addr flush dev eth0 scope global").ok();
    assert_eq!(failure(list.check(&lab, POD1, &ports(), &result).unwrap()).0, 101);
    list.del(&lab, POD1, &ports(), Some(&result));
    lab.netcord("rm cni0").ok();
    // The chains of `portmap` and `firewall` stay, as they always do.
    lab.sh("iptables -F && iptables -t nat -F && iptables -X && iptables -t nat -X
            ip6tables -F && ip6tables -t nat -F && ip6tables -X && ip6tables -t nat -X")
        .ok();
    lab.sh("nft flush ruleset").ok();
    before.assert_same(&lab.snapshot(), "after netcord first");

    // Behind the plugin that made the link, it publishes ports.
    let ours = json!({"type": "netcord", "capabilities": {"portMappings": true}});
    let list = Conflist::new("pods", vec![bridge("bridge"), ours]);
    let result = list.add(&lab, POD1, &ports()).unwrap();
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080/").ok(), "pod1");
    assert!(lab.netcord("ps").ok().contains("8080->80/tcp"));
    list.del(&lab, POD1, &ports(), Some(&result));
    assert_ne!(lab.fetch("outside", "http://192.0.2.1:8080/").code, 0);
    assert!(lab.rules_of_ports().is_empty());
}

#[test]
fn another_plugin_may_assign_the_addresses() {
    let lab = node();
    lab.sh("ln -s host-local /run/cni-bin/assigner").ok();
    let range = json!({"type": "assigner", "dataDir": "/run/host-local", "subnet": "10.22.0.0/29",
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.99.0.0/16"}]});
    let list = Conflist::new("pods", vec![with(bridge("netcord"), &json!({"ipam": range}))]);
    let result = list.add(&lab, POD1, &ports()).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.22.0.2/29");
    assert_eq!(result["ips"][0]["gateway"], "10.22.0.1");
    assert_eq!(
        list.add(&lab, POD1, &ports()).unwrap()["ips"],
        result["ips"],
        "it is not asked twice"
    );
    let routes = lab.within("pod1", "ip route").ok();
    assert!(
        routes.contains("default via 10.22.0.1") && routes.contains("10.99.0.0/16 via 10.22.0.1"),
        "{routes}"
    );
    list.check(&lab, POD1, &ports(), &result).unwrap().ok();
    // A failed ADD gives the address back.
    let files = || lab.sh("ls /run/host-local/pods | grep -c '^10'").ok();
    assert_eq!(files(), "1");
    lab.sh("ip -n pod2 link add eth0 type bridge").ok();
    list.add(&lab, POD2, &json!({})).unwrap_err();
    assert_eq!(files(), "1");
    lab.sh("ip -n pod2 link del eth0").ok();
    list.del(&lab, POD1, &ports(), None);
    assert_eq!(lab.sh("ls /run/host-local/pods | grep -c '^10' || :").ok(), "0");

    let fixed = json!({"type": "static", "addresses": [{"address": "10.22.0.5/29", "gateway": "10.22.0.1"}],
        "dns": {"nameservers": ["192.0.2.53"]}});
    let list = Conflist::new(
        "pods",
        vec![with(bridge("netcord"), &json!({"ipam": fixed, "isDefaultGateway": true}))],
    );
    let result = list.add(&lab, POD2, &json!({})).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.22.0.5/29");
    assert_eq!(result["dns"]["nameservers"][0], "192.0.2.53");
    assert!(lab.within("pod2", "ip route").ok().contains("default via 10.22.0.1"));
}

/// As a conflist has it on a node where `netcord overlay` is, and as flannel's plugin calls a delegate.
#[test]
fn a_configuration_may_name_an_overlay_network_or_come_from_flannel() {
    let lab = node();
    let list = Conflist::new(
        "cluster",
        vec![json!({"type": "netcord", "network": "pods",
        "capabilities": {"portMappings": true, "ips": true}})],
    );
    // The node has not joined yet: no other network is made in its place.
    let refused = failure(list.add(&lab, POD1, &ports()).unwrap_err());
    assert_eq!(refused, (11, "this host has no network `pods` yet".into()));
    lab.netcord(
        "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 --peer 10.5.2.0/24=192.0.2.2 \
         --parent eth0",
    )
    .ok();
    let result = list.add(&lab, POD1, &ports()).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.5.1.2/24");
    let dst = |at: usize| result["routes"][at]["dst"].as_str().unwrap_or_default().to_owned();
    assert_eq!((dst(0), dst(1)), ("0.0.0.0/0".into(), "10.5.0.0/16".into()));
    list.del(&lab, ENDED, &json!({}), None);

    let delegated = json!({"type": "netcord", "mtu": 1450, "ipMasq": false, "isDefaultGateway": true,
        "hairpinMode": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]],
        "routes": [{"dst": "10.244.0.0/16", "priority": 7}]}, "capabilities": {"portMappings": true}});
    let list = Conflist { version: "0.3.1", ..Conflist::new("cbr0", vec![delegated]) };
    let result = list.add(&lab, POD2, &json!({})).unwrap();
    assert_eq!(result["ips"][0]["version"], "4");
    assert_eq!(result["ips"][0]["address"], "10.244.1.2/24");
    let inside = lab.within("pod2", "cat /sys/class/net/eth0/mtu; ip route").ok();
    assert!(
        inside.starts_with("1450")
            && inside.contains("10.244.0.0/16 via 10.244.1.1 dev eth0 proto 110 metric 7"),
        "{inside}"
    );
    assert!(inside.contains("default via 10.244.1.1"), "{inside}");
}

#[test]
fn five_hundred_pods_at_once_share_nothing() {
    let lab = Lab::new();
    plugins(&lab);
    lab.sh("for i in $(seq 500); do ip netns add p$i; done").ok();
    let list = netcord();
    let config = list.config(&list.plugins[0], &json!({}), None);
    lab.sh(&format!("cat >/run/conf <<'E'\n{config}\nE")).ok();
    // All are started before any has ended, since the lock is held until then.
    lab.netcord("bridge cni0 --subnet 10.22.0.0/16 --subnet fd00:22::/64").ok();
    // One that a busy machine kept from the lock for half a minute fails with "try again" (code 11).
    let results = lab
        .sh("add() {
                 CNI_COMMAND=ADD CNI_CONTAINERID=c$1 CNI_NETNS=/run/netns/p$1 CNI_IFNAME=eth0 \\
                     /run/cni-bin/netcord </run/conf >/run/result-$1 2>/run/error-$1 || :
             }
             for i in $(seq 500); do add $i & done
             wait
             for again in $(grep -l '\"code\":11,' /run/result-*); do add ${again#/run/result-}; done
             cat /run/result-*")
        .ok();
    let addresses: std::collections::BTreeSet<_> = results
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["ips"][0]["address"].to_string())
        .collect();
    assert_eq!(addresses.len(), 500);
    assert_eq!(lab.netcord("ps --quiet").ok().lines().count(), 500);
}
