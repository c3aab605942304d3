//! Bridges and parents that are gone, or are others now: nothing that lives is taken away for it, and
//! what comes back is plugged in again.

use crate::support::{FIREWALLS, Lab};

const MAKE_BR9: &str = "ip link add br9 type bridge; ip addr add 10.9.0.1/24 dev br9
    ip addr add fd00:9::1/64 nodad dev br9; ip link set br9 up";

/// A host with an endpoint on a foreign bridge and two on one of its own.
fn host(firewall: &'static str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    lab.netns(&["web", "db"]).sh(MAKE_BR9).ok();
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24 --subnet fd00:7::/64 --isolate").ok();
    lab.netcord("attach br9 web --host-ifname webport -p 8080:80").ok();
    lab.netcord("attach lab0 db --host-ifname dbport -p 8081:80").ok();
    lab.netcord("attach lab0 web --host-ifname own").ok();
    lab.serve("web", 80);
    lab.serve("db", 80);
    lab
}

/// What is inside a namespace, with the numbers of links: one that was made anew has another.
fn inside(lab: &Lab, netns: &str) -> String {
    let look = "ip -o link | sed -E 's/ state [A-Z]+//; s/NO-CARRIER,|,LOWER_UP//'
        ip -o -4 addr; ip route; ip -6 route show default";
    lab.within(netns, look).ok().replace(" linkdown", "")
}

fn state(lab: &Lab, network: &str) -> String {
    let rows = lab.netcord(&format!("ps {network} --format jsonl")).ok();
    let rows = rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    rows.map(|row| row["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn is_whole(lab: &Lab) {
    assert_eq!(lab.netcord("repair --check").ok(), "");
    assert_eq!((state(lab, "br9").as_str(), state(lab, "lab0").as_str()), ("up", "up up"));
    assert_eq!(lab.fetch("host", "http://10.9.0.1:8080/").ok(), "web");
    assert_eq!(lab.fetch("host", "http://10.7.0.1:8081/").ok(), "db");
    lab.until(&format!("{} doctor", crate::support::NETCORD));
}

#[test]
fn a_foreign_bridge_that_is_gone_takes_nothing_along() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        let before = inside(&lab, "web");
        lab.sh("ip link del br9").ok();
        assert_eq!(state(&lab, "br9"), "down", "{firewall}");
        let doctor = lab.netcord("doctor").exits(1).stdout;
        for part in ["`br9` is gone", "webport: no master", "$ netcord detach br9 web"] {
            assert!(doctor.contains(part), "{doctor}");
        }
        let check = lab.netcord("repair --check").exits(1);
        assert!(check.stdout.contains("endpoint br9/web: "), "{}", check.stdout);
        assert!(check.stdout.contains("(netcord detach br9 web)"), "{}", check.stdout);
        assert!(check.stderr.contains("its bridge is gone"), "{}", check.stderr);
        lab.netcord("repair").fails(4, &["`br9`", "its bridge is gone", "hint: "]);
        lab.netcord("attach br9 web").fails(4, &["its bridge is gone", "netcord repair"]);
        lab.netcord("attach br9 db").fails(4, &["its bridge is gone"]);
        lab.netcord("publish web 8090:90").fails(4, &["its bridge is gone"]);
        assert_eq!(lab.netcord("prune").ok(), "");
        assert_eq!(inside(&lab, "web"), before, "{firewall}: nothing is taken away");
        // Others are repaired all the same.
        lab.sh("ip link set lab0 down").ok();
        lab.netcord("repair").fails(4, &["its bridge is gone"]);
        lab.sh("ip link show lab0 | grep -q '[<,]UP[,>]'").ok();
        lab.netcord("detach br9 web").ok();
        assert_eq!(lab.netcord("ps br9").exits(3).stdout, "");
        assert_eq!(lab.netcord("repair --check").ok(), "");
        assert!(lab.rules_of_ports().iter().all(|rule| !rule.contains("8080")));
    }
}

#[test]
fn what_comes_back_is_plugged_in_again() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        let (web, db) = (inside(&lab, "web"), inside(&lab, "db"));
        is_whole(&lab);
        let again = format!(
            "ip link del br9; ip link add another type bridge; ip link del another; {MAKE_BR9}"
        );
        for (damage, attach) in [
            (again.as_str(), "attach br9 web"),
            ("ip link set webport nomaster", "attach br9 web"),
            ("ip link add br8 type bridge; ip link set webport master br8", "attach br9 web"),
            ("ip link set webport master lab0", "attach br9 web"),
            ("ip link set dbport nomaster", "attach lab0 db"),
            ("ip link set dbport master br9", "attach lab0 db"),
            ("ip link del lab0", "repair"),
        ] {
            for mend in ["repair", attach] {
                lab.sh(damage).ok();
                let when = format!("{firewall}: {damage}; netcord {mend}");
                lab.netcord("repair --check").exits(1);
                lab.netcord("doctor").exits(1);
                assert!(format!("{} {}", state(&lab, "br9"), state(&lab, "lab0")).contains("down"));
                lab.netcord(mend).ok();
                assert_eq!(
                    (inside(&lab, "web"), inside(&lab, "db")),
                    (web.clone(), db.clone()),
                    "{when}"
                );
                is_whole(&lab);
                let isolated =
                    lab.sh("bridge -d link show dev dbport; bridge -d link show dev own").ok();
                assert_eq!(isolated.matches("isolated on").count(), 2, "{when}: {isolated}");
                lab.sh("ip link del br8 2>/dev/null || true").ok();
            }
        }
    }
}

#[test]
fn an_endpoint_without_record_and_bridge_is_adopted() {
    let lab = host("nftables");
    for (network, targets) in [("br9", "down"), ("lab0", "down down")] {
        lab.sh(&format!(
            "sed -i '1!d' /run/netcord/*/network-{network}.json; ip link del {network}"
        ))
        .ok();
        assert_eq!(state(&lab, network), targets, "{network}");
        lab.netcord("prune").ok();
        assert_eq!(state(&lab, network), targets, "{network}");
    }
    lab.sh(MAKE_BR9).ok();
    lab.netcord("repair").ok();
    is_whole(&lab);
}

/// Nothing shows the subnets of such a network any more, nor who made its bridge. So it is named, with
/// the way out, and nothing is removed: a bridge that comes back tells the rest.
#[test]
fn an_endpoint_whose_network_left_neither_record_nor_bridge_is_named() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        let before = inside(&lab, "web");
        let lose = |network: &str| {
            lab.sh(&format!("rm /run/netcord/*/network-{network}.json; ip link del {network}"))
                .ok();
        };
        lose("br9");
        for verb in ["ps", "ls", "repair --check", "export"] {
            let said = lab.netcord(verb).exits(0).stderr;
            for part in ["`webport`", "`br9/web`", "`netcord prune`"] {
                assert!(said.contains(part), "{firewall}, {verb}: {said}");
            }
        }
        let found = lab.netcord("doctor").exits(1).stdout;
        for part in ["br9/web", "[bridge-missing]", "webport: no master", "$ netcord prune"] {
            assert!(found.contains(part), "{found}");
        }
        lab.netcord("repair").ok();
        lab.netcord("detach lab0 web").ok();
        lab.netcord("attach lab0 web --host-ifname own").ok();
        let address = |netns: &str| lab.within(netns, "ip -o -4 addr").ok().contains("10.9.0.");
        assert!(before.contains("10.9.0.") && address("web"), "{firewall}: it is left alone");
        // The bridge comes back, or the endpoint goes.
        lab.sh(MAKE_BR9).ok();
        lab.netcord("repair").ok();
        assert_eq!(state(&lab, "br9"), "up", "{firewall}");
        lose("br9");
        assert!(lab.netcord("prune").exits(0).stdout.contains("link webport"), "{firewall}");
        assert!(!address("web") && lab.rules_of_ports().iter().all(|r| !r.contains("br9")));
        assert_eq!(lab.netcord("repair --check").exits(0).stderr, "", "{firewall}");
        // One of netcord's own is made again by its command, and gets its endpoints back.
        lose("lab0");
        assert!(lab.netcord("ps").exits(0).stderr.contains("`dbport`"));
        lab.netcord("bridge lab0 --subnet 10.7.0.0/24 --subnet fd00:7::/64 --isolate").ok();
        lab.netcord("repair").ok();
        assert_eq!(state(&lab, "lab0"), "up up", "{firewall}");
        assert_eq!(lab.netcord("repair --check").exits(0).stderr, "", "{firewall}");
    }
}

#[test]
fn a_link_in_the_place_of_a_bridge_is_no_bridge() {
    let lab = host("nftables");
    let before = inside(&lab, "web");
    lab.sh("ip link del br9; ip link add br9 type veth peer name other").ok();
    assert_eq!(state(&lab, "br9"), "down");
    lab.netcord("repair").fails(4, &["`br9`", "is another link now"]);
    lab.netcord("attach br9 web").fails(4, &["is another link now"]);
    assert_eq!(inside(&lab, "web"), before);
    lab.netcord("detach br9 web").ok();
    // Nor is one of ours taken over by what has its name now.
    lab.sh("ip link del lab0; ip link add lab0 type bridge").ok();
    let before = inside(&lab, "db");
    lab.netcord("repair").fails(4, &["`lab0`"]);
    assert_eq!(inside(&lab, "db"), before);
}

#[test]
fn endpoints_fall_with_their_parent_and_keep_no_other_from_being_repaired() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.netcord("macvlan lan0 --parent eth0 --host-access").ok();
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lan0 web --ip 192.0.2.9").ok();
    lab.netcord("attach lab0 db").ok();
    lab.sh("ip link del eth0; ip link set lab0 down").ok();
    assert_eq!(state(&lab, "lan0"), "dead");
    let check = lab.netcord("repair --check").exits(1);
    assert!(check.stdout.contains("endpoint lan0/web: "), "{}", check.stdout);
    lab.netcord("repair").fails(4, &["`lan0`", "its parent `eth0` is gone"]);
    lab.sh("ip link show lab0 | grep -q '[<,]UP[,>]'").ok();
    lab.netcord("detach lan0 web").ok();
    lab.netcord("rm lan0").ok();
    assert_eq!(lab.netcord("repair --check").ok(), "");
}
