//! Networks on which the host has no part: without a subnet (layer 2), and without a gateway.

use crate::support::Lab;

/// A host that is ready for either firewall.
fn host(firewall: &str) -> Lab {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    // Who set a loopback up is not among the marks.
    lab.sh("ip -n web link set lo up; ip -n db link set lo up").ok();
    if firewall == "iptables" {
        lab.sh("iptables -P FORWARD DROP; echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables")
            .ok();
    }
    lab
}

#[test]
fn a_bridge_without_a_subnet_only_switches_frames() {
    for firewall in ["nftables", "iptables"] {
        let lab = host(firewall);
        let before = lab.snapshot();
        lab.netcord(&format!("--firewall {firewall} bridge l2 --no-subnet")).ok();
        lab.netcord(&format!("--firewall {firewall} bridge l2 --no-subnet")).ok();
        assert_eq!(lab.sh("ip -o addr show dev l2 scope global").ok(), "");
        assert_eq!(lab.netcord("attach l2 web").ok(), "");
        assert_eq!(lab.netcord("attach l2 web").ok(), "", "again");
        assert_eq!(lab.netcord("attach l2 db --ip 10.9.0.2/24").ok(), "10.9.0.2");
        let mac = |name| lab.within(name, "cat /sys/class/net/eth0/address").ok();
        assert_ne!(mac("web"), mac("db"));
        // Programs inside configure it, and both reach each other, whatever the host forwards.
        lab.within("web", "ip addr add 10.9.0.1/24 dev eth0").ok();
        lab.within("web", "ping -c1 -W2 10.9.0.2").ok();
        let rules = lab.sh("nft list table inet netcord 2>/dev/null || true").ok();
        assert_eq!(rules, "", "{firewall}");
        let doctor = lab.netcord("doctor");
        assert_eq!(doctor.code, 0, "{}", doctor.stdout);
        lab.netcord("publish web 8080:80").fails(4, &["has no subnet"]);
        assert!(lab.netcord("inspect l2").ok().contains(r#""subnets": []"#));

        // It is made again from what `export` prints, and from its marks.
        let export = lab.netcord("export").ok();
        assert!(export.contains("bridge l2") && export.contains("--no-subnet"), "{export}");
        lab.sh("rm -r /run/netcord").ok();
        assert!(lab.netcord("ps").ok().contains("web"));
        lab.netcord("bridge l2 --no-subnet").ok();
        lab.netcord("bridge l2 --subnet 10.9.0.0/24")
            .fails(4, &["subnet is missing, not 10.9.0.0/24"]);
        lab.netcord("detach l2 web").ok();
        lab.netcord("detach l2 db").ok();
        lab.netcord("rm l2").ok();
        before.assert_same(&lab.snapshot(), firewall);
    }
}

#[test]
fn a_bridge_without_a_gateway_leaves_every_address_to_endpoints() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    // Who set a loopback up is not among the marks.
    lab.sh("ip -n web link set lo up; ip -n db link set lo up").ok();
    let before = lab.snapshot();
    let make = "bridge back --subnet 10.9.0.0/24 --subnet fd00:9::/64 --internal --no-gateway";
    lab.netcord(make).ok();
    assert_eq!(lab.sh("ip -o addr show dev back scope global").ok(), "");
    lab.netcord("attach back web").ok();
    lab.netcord("attach back db --ip 10.9.0.7").ok();
    lab.within("db", "ping -c1 -W2 10.9.0.1").ok();
    lab.within("db", "ping -6 -c1 -W2 fd00:9::1").ok();
    assert_eq!(lab.netcord("doctor").code, 0);
    let export = lab.netcord("export").ok();
    assert!(export.contains("--no-gateway") && !export.contains("--gateway 10"), "{export}");
    lab.sh("rm -r /run/netcord").ok();
    lab.netcord(make).ok();
    lab.netcord("bridge back --gateway 10.9.0.1").fails(2, &["10.9.0.1"]);
    lab.netcord("detach back web").ok();
    lab.netcord("detach back db").ok();
    lab.netcord("rm back").ok();
    before.assert_same(&lab.snapshot(), "after rm");
}

#[test]
fn what_excludes_each_other_is_refused() {
    let lab = Lab::new();
    for (words, why) in [
        ("--no-subnet --subnet 10.9.0.0/24", "--no-subnet and --subnet"),
        ("--no-subnet --ipv6", "--no-subnet and --ipv6"),
        ("--no-subnet --no-spoof", "--no-subnet and --no-spoof"),
        ("--no-subnet --open", "--no-subnet and --open"),
        ("--internal --open", "--internal and --open"),
        ("--no-subnet --no-gateway --internal", "--no-subnet and --no-gateway"),
        ("--no-gateway --gateway 10.9.0.1", "--no-gateway and --gateway"),
        ("--no-gateway", "add `--internal`"),
    ] {
        lab.netcord(&format!("bridge l2 {words}")).fails(2, &[why]);
        lab.netcord(&format!("create l2 {words}")).fails(2, &[why]);
    }
    lab.netcord("create -d macvlan l2 --parent eth0 --no-subnet").fails(2, &["--no-subnet"]);
    lab.netcord("bridge l2").ok();
    lab.netcord("bridge l2 --no-subnet").fails(4, &["not none"]);
}
