//! Endpoints that speak in another's name. Each attack is made twice: on a network where it works,
//! so that the test could fail, and on one with `--no-spoof`, where nothing changes for anybody.

use crate::support::{
    Lab,
    frames::{
        BROADCAST, MacBytes, gratuitous_arp, neighbour_advertisement, router_advertisement, shown,
        udp,
    },
};

const SUBNETS: &str = "--subnet 10.1.0.0/24 --subnet fd00:1::/64";
const GATEWAY: [&str; 2] = ["10.1.0.1", "fd00:1::1"];
const ALICE: [&str; 2] = ["10.1.0.2", "fd00:1::2"];
const BOB: [&str; 2] = ["10.1.0.3", "fd00:1::3"];
const MALLORY: [&str; 2] = ["10.1.0.4", "fd00:1::4"];

/// A host with alice, bob and mallory on lab0, who all know each other and their gateway.
fn host(flags: &str) -> Lab {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["alice", "bob", "mallory"]);
    lab.netcord(&format!("bridge lab0 {SUBNETS} {flags}")).ok();
    lab.netcord("attach lab0 alice bob mallory").ok();
    for name in ["alice", "bob", "mallory"] {
        lab.until_within(name, "! ip -6 addr show tentative | grep -q .");
        for to in GATEWAY {
            lab.until_within(name, &format!("ping -qc1 -W1 {to}"));
        }
    }
    if !flags.contains("--isolate") {
        for to in BOB {
            lab.until_within("alice", &format!("ping -qc1 -W1 {to}"));
        }
    }
    lab
}

/// A network where an attack succeeds, and one where it does not.
fn with_and_without(attack: impl Fn(&Lab) -> bool) {
    assert!(attack(&host("")), "the attack succeeds where nothing is done against it");
    assert!(!attack(&host("--no-spoof")), "the attack fails with --no-spoof");
}

fn neighbour(lab: &Lab, place: &str, address: &str) -> String {
    match place {
        "host" => lab.sh(&format!("ip neigh show {address} dev lab0")).ok(),
        place => lab.sh(&format!("ip -n {place} neigh show {address} dev eth0")).ok(),
    }
}

/// Mallory says these frames, and then something honest; by then they have arrived, or never will.
fn mallory_says(lab: &Lab, frames: &[Vec<u8>]) {
    lab.send_frames("mallory", "eth0", frames);
    lab.until_within("mallory", "ping -qc1 -W1 10.1.0.1");
}

fn mallory(lab: &Lab) -> MacBytes {
    lab.mac("mallory", "eth0")
}

fn port_of_mallory(lab: &Lab) -> String {
    lab.sh("cd /sys/class/net; grep -lx netcord:lab0/mallory */ifalias | cut -d/ -f1").ok()
}

fn link_local(lab: &Lab, place: &str) -> String {
    let script = "ip -6 -o addr show dev eth0 scope link | awk '{ print $4 }' | cut -d/ -f1";
    lab.within(place, script).ok()
}

/// A neighbour's cache points at mallory after these frames.
fn poisons(lab: &Lab, victim: &str, address: &str, frame: &[u8]) -> bool {
    let before = neighbour(lab, victim, address);
    mallory_says(lab, &[frame.to_vec(), frame.to_vec()]);
    let after = neighbour(lab, victim, address);
    let mac = shown(mallory(lab));
    assert!(before.contains("lladdr") && !before.contains(&mac), "{before}");
    after.contains(&mac)
}

#[test]
fn a_gratuitous_arp_for_the_gateway_or_a_neighbour() {
    for (victim, address) in [("alice", GATEWAY[0]), ("alice", BOB[0]), ("host", ALICE[0])] {
        with_and_without(|lab| {
            poisons(lab, victim, address, &gratuitous_arp(mallory(lab), address))
        });
    }
}

#[test]
fn a_neighbour_advertisement_for_the_gateway_or_a_neighbour() {
    for (victim, address) in [("alice", GATEWAY[1]), ("alice", BOB[1]), ("host", ALICE[1])] {
        // From the address itself, and from one's own.
        for own in [false, true] {
            with_and_without(|lab| {
                let from = if own { MALLORY[1] } else { address };
                let frame = neighbour_advertisement(mallory(lab), from, address);
                poisons(lab, victim, address, &frame)
            });
        }
    }
}

#[test]
fn a_gratuitous_arp_behind_a_priority_tag() {
    // Receivers take a tag of VLAN 0 for none.
    with_and_without(|lab| {
        let mut frame = gratuitous_arp(mallory(lab), BOB[0]);
        frame.splice(12..12, [0x81, 0, 0, 0]);
        poisons(lab, "alice", BOB[0], &frame)
    });
}

#[test]
fn a_frame_from_the_mac_of_a_neighbour() {
    with_and_without(|lab| {
        let bob = lab.mac("bob", "eth0");
        let port = |of: &str| {
            let mac = shown(bob);
            let table = lab.sh(&format!("bridge fdb show br lab0 | grep '^{mac}'")).ok();
            table.contains(of)
        };
        let link = port_of_mallory(lab);
        assert!(!port(&link));
        let frame = udp((BROADCAST, "255.255.255.255"), (bob, BOB[0]), [5000, 5000]);
        // A frame that bob sends at the same moment takes the entry back.
        (0..5).any(|_| {
            mallory_says(lab, std::slice::from_ref(&frame));
            port(&link)
        })
    });
}

#[test]
fn the_address_or_the_mac_of_another_taken_by_configuring_it() {
    // An address that nobody has is answered for.
    with_and_without(|lab| {
        lab.sh("ip -n mallory addr add 10.1.0.77/24 dev eth0
                ip -n mallory addr add fd00:1::77/64 nodad dev eth0")
            .ok();
        let answered = ["10.1.0.77", "fd00:1::77"]
            .map(|to| lab.call("alice", &format!("ping {to}"), 1).is_some());
        assert_eq!(answered[0], answered[1]);
        answered[0]
    });
    // The gateway's own, for whoever forgets where it is.
    let lab = host("--no-spoof");
    lab.sh("ip -n mallory addr add 10.1.0.1/32 dev eth0
            ip -n mallory addr add fd00:1::1/128 nodad dev eth0")
        .ok();
    for _ in 0..5 {
        lab.sh("ip -n alice neigh flush dev eth0").ok();
        lab.reaches("alice", "ping 10.1.0.1", "");
        lab.reaches("alice", "ping fd00:1::1", "");
    }
    let mac = shown(lab.mac("host", "lab0"));
    for address in GATEWAY {
        assert!(neighbour(&lab, "alice", address).contains(&mac));
    }
    // Another MAC, be it the gateway's, silences its owner, and nobody else.
    for of in ["bob", "lab0"] {
        let mac = if of == "bob" { lab.mac("bob", "eth0") } else { lab.mac("host", "lab0") };
        lab.sh(&format!("ip -n mallory link set eth0 address {}", shown(mac))).ok();
        lab.does_not_reach("mallory", "ping 10.1.0.2");
        for to in ["ping 10.1.0.1", "ping 10.1.0.3", "ping fd00:1::1", "ping fd00:1::3"] {
            lab.reaches("alice", to, "");
        }
    }
}

/// How often a rule of a counting kind matched in a namespace.
fn counted(lab: &Lab, place: &str, rule: &str, act: impl Fn()) -> bool {
    lab.within(place, &format!("iptables -A INPUT {rule} -j ACCEPT")).ok();
    act();
    lab.within(place, "iptables -nvxL INPUT | awk 'NR > 2 { n += $1 } END { print n }'").ok() != "0"
}

#[test]
fn a_packet_from_the_address_of_another() {
    with_and_without(|lab| {
        counted(lab, "alice", "-p udp -s 10.1.0.3 --dport 5000", || {
            let to = (lab.mac("alice", "eth0"), ALICE[0]);
            mallory_says(lab, &[udp(to, (mallory(lab), BOB[0]), [5000, 5000])]);
        })
    });
}

#[test]
fn the_answer_of_a_dhcp_server() {
    with_and_without(|lab| {
        counted(lab, "alice", "-p udp --sport 67 --dport 68", || {
            let to = (BROADCAST, "255.255.255.255");
            mallory_says(lab, &[udp(to, (mallory(lab), MALLORY[0]), [67, 68])]);
        })
    });
}

/// Whether alice, who listens to routers, believes that mallory is one.
fn has_mallory_as_router(lab: &Lab) -> bool {
    let from = link_local(lab, "mallory");
    lab.within("alice", "echo 2 > /proc/sys/net/ipv6/conf/eth0/accept_ra").ok();
    // Padding, as far as anybody cares.
    let hop_by_hop = [58, 0, 1, 4, 0, 0, 0, 0];
    for extensions in [&[][..], &hop_by_hop] {
        let plain = router_advertisement(mallory(lab), &from, extensions);
        let mut tagged = plain.clone();
        tagged.splice(12..12, [0x81, 0, 0, 0]);
        mallory_says(lab, &[plain, tagged]);
    }
    lab.within("alice", "ip -6 route show default proto ra").ok().contains(&from)
}

#[test]
fn a_router_advertisement() {
    with_and_without(has_mallory_as_router);
    // Behind an extension header, or a tag of VLAN 0, alone it would be believed too.
    for is_tagged in [false, true] {
        let lab = host("");
        let from = link_local(&lab, "mallory");
        lab.within("alice", "echo 2 > /proc/sys/net/ipv6/conf/eth0/accept_ra").ok();
        let hop_by_hop = [58, 0, 1, 4, 0, 0, 0, 0];
        let mut frame = router_advertisement(mallory(&lab), &from, &hop_by_hop);
        if is_tagged {
            frame = router_advertisement(mallory(&lab), &from, &[]);
            frame.splice(12..12, [0x81, 0, 0, 0]);
        }
        mallory_says(&lab, &[frame]);
        assert!(lab.within("alice", "ip -6 route show default proto ra").ok().contains(&from));
    }
}

#[test]
fn a_router_advertisement_on_an_underlay() {
    // Its host listens to routers, so its ports have to be deaf to endpoints that say they are.
    let lab = Lab::new();
    lab.netns(&["outside", "alice", "mallory"]);
    lab.sh(
        "ip link add eth9 type veth peer name wire netns outside; ip -n outside link set wire up
            ip addr add 10.1.0.1/24 dev eth9; ip addr add fd00:1::1/64 nodad dev eth9
            ip link set eth9 up; sysctl -qw net.ipv6.conf.eth9.accept_ra=2",
    )
    .ok();
    lab.netcord("underlay lab0 --parent eth9 --ip-range 10.1.0.0/29 --ip-range fd00:1::/125").ok();
    lab.netcord("attach lab0 alice mallory").ok();
    for name in ["alice", "mallory"] {
        lab.until_within(name, "! ip -6 addr show tentative | grep -q .");
    }
    assert!(!has_mallory_as_router(&lab));
    assert_eq!(lab.sh("ip -6 route show default proto ra").ok(), "", "the host does not either");
    // Nothing else is kept from them.
    lab.reaches("alice", "ping 10.1.0.3", "");
    lab.reaches("alice", "ping fd00:1::3", "");
}

#[test]
fn isolated_endpoints_are_not_heard_by_each_other_whatever_they_say() {
    let lab = host("--isolate");
    let mac = mallory(&lab);
    for (address, frame) in [
        (GATEWAY[0], gratuitous_arp(mac, GATEWAY[0])),
        (GATEWAY[1], neighbour_advertisement(mac, GATEWAY[1], GATEWAY[1])),
    ] {
        assert!(!poisons(&lab, "alice", address, &frame));
    }
    assert!(!has_mallory_as_router(&lab));
    // The host hears them: that takes the other flag.
    assert!(poisons(&lab, "host", ALICE[0], &gratuitous_arp(mac, ALICE[0])));
    let lab = host("--isolate --no-spoof");
    assert!(!poisons(&lab, "host", ALICE[0], &gratuitous_arp(mac, ALICE[0])));
}

#[test]
fn honest_endpoints_notice_nothing_of_it() {
    let lab = host("--no-spoof");
    lab.sh("ip -n outside route add 10.1.0.0/24 via 192.0.2.1").ok();
    lab.serve_ports("bob", &[80]);
    lab.serve_ports("outside", &[80]);
    lab.netcord("publish bob 8080:80 8080:80/udp").ok();
    for how in ["tcp", "udp"] {
        lab.reaches("alice", &format!("{how} 10.1.0.3:80"), "bob:80 from 10.1.0.2");
        lab.reaches("alice", &format!("{how} [fd00:1::3]:80"), "bob:80 from fd00:1::2");
        lab.reaches("host", &format!("{how} 10.1.0.3:80"), "bob:80 from 10.1.0.1");
        lab.reaches("alice", &format!("{how} 192.0.2.2:80"), "outside:80 from 192.0.2.1");
        lab.reaches("alice", &format!("{how} [2001:db8::2]:80"), "outside:80 from 2001:db8::1");
        lab.reaches("outside", &format!("{how} 192.0.2.1:8080"), "bob:80 from 192.0.2.2");
        lab.reaches("outside", &format!("{how} [2001:db8::1]:8080"), "bob:80 from 2001:db8::2");
        lab.reaches("alice", &format!("{how} 192.0.2.1:8080"), "bob:80 from 10.1.0.1");
    }
    // In fragments, by their link's own address, and after everything was forgotten.
    for to in BOB {
        lab.within("alice", &format!("ping -qc2 -W2 -s 4000 {to}")).ok();
    }
    let bob = link_local(&lab, "bob");
    lab.within("alice", &format!("ping -qc1 -W2 {bob}%eth0")).ok();
    lab.sh(
        "ip -n alice neigh flush dev eth0; ip -n bob neigh flush dev eth0; ip neigh flush dev lab0",
    )
    .ok();
    for to in BOB {
        lab.reaches("alice", &format!("ping {to}"), "");
    }
    // An address that is checked for duplicates, by a link that goes down and up.
    lab.sh("ip -n alice link set eth0 down; ip -n alice addr del fd00:1::2/64 dev eth0 2>/dev/null || true
            ip -n alice link set eth0 up; ip -n alice addr add fd00:1::2/64 dev eth0")
        .ok();
    lab.until_within("alice", "! ip -6 addr show tentative | grep -q .");
    lab.until_within("alice", "ping -qc1 -W1 fd00:1::3");
    assert_eq!(lab.within("alice", "ip -6 addr show dadfailed").ok(), "");
}

#[test]
fn the_guard_stands_before_the_endpoint_can_speak_and_is_found_again() {
    let lab = host("--no-spoof");
    let script = lab.netcord("inspect lab0 --commands").ok();
    let position = |part: &str| script.find(part).unwrap_or_else(|| panic!("{part}: {script}"));
    // Not even who sets the inner end up by themselves is faster.
    assert!(!script.contains(" up type veth"), "{script}");
    assert!(position("bpf direct-action") < position("protections are in place"));
    // If deleted by hand, it is made again; if replaced, that is reported.
    let link = port_of_mallory(&lab);
    lab.sh(&format!("tc filter del dev {link} ingress")).ok();
    lab.netcord("attach lab0 mallory").ok();
    assert!(!poisons(&lab, "alice", BOB[0], &gratuitous_arp(mallory(&lab), BOB[0])));
    lab.sh(&format!(
        "tc filter del dev {link} ingress
         tc filter add dev {link} ingress protocol all pref 1 handle 1 bpf direct-action bytecode '1,6 0 0 0'"
    ))
    .ok();
    lab.netcord("attach lab0 mallory").fails(4, &["another tc filter", &link]);
    // A record that was lost does not forget it.
    lab.sh("find /run/netcord -name network-lab0.json -delete").ok();
    lab.netcord("bridge lab0").fails(4, &["no-spoof"]);
    lab.netcord("bridge lab0 --no-spoof").ok();
}
