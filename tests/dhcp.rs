//! Addresses that a network's own DHCP server gives.

#![expect(clippy::zombie_processes, reason = "a server ends with its host")]

use std::thread;

use serde_json::json;

use crate::support::{
    BY_WALL_CLOCK, Lab, NETCORD, Snapshot,
    cni::{Conflist, Container, plugins},
};

/// A foreign bridge without an address, and a router on it: `192.0.2.1`, where servers run.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.sh("ip netns add router
        ip link add br0 type bridge; ip link set br0 addrgenmode none up
        ip link add to-router type veth peer name lan netns router
        ip link set to-router addrgenmode none master br0 up
        ip -n router link set lo up; ip -n router link set lan addrgenmode none up
        ip -n router addr add 192.0.2.1/24 dev lan
        ip netns exec router sysctl -qw net.ipv4.ping_group_range='0 0'")
        .ok();
    lab.netns(&["web"]);
    lab
}

/// dnsmasq in the router's namespace; `options` are its own.
fn dnsmasq(lab: &Lab, options: &str) {
    lab.start(&format!(
        "exec ip netns exec router dnsmasq --no-daemon --conf-file=/dev/null --user=root --port=0 \
         --no-ping --interface=lan --bind-interfaces --dhcp-authoritative \
         --dhcp-leasefile=/run/leases --pid-file=/run/dnsmasq.pid --log-dhcp \
         --log-facility=/run/log {options}"
    ));
    lab.until("ip netns exec router ss -Hlnu sport = :67 | grep -q .");
}

/// busybox's server, which unlike dnsmasq gives leases of a few seconds.
fn udhcpd(lab: &Lab, range: &str, seconds: u32) {
    let (first, last) = range.split_once('-').unwrap();
    lab.sh(&format!(
        "cat > /run/udhcpd.conf <<END
start {first}
end {last}
interface lan
lease_file /run/udhcpd.leases
pidfile /run/udhcpd.pid
min_lease 2
option subnet 255.255.255.0
option router 192.0.2.1
option lease {seconds}
END
         touch /run/udhcpd.leases"
    ))
    .ok();
    lab.start("exec ip netns exec router busybox udhcpd -f -a 1 /run/udhcpd.conf >>/run/log 2>&1");
    lab.until("ip netns exec router ss -Hlnu sport = :67 | grep -q .");
}

fn stop(lab: &Lab, server: &str) {
    lab.sh(&format!("kill $(cat /run/{server}.pid)")).ok();
    lab.until("! ip netns exec router ss -Hlnu sport = :67 | grep -q .");
}

const NORMAL: &str = "--dhcp-range=192.0.2.50,192.0.2.60,2m --dhcp-option=3,192.0.2.1";

/// A part of what `inspect` shows of the endpoint, as `jq` would print it.
fn shown(lab: &Lab, path: &[&str]) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(&lab.netcord("inspect br0").ok()).unwrap();
    path.iter().fold(all[0]["endpoints"][0].clone(), |value, key| value[key].clone())
}

fn keeper(lab: &Lab) -> i64 {
    shown(lab, &["lease", "keeper", "pid"]).as_i64().unwrap()
}

/// It runs, and is more than a process whose end nobody has asked for.
fn alive(pid: i64) -> String {
    format!("grep -qs '^State:.[^ZX]' /proc/{pid}/status")
}

fn keepers(lab: &Lab) -> String {
    lab.sh("grep -lzx '[k]eep-lease' /proc/[0-9]*/cmdline 2>/dev/null || true").ok()
}

#[test]
fn an_address_is_leased_and_released() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    let before = lab.snapshot();
    let address = lab.netcord("attach br0 web --dhcp").ok();
    let last: u32 = address.strip_prefix("192.0.2.").unwrap().parse().unwrap();
    assert!((50..=60).contains(&last), "{address}");
    lab.serve("web", 80);
    assert_eq!(lab.fetch("router", &format!("http://{address}/")).ok(), "web");
    assert_eq!(
        lab.within("web", "ip route show default").ok().trim_end(),
        "default via 192.0.2.1 dev eth0 proto 110"
    );

    let row = lab.netcord("ps").ok();
    assert!(row.contains(&format!("{address}/24 (dhcp)")), "{row}");
    let pid = keeper(&lab);
    assert_eq!(shown(&lab, &["lease", "keeper", "running"]), true);
    assert_eq!(shown(&lab, &["lease", "server"]), "192.0.2.1");
    // A session and a directory of its own, and nobody's output.
    lab.sh(&format!(
        "[ $(cut -d' ' -f6 /proc/{pid}/stat) = {pid} ]; [ $(readlink /proc/{pid}/cwd) = / ]
         for fd in 0 1 2; do [ $(readlink /proc/{pid}/fd/$fd) = /dev/null ]; done
         [ $(readlink /proc/{pid}/ns/net) = $(readlink /proc/1/ns/net) ]
         ! ls -l /proc/{pid}/fd | grep -q 'net:\\['"
    ))
    .ok();
    lab.sh(&format!("grep -q ' {address} ' /run/leases")).ok();

    // Again is success, and the same keeper.
    let again = lab.netcord("--format json attach br0 web --dhcp").ok();
    assert!(again.contains("\"changed\":false") || again.contains("\"changed\": false"), "{again}");
    assert_eq!(keeper(&lab), pid);

    lab.netcord("detach br0 web").ok();
    lab.sh(&format!("! {}", alive(pid))).ok();
    lab.until("grep -q DHCPRELEASE /run/log && [ ! -s /run/leases ]");
    before.assert_same(&lab.snapshot(), "after detach");
}

/// The stock plugin `dhcp` wants a link before there is an address, so netcord asks by itself.
#[test]
fn a_cni_plugin_leases_for_its_runtime() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    plugins(&lab);
    let list = |bridge: &str| {
        let plugin = json!({"type": "netcord", "bridge": bridge, "ipam": {"type": "dhcp"}});
        Conflist::new("lan", vec![plugin])
    };
    let web = Container::named("c1", "/run/netns/web");
    let before = lab.snapshot();
    // A bridge that netcord made would have no server.
    let refused = list("br9").add(&lab, web, &json!({})).unwrap_err().exits(1);
    assert!(refused.stdout.contains("this host has no network `br9` yet"), "{}", refused.stdout);
    let result = list("br0").add(&lab, web, &json!({})).unwrap();
    let address = result["ips"][0]["address"].as_str().unwrap();
    assert!(address.starts_with("192.0.2.") && address.ends_with("/24"), "{result}");
    assert_eq!(result["ips"][0]["gateway"], "192.0.2.1");
    assert_eq!(shown(&lab, &["lease", "keeper", "running"]), true);
    assert_eq!(list("br0").add(&lab, web, &json!({})).unwrap(), result);
    list("br0").check(&lab, web, &json!({}), &result).unwrap().ok();
    list("br0").del(&lab, web, &json!({}), Some(&result));
    lab.until("grep -q DHCPRELEASE /run/log && [ ! -s /run/leases ]");
    before.assert_same(&lab.snapshot(), "after DEL");
}

#[test]
fn the_same_target_gets_the_same_address_again() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    let first = lab.netcord("attach br0 web --dhcp").ok();
    lab.netcord("detach br0 web").ok();
    assert_eq!(lab.netcord("attach br0 web --dhcp").ok(), first);
    lab.netcord("detach br0 web").ok();
    let by_mac = lab.netcord("attach br0 web --dhcp --mac 02:00:00:00:00:07").ok();
    lab.until("grep -q 02:00:00:00:00:07 /run/leases");
    lab.sh(&format!("grep -q '02:00:00:00:00:07 {by_mac} ' /run/leases")).ok();
}

#[test]
fn without_a_router_there_is_no_default_route() {
    let lab = lab();
    dnsmasq(&lab, "--dhcp-range=192.0.2.50,192.0.2.60,2m --dhcp-option=3");
    let printed = lab.netcord("attach br0 web --dhcp --ip 2001:db8::9/64").ok();
    assert!(printed.ends_with("\n2001:db8::9"), "{printed}");
    lab.sh("[ -z \"$(ip -n web route show default)\" ]
            ip -n web -o addr show dev eth0 | grep -q '2001:db8::9/64'
            ip -n web -o -4 addr show dev eth0 | grep -q '192.0.2.[56][0-9]*/24'")
        .ok();
    let row = lab.netcord("ps").ok();
    assert!(row.contains("/24 (dhcp), 2001:db8::9/64"), "{row}");
}

#[test]
fn routes_of_the_server_name_the_gateway() {
    let lab = lab();
    let routes = "--dhcp-option=3,192.0.2.9 --dhcp-option=121,0.0.0.0/0,192.0.2.1";
    dnsmasq(&lab, &format!("--dhcp-range=192.0.2.50,192.0.2.60,2m {routes}"));
    lab.netcord("attach br0 web --dhcp").ok();
    lab.sh("ip -n web route show default | grep -q 'via 192.0.2.1 '").ok();
}

#[test]
fn several_targets_each_get_their_own() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    lab.netns(&["db"]);
    let addresses = lab.netcord("attach br0 web db --dhcp --gateway none").ok();
    let addresses: Vec<_> = addresses.lines().collect();
    assert_eq!(addresses.len(), 2);
    assert_ne!(addresses[0], addresses[1]);
    assert_eq!(keepers(&lab).lines().count(), 2);
    assert_eq!(lab.within("web", "ip route show default").ok(), "");
    lab.netcord("detach br0 web db").ok();
    assert_eq!(keepers(&lab), "");
}

#[test]
fn a_short_lease_is_renewed() {
    let lab = lab();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 6);
    assert_eq!(lab.netcord("attach br0 web --dhcp").ok(), "192.0.2.70");
    let first = shown(&lab, &["lease", "expires"]).as_u64().unwrap();
    // Half of six seconds, twice.
    lab.until(&format!(
        "[ $({NETCORD} inspect br0 | grep -o '\"expires\": *[0-9]*' | grep -o '[0-9]*$') -ge {} ]",
        first + 5
    ));
    lab.sh("[ $(grep -c 'ending ACK' /run/log) -ge 3 ]
            ip -n web -o addr show dev eth0 | grep -q 192.0.2.70/24
            ip -n web route show default | grep -q 192.0.2.1")
        .ok();
}

/// The number of seconds until a lease renewer's timer ends.
fn renews_in(lab: &Lab, pid: i64) -> u64 {
    let timer = format!("sed -n 's/^it_value: (\\([0-9]*\\),.*/\\1/p' /proc/{pid}/fdinfo/*");
    lab.until(&format!("[ -n \"$({timer})\" ]"));
    lab.sh(&timer).ok().parse().unwrap()
}

#[test]
fn a_clock_that_is_set_changes_no_lease() {
    let lab = lab();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 600);
    lab.set_wall_clock(0);
    let attach = format!("{BY_WALL_CLOCK} {NETCORD} attach br0 web --dhcp");
    lab.sh(&attach).ok();
    let shown_expiry = || shown(&lab, &["lease", "expires"]).as_i64().unwrap();
    let expires = shown_expiry();
    for ahead in [3600, -86_400] {
        lab.set_wall_clock(ahead);
        let renewer = keeper(&lab);
        lab.reads_wall_clock(&renewer.to_string());
        assert!((250..=320).contains(&renews_in(&lab, renewer)), "{ahead}");
        // One that is started now reads the times that were recorded before.
        lab.sh(&format!("kill -9 {renewer}")).ok();
        lab.until(&format!("! {}", alive(renewer)));
        assert_eq!(lab.sh(&attach).ok(), "192.0.2.70");
        assert!((250..=320).contains(&renews_in(&lab, keeper(&lab))), "{ahead}");
        // It is shown by the clock of who looks.
        let by_it = lab.sh(&format!("{BY_WALL_CLOCK} {NETCORD} inspect br0")).ok();
        let by_it: serde_json::Value = serde_json::from_str(&by_it).unwrap();
        let by_it = by_it[0]["endpoints"][0]["lease"]["expires"].as_i64().unwrap();
        assert!((by_it - expires - ahead).abs() <= 2, "{by_it}, {expires}, {ahead}");
        assert!((shown_expiry() - expires).abs() <= 2);
    }
    assert_eq!(lab.sh("grep -c 'ending ACK' /run/log").ok(), "1", "it is not time to renew");
}

#[test]
fn a_lease_is_renewed_and_ends_while_the_clock_is_set() {
    let lab = lab();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 6);
    lab.set_wall_clock(0);
    lab.sh(&format!("{BY_WALL_CLOCK} {NETCORD} attach br0 web --dhcp")).ok();
    lab.reads_wall_clock(&keeper(&lab).to_string());
    let has = "ip -n web -o -4 addr show dev eth0 | grep -q 192.0.2.70/24";
    let mut renewals = 1;
    for ahead in [3600, -86_400] {
        lab.set_wall_clock(ahead);
        renewals += 2;
        lab.until(&format!("[ $(grep -c 'ending ACK' /run/log) -ge {renewals} ]"));
        lab.sh(has).ok();
    }
    stop(&lab, "udhcpd");
    lab.until(&format!("! {has}"));
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 600);
    lab.until(has);
}

#[test]
fn another_address_takes_the_place_of_the_first() {
    let lab = lab();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 6);
    assert_eq!(lab.netcord("attach br0 web --dhcp").ok(), "192.0.2.70");
    let pid = keeper(&lab);
    stop(&lab, "udhcpd");
    lab.sh("rm /run/udhcpd.leases").ok();
    udhcpd(&lab, "192.0.2.80-192.0.2.80", 600);
    lab.until("ip -n web -o -4 addr show dev eth0 | grep -q 192.0.2.80/24");
    lab.until("ip -n web route show default | grep -q 192.0.2.1");
    lab.sh("! ip -n web -o addr show dev eth0 | grep -q 192.0.2.70").ok();
    let row = lab.netcord("ps").ok();
    assert!(row.contains("192.0.2.80/24 (dhcp)"), "{row}");
    assert_eq!(keeper(&lab), pid);
    lab.serve("web", 80);
    assert_eq!(lab.fetch("router", "http://192.0.2.80/").ok(), "web");
    lab.netcord("detach br0 web").ok();
    lab.sh(&format!("! {}", alive(pid))).ok();
}

#[test]
fn an_address_whose_time_is_over_is_taken_off_until_there_is_another() {
    let lab = lab();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 4);
    lab.netcord("attach br0 web --dhcp").ok();
    stop(&lab, "udhcpd");
    lab.until("! ip -n web -o addr show dev eth0 | grep -q 192.0.2.70");
    lab.until(&format!("{NETCORD} ps | grep -q -- '- (dhcp)'"));
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 600);
    lab.until("ip -n web -o addr show dev eth0 | grep -q 192.0.2.70/24");
    lab.until("ip -n web route show default | grep -q 192.0.2.1");
}

/// A package replaces the file of a program that runs.
#[test]
fn a_keeper_of_an_older_file_is_found_after_an_upgrade() {
    let lab = lab();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 6);
    let install =
        format!("cp {NETCORD} /run/netcord.new; mv /run/netcord.new /run/netcord-installed");
    let installed = "/run/netcord-installed";
    lab.sh(&format!("{install}; {installed} attach br0 web --dhcp")).ok();
    let pid = keeper(&lab);
    lab.sh(&install).ok();
    lab.sh(&format!("readlink /proc/{pid}/exe | grep -q deleted")).ok();
    // It is known by its record, and without that by its arguments.
    for loss in ["true", "rm -r /run/netcord"] {
        lab.sh(&format!("{loss}; {installed} attach br0 web --dhcp")).ok();
        assert_eq!((keeper(&lab), keepers(&lab).lines().count()), (pid, 1), "{loss}");
    }
    // It renews, as before, what the new program reads.
    let renewals = lab.sh("grep -c 'ending ACK' /run/log").ok().parse::<u32>().unwrap();
    lab.until(&format!("[ $(grep -c 'ending ACK' /run/log) -gt {renewals} ]"));
    lab.sh(&format!("{installed} detach br0 web; ! {}", alive(pid))).ok();
    assert_eq!(keepers(&lab), "");
}

#[test]
fn the_keeper_ends_with_its_target() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    let pid = lab.null_mode_process();
    lab.netcord(&format!("attach br0 {pid} --dhcp")).ok();
    let keeper = keeper(&lab);
    lab.sh(&alive(keeper)).ok();
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until(&format!("! {}", alive(keeper)));
    lab.until("[ ! -s /run/leases ]");
    lab.netcord("prune").ok();
    assert_eq!(lab.netcord("ps -q").ok(), "");
    lab.sh("! ip -o link | grep -q ' nc'; [ -z \"$(find /run/netcord -name 'network-*')\" ]").ok();
}

#[test]
fn a_keeper_that_was_killed_is_seen_and_replaced() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    let address = lab.netcord("attach br0 web --dhcp").ok();
    let first = keeper(&lab);
    lab.sh(&format!("kill -9 {first}")).ok();
    lab.until(&format!("! {}", alive(first)));
    assert_eq!(shown(&lab, &["lease", "keeper", "running"]), false);
    let row = lab.netcord("ps").ok();
    assert!(row.contains(&format!("{address}/24 (dhcp, not renewed)")), "{row}");
    let diagnosis = lab.netcord("doctor web").exits(1).stdout;
    assert!(diagnosis.contains("[lease-not-renewed]"), "{diagnosis}");
    assert!(diagnosis.contains(&format!("    no process {first}\n")), "{diagnosis}");
    assert!(diagnosis.ends_with("    $ netcord attach br0 web --dhcp\n"), "{diagnosis}");

    assert_eq!(lab.netcord("attach br0 web --dhcp").ok(), address);
    assert_eq!(lab.netcord("doctor web").ok(), "");
    let second = keeper(&lab);
    assert_ne!(first, second);
    assert_eq!(shown(&lab, &["lease", "keeper", "running"]), true);

    // Without a keeper, detach itself gives the lease back.
    lab.sh(&format!("kill -9 {second}")).ok();
    lab.until(&format!("! {}", alive(second)));
    lab.netcord("detach br0 web").ok();
    lab.until("grep -q DHCPRELEASE /run/log && [ ! -s /run/leases ]");
}

#[test]
fn an_address_in_use_is_not_given_back() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    let address = lab.netcord("attach br0 web --dhcp").ok();
    let first = keeper(&lab);
    lab.sh(&format!("kill {first}")).ok();
    lab.until(&format!("! {}", alive(first)));
    lab.sh(&format!("grep -q ' {address} ' /run/leases; ! grep -q DHCPRELEASE /run/log")).ok();
    assert!(lab.netcord("ps").ok().contains("(dhcp, not renewed)"));
    lab.netcord("detach br0 web").ok();
    lab.until("grep -q DHCPRELEASE /run/log && [ ! -s /run/leases ]");
}

#[test]
fn the_keeper_holds_nothing_of_who_attached() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    // A lock that a script holds, and its output that somebody reads to the end.
    lab.sh(&format!(
        "exec 9>/run/lock/mine; flock -n 9; {NETCORD} attach br0 web --dhcp 2>&1 | cat >/dev/null"
    ))
    .ok();
    let pid = keeper(&lab);
    lab.sh(&format!(
        "flock -n /run/lock/mine true; [ \"$(cat /proc/{pid}/comm)\" = netcord ]
         ! ls -l /proc/{pid}/fd | grep -v /dev/null | grep -q ' -> /'"
    ))
    .ok();
}

#[test]
fn a_keeper_that_cannot_start_leaves_nothing() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    let before = lab.snapshot();
    // The keeper lives in `/`, where this is a directory that others can write.
    lab.sh(&format!(
        "mkdir -p /run/here; mkdir -m 777 /run/open; cd /run/here
         NETCORD_STATE_DIR=run/open {NETCORD} attach br0 web --dhcp"
    ))
    .fails(1, &["cannot keep the lease", "state directory"]);
    lab.until("grep -q DHCPRELEASE /run/log && [ ! -s /run/leases ]");
    assert_eq!(keepers(&lab), "");
    before.assert_same(&lab.snapshot(), "without a keeper");
}

#[test]
fn a_lost_record_is_made_again_by_the_keeper() {
    let lab = lab();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 4);
    lab.netcord("attach br0 web --dhcp").ok();
    let pid = keeper(&lab);
    lab.sh("rm -r /run/netcord").ok();
    lab.until("grep -qs keeper /run/netcord/*/network-br0.json");
    assert_eq!(keeper(&lab), pid);
    assert!(lab.netcord("ps").ok().contains("192.0.2.70/24 (dhcp)"));
    lab.netcord("detach br0 web").ok();
    assert_eq!(keepers(&lab), "");
}

#[test]
fn a_published_port_follows_the_address() {
    let lab = lab();
    lab.netcord("bridge lab0 --subnet 192.0.2.0/24 --gateway 192.0.2.254").ok();
    lab.sh("ip link set to-router master lab0").ok();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 6);
    lab.netcord("attach lab0 web --dhcp -p 8080:80").ok();
    lab.serve("web", 80);
    assert_eq!(lab.fetch("host", "http://192.0.2.254:8080/").ok(), "web");
    stop(&lab, "udhcpd");
    lab.sh("rm /run/udhcpd.leases").ok();
    udhcpd(&lab, "192.0.2.80-192.0.2.80", 600);
    lab.until("ip -n web -o -4 addr show dev eth0 | grep -q 192.0.2.80/24");
    lab.until("curl -gsS --max-time 3 http://192.0.2.254:8080/ | grep -q web");
    let leads_to = |address| lab.rules_of_ports().iter().any(|rule| rule.contains(address));
    assert!(!leads_to("192.0.2.70"));
    assert!(lab.netcord("port web").ok().contains("8080"));
    lab.netcord("detach lab0 web").ok();
    assert!(!leads_to("192.0.2.80"));
}

#[test]
fn a_published_port_closes_while_there_is_no_address() {
    let lab = lab();
    lab.netcord("bridge lab0 --subnet 192.0.2.0/24 --gateway 192.0.2.254").ok();
    lab.sh("ip link set to-router master lab0").ok();
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 4);
    lab.netcord("attach lab0 web --dhcp -p 8080:80").ok();
    stop(&lab, "udhcpd");
    lab.until("! nft list ruleset | grep -q 192.0.2.70");
    // The rule goes first, and then what is on record of it.
    lab.until(&format!("! {NETCORD} port web | grep -q 8080"));
    udhcpd(&lab, "192.0.2.70-192.0.2.70", 600);
    lab.serve("web", 80);
    lab.until("curl -gsS --max-time 3 http://192.0.2.254:8080/ | grep -q web");
}

#[test]
fn an_address_that_another_endpoint_has_is_refused() {
    let lab = lab();
    dnsmasq(&lab, "--dhcp-range=192.0.2.50,192.0.2.50,2m");
    lab.netns(&["db"]);
    lab.netcord("attach br0 db --ip 192.0.2.50/24").ok();
    lab.netcord("attach br0 web --dhcp").fails(4, &["192.0.2.50", "`db`", "hint: "]);
    lab.until("grep -q DHCPRELEASE /run/log && [ ! -s /run/leases ]");
}

#[test]
fn many_at_once() {
    let lab = lab();
    dnsmasq(&lab, "--dhcp-range=192.0.2.50,192.0.2.99,2m");
    let names: Vec<_> = (0..6).map(|n| format!("n{n}")).collect();
    lab.netns(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let all: Vec<_> = thread::scope(|scope| {
        let attach = |name| {
            let lab = &lab;
            scope.spawn(move || lab.netcord(&format!("attach br0 {name} --dhcp")).ok())
        };
        let started: Vec<_> = names.iter().map(attach).collect();
        started.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), names.len(), "{all:?}");
    lab.netcord(&format!("detach br0 {}", names.join(" "))).ok();
    assert_eq!(keepers(&lab), "");
}

#[test]
fn killed_at_any_time_it_can_be_done_again_and_undone() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    let before = lab.snapshot();
    for tenths in [0, 1, 2, 4, 6, 8, 10, 12, 15, 20, 25] {
        let seconds = f64::from(tenths) / 100.0 + 0.01;
        lab.sh(&format!("timeout -s KILL {seconds} {NETCORD} attach br0 web --dhcp || true")).ok();
        lab.netcord("attach br0 web --dhcp").ok();
        assert_eq!(shown(&lab, &["lease", "keeper", "running"]), true);
        lab.netcord("detach br0 web").ok();
        lab.until("! grep -lzx '[k]eep-lease' /proc/[0-9]*/cmdline 2>/dev/null | grep -q .");
        lab.until("[ ! -s /run/leases ]");
        before.assert_same(&lab.snapshot(), &format!("killed after {seconds} s"));
    }
}

#[test]
fn without_a_server_nothing_is_changed() {
    let lab = lab();
    let before: Snapshot = lab.snapshot();
    let run = lab.netcord("attach br0 web --dhcp");
    run.fails(7, &["no DHCP server answered on `br0` within 10 seconds", "hint: "]);
    before.assert_same(&lab.snapshot(), "without a server");
}

#[test]
fn a_lease_that_comes_to_nothing_is_given_back() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    lab.netns(&["db"]);
    let before = lab.snapshot();
    lab.netcord("attach br0 web --dhcp --gateway 10.0.0.1").fails(2, &["gateway 10.0.0.1"]);
    lab.until("grep -q DHCPRELEASE /run/log && [ ! -s /run/leases ]");
    before.assert_same(&lab.snapshot(), "after a failure");
    assert_eq!(keepers(&lab), "");
}

#[test]
fn what_cannot_be_asked_for_together() {
    let lab = lab();
    dnsmasq(&lab, NORMAL);
    lab.netcord("attach br0 web --dhcp --ip 192.0.2.9/24").fails(2, &["--ip", "--dhcp"]);
    lab.netcord("--dry-run attach br0 web --dhcp").fails(2, &["--dry-run", "--dhcp"]);
    lab.netcord("attach br0 web --ip 192.0.2.9/24").ok();
    lab.netcord("attach br0 web --dhcp").fails(4, &["given by hand, not leased"]);
}

#[test]
fn a_network_of_our_own_may_have_a_server_too() {
    let lab = lab();
    lab.netcord("bridge lab0 --subnet 192.0.2.0/24 --gateway 192.0.2.254").ok();
    lab.sh("ip link set to-router master lab0").ok();
    dnsmasq(&lab, NORMAL);
    let address = lab.netcord("attach lab0 web --dhcp -p 8080:80").ok();
    lab.serve("web", 80);
    assert_eq!(lab.fetch("router", &format!("http://{address}/")).ok(), "web");
    assert_eq!(lab.fetch("host", "http://192.0.2.254:8080/").ok(), "web");
    let commands = lab.netcord("inspect web --commands").ok();
    assert!(commands.contains(&format!("addr add {address}/24")), "{commands}");
    // The last of a bridge's own range would otherwise be given twice.
    lab.netns(&["db"]);
    assert_ne!(lab.netcord("attach lab0 db").ok(), address);
    lab.netcord("detach lab0 web db").ok();
    assert_eq!(keepers(&lab), "");
}

/// dnsmasq on this host itself, on a bridge, as libvirt's on virbr0.
fn dnsmasq_here(lab: &Lab, bridge: &str, options: &str) {
    lab.start(&format!(
        "exec dnsmasq --no-daemon --conf-file=/dev/null --user=root --port=0 --no-ping \
         --interface={bridge} --bind-interfaces --dhcp-authoritative --dhcp-leasefile=/run/leases \
         --pid-file=/run/dnsmasq.pid --log-dhcp --log-facility=/run/log {options}"
    ));
    lab.until("ss -Hlnu sport = :67 | grep -q .");
}

/// A foreign bridge where this host itself is the router.
fn routed_here() -> Lab {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.sh("ip link add br0 type bridge && ip addr add 192.0.2.1/24 dev br0 && ip link set br0 up")
        .ok();
    lab
}

/// No port is left that was made to ask by: it has no alias. The hash in the name of a host end may
/// begin with `d`, too.
#[track_caller]
fn has_no_port_to_ask_by(lab: &Lab) {
    assert_eq!(lab.sh("ip -o link | grep ' ncd' | grep -v 'alias netcord:' || true").ok(), "");
}

#[test]
fn a_server_of_this_host_gives_and_takes_back() {
    for network in ["br0", "lab0"] {
        let lab = if network == "br0" { routed_here() } else { Lab::new() };
        if network == "br0" {
            // Its MAC is the lowest of its ports', its MTU the smallest.
            lab.sh("ip link add d0 type veth peer name d1; ip link set d0 master br0 up mtu 1400
                    ip link set d1 up mtu 1400")
                .ok();
        } else {
            lab.netns(&["web", "db"]);
            lab.netcord("bridge lab0 --subnet 192.0.2.0/24 --gateway 192.0.2.1").ok();
        }
        dnsmasq_here(&lab, network, NORMAL);
        let link = format!("ip -o link show {network} | sed 's/<.*>//; s/state.*group/group/'");
        let before = lab.sh(&link).ok();
        let address = lab.netcord(&format!("attach {network} web --dhcp")).ok();
        assert_eq!(lab.sh(&link).ok(), before, "the bridge is as it was");
        assert!(address.starts_with("192.0.2.5") || address == "192.0.2.60", "{address}");
        has_no_port_to_ask_by(&lab);
        let other = lab.netcord(&format!("attach {network} db --dhcp")).ok();
        assert_ne!(address, other);
        lab.within("host", &format!("ping -qc1 -W3 {other} && ping -qc1 -W3 {address}")).ok();
        lab.netcord(&format!("detach {network} web db")).ok();
        lab.until("[ $(grep -c 'DHCPRELEASE(' /run/log) = 2 ] && [ ! -s /run/leases ]");
        has_no_port_to_ask_by(&lab);
        assert_eq!(keepers(&lab), "");
    }
}

#[test]
fn a_lease_of_a_server_of_this_host_is_renewed_and_no_frame_goes_astray() {
    let lab = routed_here();
    lab.sh("printf '%s\\n' 'start 192.0.2.70' 'end 192.0.2.70' 'interface br0' \
               'lease_file /run/udhcpd.leases' 'pidfile /run/udhcpd.pid' 'min_lease 2' \
               'option subnet 255.255.255.0' 'option router 192.0.2.1' 'option lease 20' \
               >/run/udhcpd.conf; touch /run/udhcpd.leases")
        .ok();
    lab.start("exec busybox udhcpd -f -a 1 /run/udhcpd.conf >>/run/log 2>&1");
    lab.until("ss -Hlnu sport = :67 | grep -q .");
    assert_eq!(lab.netcord("attach br0 web --dhcp").ok(), "192.0.2.70");
    // What is for it goes to its own port, also while it is asked for it.
    let port = lab.sh("ip -o link show master br0 | sed 's/^[0-9]*: //; s/@.*//'").ok();
    let mac = shown(&lab, &["mac"]).as_str().unwrap().to_owned();
    lab.start("exec bridge monitor fdb >/run/fdb");
    lab.until("[ -e /run/fdb ]");
    lab.until("[ $(grep -c 'ending ACK' /run/log) -ge 2 ]");
    lab.within("host", "ping -qc1 -W3 192.0.2.70").ok();
    lab.sh(&format!("! grep '{mac} dev' /run/fdb | grep -v 'dev {port} '")).ok();
    lab.sh("ip -n web -o addr show dev eth0 | grep -q 192.0.2.70/24").ok();
    has_no_port_to_ask_by(&lab);
}

#[test]
fn a_server_elsewhere_answers_beside_one_here_that_has_nothing() {
    let lab = lab();
    lab.sh("ip addr add 192.0.2.9/24 dev br0").ok();
    dnsmasq(&lab, NORMAL);
    // It listens, and does not know this network.
    lab.start(
        "exec dnsmasq --no-daemon --conf-file=/dev/null --user=root --port=0 --interface=br0 \
         --dhcp-range=198.51.100.1,198.51.100.9 --dhcp-leasefile=/run/none",
    );
    lab.until("ss -Hlnu sport = :67 | grep -q .");
    let address = lab.netcord("attach br0 web --dhcp").ok();
    assert_eq!(shown(&lab, &["lease", "server"]), "192.0.2.1", "{address}");
    // It was asked once.
    assert_eq!(lab.sh("grep -c 'DHCPDISCOVER(' /run/log").ok(), "1");
    lab.netcord("detach br0 web").ok();
    lab.until("grep -q DHCPRELEASE /run/log && [ ! -s /run/leases ]");
    has_no_port_to_ask_by(&lab);
}

#[test]
fn who_is_killed_while_asking_a_server_of_this_host_leaves_no_port() {
    let lab = routed_here();
    // It listens, and never answers.
    lab.start(
        "exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Proto => \"udp\", \
         LocalPort => 67) or die; sleep'",
    );
    lab.until("ss -Hlnu sport = :67 | grep -q .");
    let mut asking = lab.start(&format!("exec {NETCORD} attach br0 web --dhcp"));
    lab.until("ip -o link show master br0 | grep -q ' ncd'");
    lab.sh("kill -9 $(pidof netcord)").ok();
    asking.wait().unwrap();
    lab.until("! ip -o link | grep -q ' ncd'");
}
