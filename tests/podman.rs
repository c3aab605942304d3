//! netcord in the place of netavark, and as its plugin: what podman and netavark send, without them.

use serde_json::{Value, json};

use crate::support::{FIREWALLS, Lab, NETCORD, Run};

/// A host with a namespace for a container, and another host on its wire.
fn host() -> Lab {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.sh(&format!(
        "mkdir -p /run/netavark /run/config
         ln -s {NETCORD} /run/netavark/netavark; ln -s {NETCORD} /run/netavark/netcord"
    ))
    .ok();
    lab
}

/// Calls a program by this name with a configuration.
fn call(lab: &Lab, words: &str, input: &Value) -> Run {
    lab.sh(&format!("cat <<'END' | /run/netavark/{words}\n{input}\nEND\n"))
}

fn netavark(lab: &Lab, words: &str, input: &Value) -> Run {
    call(lab, &format!("netavark --config /run/config {words}"), input)
}

fn definition(more: &Value) -> Value {
    let mut definition = json!({
        "name": "pn", "id": "ab".repeat(32), "driver": "bridge", "network_interface": "podman1",
        "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}],
        "ipv6_enabled": false, "internal": false, "dns_enabled": false,
        "ipam_options": {"driver": "host-local"},
    });
    for (key, value) in more.as_object().unwrap() {
        definition[key] = value.clone();
    }
    definition
}

fn container(definition: &Value) -> Value {
    json!({
        "container_id": "cd".repeat(32), "container_name": "web",
        "port_mappings": [
            {"host_ip": "", "host_port": 8080, "container_port": 80, "protocol": "tcp", "range": 1},
        ],
        "networks": {"pn": {"static_ips": ["10.89.0.2"], "interface_name": "eth0"}},
        "network_info": {"pn": definition},
    })
}

#[test]
fn a_setup_can_be_repeated_and_a_teardown_needs_nothing() {
    let lab = host();
    let before = lab.snapshot();
    let web = container(&definition(&json!({})));
    let status = netavark(&lab, "setup /run/netns/web", &web).ok();
    let parsed: Value = serde_json::from_str(&status).unwrap();
    let subnets = json!([{"ipnet": "10.89.0.2/24", "gateway": "10.89.0.1"}]);
    assert_eq!(parsed["pn"]["interfaces"]["eth0"]["subnets"], subnets);
    assert_eq!(netavark(&lab, "setup /run/netns/web", &web).ok(), status, "again");
    lab.serve("web", 80);
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    assert!(lab.sh("ip link show veth0").ok().contains("master podman1"));
    assert!(lab.netcord("ps").ok().contains("web"));
    lab.netcord("detach podman1 web").fails(4, &["podman attached `web`"]);

    // Rules that were lost come back.
    lab.sh("nft flush ruleset").ok();
    netavark(&lab, "firewall-reload", &json!({})).ok();
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");

    // The second container fails as a whole, and the first one's network stays.
    let mut db = web.clone();
    db["container_id"] = "ef".repeat(32).into();
    db["networks"]["pn"]["static_ips"] = json!(["10.89.0.3"]);
    let taken = netavark(&lab, "setup /run/netns/db", &db).exits(1);
    assert!(taken.stdout.contains(r#""error":"port 8080/tcp"#), "{}", taken.stdout);
    assert!(lab.sh("ip -n db link").ok().lines().all(|line| !line.contains("eth0")));

    lab.sh("kill $(ip netns pids web); ip netns del web").ok();
    for _ in 0..2 {
        assert_eq!(netavark(&lab, "teardown /run/netns/web", &web).ok(), "");
    }
    netavark(&lab, "teardown /run/netns/db", &db).ok();
    lab.netns(&["web"]);
    before.assert_same(&lab.snapshot(), "after teardown");
}

#[test]
fn a_network_of_the_users_stays() {
    let lab = host();
    lab.netcord("bridge podman1 --subnet 10.89.0.0/24").ok();
    let web = container(&definition(&json!({})));
    netavark(&lab, "setup /run/netns/web", &web).ok();
    netavark(&lab, "teardown /run/netns/web", &web).ok();
    assert!(lab.netcord("ls").ok().contains("podman1"));
}

#[test]
fn what_netcord_does_not_do_is_said() {
    let lab = host();
    let before = lab.snapshot();
    for (more, why) in [
        (json!({"driver": "ipvlan"}), "driver `ipvlan`"),
        (json!({"options": {"vlan": "7"}}), "option `vlan`"),
        (json!({"options": {"vrf": "v"}}), "mode=unmanaged"),
        (json!({"ipam_options": {"driver": "frob"}}), "unsupported ipam driver frob"),
        (json!({"options": {"mode": "unmanaged"}}), "the bridge must already exist"),
        (json!({"routes": [{"destination": "10.9.0.0/16", "gateway": "10.1.0.1"}]}), "10.1.0.1"),
    ] {
        let refused = netavark(&lab, "setup /run/netns/web", &container(&definition(&more)));
        assert!(refused.code == 1 && refused.stdout.contains(why), "{more}: {}", refused.stdout);
        before.assert_same(&lab.snapshot(), why);
    }
    for (words, why) in
        [("firewalld-reload", "nftables outlive a reload"), ("dhcp-proxy", "leases and renews")]
    {
        assert!(netavark(&lab, words, &json!({})).exits(1).stdout.contains(why));
    }
}

/// A container of this name, on a bridge network of this number.
fn on_network(number: u8, name: &str, more: &Value) -> Value {
    let network = format!("pn{number}");
    let mut definition = definition(&json!({
        "name": network, "id": format!("{number:02x}").repeat(32),
        "network_interface": format!("podman{number}"), "ipv6_enabled": true,
        "subnets": [
            {"subnet": format!("10.89.{number}.0/24"), "gateway": format!("10.89.{number}.1")},
            {"subnet": format!("fd89:{number}::/64"), "gateway": format!("fd89:{number}::1")},
        ],
    }));
    for (key, value) in more.as_object().unwrap() {
        definition[key] = value.clone();
    }
    let ips = [format!("10.89.{number}.2"), format!("fd89:{number}::2")];
    json!({
        "container_id": format!("{number:02x}").repeat(32), "container_name": name,
        "networks": {&network: {"static_ips": ips, "interface_name": "eth0"}},
        "network_info": {&network: definition},
    })
}

#[test]
fn networks_without_isolation_reach_each_other_and_no_others() {
    for firewall in FIREWALLS {
        let lab = host();
        lab.netns(&["normal", "strict", "unsaid"]);
        let before = lab.snapshot();
        let kinds = [("web", "false"), ("db", "false"), ("normal", "true"), ("strict", "strict")];
        let options = kinds.map(|(name, isolate)| (name, json!({"options": {"isolate": isolate}})));
        let all = options.into_iter().chain([("unsaid", json!({}))]);
        let all: Vec<_> =
            (1..).zip(all).map(|(n, (name, o))| (name, on_network(n, name, &o))).collect();
        for (name, container) in &all {
            let words = format!("--firewall-driver {firewall} setup /run/netns/{name}");
            for _ in 0..2 {
                assert_eq!(netavark(&lab, &words, container).exits(0).stderr, "");
            }
            lab.serve_ports(name, &[80]);
        }
        for to in ["10.89.2.2:80", "[fd89:2::2]:80"] {
            assert!(lab.call("web", &format!("tcp {to}"), 5).is_some(), "{to}");
            for from in ["normal", "strict", "unsaid"] {
                lab.does_not_reach(from, &format!("tcp {to}"));
            }
        }
        assert!(lab.call("db", "tcp [fd89:1::2]:80", 5).is_some());
        for to in ["10.89.3.2:80", "[fd89:4::2]:80", "10.89.5.2:80"] {
            lab.does_not_reach("web", &format!("tcp {to}"));
        }
        assert!(lab.netcord("inspect podman1").ok().contains("open"));
        lab.sh("kill $(ip netns pids web) $(ip netns pids db) $(ip netns pids normal) \
                $(ip netns pids strict) $(ip netns pids unsaid)")
            .ok();
        for (name, container) in &all {
            netavark(&lab, &format!("teardown /run/netns/{name}"), container).ok();
        }
        before.assert_same(&lab.snapshot(), "after teardown");
    }
}

#[test]
fn isolation_of_a_network_of_the_users_is_as_the_user_has_it() {
    let lab = host();
    lab.netcord("bridge podman1 --subnet 10.89.1.0/24 --subnet fd89:1::/64 --open").ok();
    for isolate in ["true", "strict"] {
        let other = on_network(1, "web", &json!({"options": {"isolate": isolate}}));
        let refused = netavark(&lab, "setup /run/netns/web", &other).exits(1);
        assert!(refused.stdout.contains("open is true, not false"), "{}", refused.stdout);
    }
    netavark(&lab, "setup /run/netns/web", &on_network(1, "web", &json!({}))).ok();
    let internal = json!({"internal": true, "options": {"isolate": "false"}});
    netavark(&lab, "setup /run/netns/db", &on_network(2, "db", &internal)).ok();
    assert!(lab.netcord("export").ok().contains("bridge podman1 "));
}

#[test]
fn a_port_on_an_ipv6_address_of_the_host_is_reached_from_it_and_from_outside() {
    for firewall in FIREWALLS {
        let lab = host();
        let mut web = on_network(1, "web", &json!({}));
        web["port_mappings"] = json!([
            {"host_ip": "2001:db8::1", "host_port": 8080, "container_port": 80, "protocol": "tcp,udp"},
        ]);
        netavark(&lab, &format!("--firewall-driver {firewall} setup /run/netns/web"), &web).ok();
        lab.serve_ports("web", &[80]);
        for how in ["tcp", "udp"] {
            for from in ["host", "outside"] {
                let to = format!("{how} [2001:db8::1]:8080");
                assert!(lab.call(from, &to, 5).is_some(), "{to} from {from}");
            }
            lab.does_not_reach("outside", &format!("{how} 192.0.2.1:8080"));
        }
    }
}

#[test]
fn a_network_without_addresses_and_one_in_an_unmanaged_bridge() {
    let lab = host();
    let none = json!({"subnets": [], "ipam_options": {"driver": "none"}});
    let mut web = container(&definition(&none));
    web["port_mappings"] = Value::Null;
    web["networks"]["pn"] = json!({"interface_name": "eth0"});
    let status = netavark(&lab, "setup /run/netns/web", &web).ok();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["pn"]["interfaces"]["eth0"]["subnets"], json!([]));
    assert!(lab.netcord("doctor podman1").code == 0);
    netavark(&lab, "teardown /run/netns/web", &web).ok();
    assert_eq!(lab.netcord("ls --json").ok(), "[]");

    lab.sh("ip link add br9 type bridge; ip addr add 10.89.0.9/24 dev br9; ip link set br9 up")
        .ok();
    let unmanaged = json!({"network_interface": "br9", "options": {"mode": "unmanaged"}});
    let web = container(&definition(&unmanaged));
    netavark(&lab, "setup /run/netns/web", &web).ok();
    assert!(lab.within("web", "ip route").ok().contains("default via 10.89.0.1"));
    netavark(&lab, "teardown /run/netns/web", &web).ok();
    lab.sh("ip link show br9").ok();
}

#[test]
fn without_ipam_a_container_gets_no_address_and_a_wire_may_have_more_subnets() {
    let lab = host();
    let before = lab.snapshot();
    let on_wire = |more: &Value, endpoint: &Value| {
        let mut web =
            container(&definition(&json!({"driver": "macvlan", "network_interface": "eth0"})));
        for (key, value) in more.as_object().unwrap() {
            web["network_info"]["pn"][key] = value.clone();
        }
        web["port_mappings"] = Value::Null;
        web["networks"]["pn"] = endpoint.clone();
        web
    };
    let none = json!({"subnets": [], "ipam_options": {"driver": "none"}});
    let web = on_wire(&none, &json!({"interface_name": "eth0"}));
    for _ in 0..2 {
        let status = netavark(&lab, "setup /run/netns/web", &web).ok();
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["pn"]["interfaces"]["eth0"]["subnets"], json!([]));
    }
    assert_eq!(lab.sh("ip -n web -4 -br addr show eth0").ok(), "");
    assert_eq!(lab.netcord("doctor").ok(), "");
    // A program inside takes an address, and reaches the wire.
    lab.sh("ip -n web addr add 192.0.2.70/24 dev eth0").ok();
    lab.reaches("web", "ping 192.0.2.2", "");
    netavark(&lab, "teardown /run/netns/web", &web).ok();
    before.assert_same(&lab.snapshot(), "after teardown");

    let subnets = json!({"subnets": [
        {"subnet": "192.0.2.0/24"}, {"subnet": "198.51.100.0/24"},
    ]});
    let ips = json!({"static_ips": ["198.51.100.7", "192.0.2.70"], "interface_name": "eth0"});
    let web = on_wire(&subnets, &ips);
    lab.sh("ip -n outside addr add 198.51.100.1/24 dev wire").ok();
    for _ in 0..2 {
        netavark(&lab, "setup /run/netns/web", &web).ok();
    }
    for to in ["192.0.2.2", "198.51.100.1"] {
        lab.reaches("web", &format!("ping {to}"), "");
    }
    netavark(&lab, "teardown /run/netns/web", &web).ok();
    lab.sh("ip -n outside addr del 198.51.100.1/24 dev wire").ok();
    before.assert_same(&lab.snapshot(), "after teardown");

    // The bridge's own subnet does not make up for what nobody assigns.
    lab.sh("ip link add br9 type bridge; ip addr add 10.89.0.9/24 dev br9; ip link set br9 up")
        .ok();
    let unmanaged = json!({
        "driver": "bridge", "network_interface": "br9", "options": {"mode": "unmanaged"},
        "subnets": [], "ipam_options": {"driver": "none"},
    });
    let web = on_wire(&unmanaged, &json!({"interface_name": "eth0"}));
    netavark(&lab, "setup /run/netns/web", &web).ok();
    assert_eq!(lab.sh("ip -n web -4 -br addr show eth0").ok(), "");
    netavark(&lab, "teardown /run/netns/web", &web).ok();
}

#[test]
fn as_a_plugin_it_has_one_network_at_a_time() {
    let lab = host();
    let before = lab.snapshot();
    let info: Value = serde_json::from_str(&call(&lab, "netcord info", &json!({})).ok()).unwrap();
    assert_eq!(info["api_version"], "1.0.0");
    let bare = json!({
        "name": "pn", "id": "ab".repeat(32), "driver": "netcord", "options": {"mtu": "1400"},
        "ipv6_enabled": false, "internal": false, "dns_enabled": true,
    });
    let network: Value = serde_json::from_str(&call(&lab, "netcord create", &bare).ok()).unwrap();
    assert_eq!((&network["name"], &network["driver"]), (&bare["name"], &bare["driver"]));
    assert_eq!(network["ipam_options"]["driver"], "host-local", "podman assigns the addresses");
    let subnet = network["subnets"][0]["subnet"].as_str().unwrap();
    let address = subnet.replace(".0/24", ".9");
    let attachment = json!({
        "container_id": "cd".repeat(32), "container_name": "web",
        "port_mappings": [
            {"host_ip": "", "host_port": 8080, "container_port": 80, "protocol": "tcp", "range": 1},
        ],
        "network": network,
        "network_options": {"interface_name": "eth0", "static_ips": [address], "aliases": ["www"]},
    });
    let status = call(&lab, "netcord setup /run/netns/web", &attachment).ok();
    let status: Value = serde_json::from_str(&status).unwrap();
    let of_eth0 = &status["interfaces"]["eth0"]["subnets"][0];
    assert_eq!(of_eth0["ipnet"], json!(format!("{address}/24")));
    lab.serve("web", 80);
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    assert!(lab.within("web", "ip link show eth0").ok().contains("mtu 1400"));
    let refused = call(&lab, "netcord frob", &json!({})).exits(1);
    assert!(refused.stdout.contains("frob"), "{}", refused.stdout);
    lab.sh("kill $(ip netns pids web)").ok();
    call(&lab, "netcord teardown /run/netns/web", &attachment).ok();
    before.assert_same(&lab.snapshot(), "after teardown");
}
