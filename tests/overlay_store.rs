//! Overlay networks whose hosts find each other in a real etcd, with a real netcord-agent on each.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use crate::support::{BY_WALL_CLOCK, Lab, NETCORD, STORE, STORE_BY_IPV6, etcdctl, units};

const CLUSTER: &str = "--subnet 10.5.0.0/16";

/// The words by which a host joins.
fn join(more: &str) -> String {
    format!("overlay pods --store {STORE} {more}")
}

/// The subnet that a host got, and the address of its first endpoint.
#[track_caller]
fn joined(lab: &Lab, host: &str, more: &str) -> (String, String) {
    let subnet = lab.on(host, &join(more)).ok();
    let first = subnet.strip_suffix(".0/24").unwrap_or_else(|| panic!("{subnet}"));
    (subnet.clone(), format!("{first}.2"))
}

/// Waits until a host's kernel has a route to a subnet through a link.
#[track_caller]
pub(crate) fn until_routed(lab: &Lab, host: &str, subnet: &str, by: &str) {
    lab.until(&format!("nsenter --net=/run/netns/{host} ip route | grep -q '^{subnet} .*{by}'"));
}

/// What a command prints of a host's kernel.
#[track_caller]
pub(crate) fn of(lab: &Lab, host: &str, command: &str) -> String {
    lab.sh(&format!("nsenter --net=/run/netns/{host} {command}")).ok()
}

/// The leases in the store, by key.
#[track_caller]
fn leases(lab: &Lab, prefix: &str) -> BTreeMap<String, String> {
    let printed = lab.etcdctl(&format!("get --prefix {prefix}/subnets/")).ok();
    let lines: Vec<_> = printed.lines().collect();
    lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// The process of a host's agent.
#[track_caller]
pub(crate) fn agent(lab: &Lab, host: &str) -> String {
    lab.sh(&format!(
        "for pid in $(pidof netcord-agent); do
             [ \"$(readlink /proc/$pid/ns/net)\" != \"$(nsenter --net=/run/netns/{host} readlink /proc/self/ns/net)\" ] ||
             echo $pid
         done"
    ))
    .ok()
}

/// Kills a process, and waits for that.
#[track_caller]
fn kill(lab: &Lab, pid: &str) {
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until(&format!("! readlink /proc/{pid}/ns/net"));
}

#[track_caller]
fn own_peer(lab: &Lab, host: &str) -> Value {
    let printed = lab.on(host, "--format json peers pods").ok();
    serde_json::from_str::<Value>(&printed).unwrap()[0].clone()
}

#[test]
fn hosts_find_each_other_in_etcd() {
    let lab = Lab::new();
    lab.hosts(3).netns(&["web", "db", "app"]);
    lab.etcd();
    let (one, web) = joined(&lab, "h1", CLUSTER);
    let (two, db) = joined(&lab, "h2", "");
    assert_ne!(one, two);
    // What flanneld would write: the same names, values and order.
    let key = |subnet: &str| format!("/netcord/pods/subnets/{}", subnet.replace('/', "-"));
    let value = |n: u8| {
        format!(
            r#"{{"PublicIP":"192.0.2.{n}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"02:76:c0:00:02:0{n}"}}}}"#
        )
    };
    let expected = BTreeMap::from([(key(&one), value(1)), (key(&two), value(2))]);
    assert_eq!(leases(&lab, "/netcord/pods"), expected);
    let config = lab.etcdctl("get --print-value-only /netcord/pods/config").ok();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        (&config["Network"], &config["Backend"]["Type"]),
        (&"10.5.0.0/16".into(), &"vxlan".into())
    );

    assert_eq!(lab.on("h1", "attach pods web").ok(), web);
    assert_eq!(lab.on("h2", "attach pods db").ok(), db);
    until_routed(&lab, "h1", &two, "vx-pods");
    lab.serve_ports("db", &[80]);
    lab.reaches("web", &format!("tcp {db}:80"), &format!("db:80 from {web}"));
    lab.reaches("db", &format!("ping {web}"), "");

    // Again: nothing to do. The third comes and goes.
    let again = lab.on("h2", &format!("--format json {}", join(""))).ok();
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["changed"], false);
    let (three, app) = joined(&lab, "h3", "");
    assert_eq!(lab.on("h3", "attach pods app").ok(), app);
    for host in ["h1", "h2"] {
        until_routed(&lab, host, &three, "vx-pods");
    }
    lab.reaches("app", &format!("ping {web}"), "");
    let table = lab.on("h1", "peers pods").ok();
    assert!(table.contains("joined, lease 23:59:") && table.contains(&three), "{table}");
    lab.on("h1", "doctor").ok();
    lab.on("h3", "detach pods app").ok();
    lab.on("h3", "rm pods").ok();
    assert_eq!(leases(&lab, "/netcord/pods").len(), 2, "it gave its subnet back");
    lab.until(&format!("! nsenter --net=/run/netns/h1 ip route | grep -q '^{three}'"));
    let left = of(&lab, "h1", "sh -c 'ip neigh show dev vx-pods; bridge fdb show dev vx-pods'");
    assert!(!left.contains("02:76:c0:00:02:03") && left.contains("02:76:c0:00:02:02"), "{left}");
    // Its agent has nothing left to do, and ends.
    lab.until("[ $(pidof netcord-agent | wc -w) = 2 ]");
}

#[test]
fn the_other_backends_and_families_work_with_a_store() {
    for (number, (flags, by)) in [
        ("--backend host-gw", "via 192.0.2.2"),
        ("--direct-routing --vni 77", "via 192.0.2.2"),
        ("--subnet fd00:5::/48", "vx-pods"),
        ("--subnet fd00:5::/48 --backend host-gw", "via 192.0.2.2"),
    ]
    .into_iter()
    .enumerate()
    {
        let lab = Lab::new();
        lab.hosts(2).netns(&["web", "db"]);
        lab.etcd();
        lab.on("h1", &join(&format!("{CLUSTER} {flags}"))).ok();
        let subnets = lab.on("h2", &join("")).ok();
        let is_dual = number > 1;
        assert_eq!(subnets.lines().count(), 1 + usize::from(is_dual), "{subnets}");
        lab.on("h1", "attach pods web").ok();
        let addresses = lab.on("h2", "attach pods db").ok();
        until_routed(&lab, "h1", subnets.lines().next().unwrap(), by);
        for address in addresses.lines() {
            lab.reaches("web", &format!("ping {address}"), "");
        }
        lab.on("h1", "doctor").ok();
    }
}

#[test]
fn a_host_with_flanneld_is_in_the_same_network() {
    // What a real flanneld wrote for a host, and what it made of that host's kernel.
    let mac = "82:65:fc:26:2c:f1";
    let lab = Lab::new();
    lab.hosts(2).netns(&["web"]);
    lab.etcd();
    let config = r#"'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'"#;
    lab.etcdctl(&format!("put /coreos.com/network/config {config}")).ok();
    let lease = format!(
        r#"'{{"PublicIP":"192.0.2.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}'"#
    );
    lab.etcdctl(&format!("put /coreos.com/network/subnets/10.5.61.0-24 {lease}")).ok();
    lab.etcdctl("put /coreos.com/network/subnets/10.5.64.0-24 {").ok();
    let file = "/run/flannel/subnet.env";
    let (subnet, web) =
        joined(&lab, "h1", &format!("--prefix /coreos.com/network --subnet-file {file}"));
    lab.on("h1", "attach pods web").ok();
    let gateway = subnet.replace(".0/", ".1/");
    assert_eq!(
        lab.sh(&format!("cat {file}")).ok(),
        format!(
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET={gateway}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true"
        )
    );
    let network = subnet.trim_end_matches("/24");
    lab.sh(&format!(
        "nsenter --net=/run/netns/h2 sh -euc '
            ip link add flannel.1 address {mac} mtu 1450 type vxlan id 1 \
                local 192.0.2.2 dev eth0 dstport 8472 nolearning
            ip addr add 10.5.61.0/32 dev flannel.1; ip link set flannel.1 up
            ip neigh replace {network} lladdr 02:76:c0:00:02:01 dev flannel.1 nud permanent
            bridge fdb replace 02:76:c0:00:02:01 dev flannel.1 dst 192.0.2.1 self permanent
            ip route add {subnet} via {network} dev flannel.1 onlink
            ip addr add 10.5.61.7/32 dev lo'"
    ))
    .ok();
    lab.listen("h2", &["10.5.61.7:80"]);
    lab.reaches("web", "tcp 10.5.61.7:80", &format!("h2:80 from {web}"));
    // The link has flannel's name and attributes.
    let link = of(&lab, "h1", "ip -d link show flannel.1");
    for attribute in ["vxlan id 1 local 192.0.2.1 dev eth0", "dstport 8472 nolearning", "mtu 1450"]
    {
        assert!(link.contains(attribute), "{attribute}: {link}");
    }
    // A MAC that changes is followed, and the former one is forgotten.
    let other = "7e:01:02:03:04:05";
    let lease = lease.replace(mac, other);
    lab.etcdctl(&format!("put /coreos.com/network/subnets/10.5.61.0-24 {lease}")).ok();
    lab.until(&format!(
        "nsenter --net=/run/netns/h1 bridge fdb show dev flannel.1 | grep -q {other}"
    ));
    lab.until("! nsenter --net=/run/netns/h1 bridge fdb show dev flannel.1 | grep -q 82:65");
    let neighbour = of(&lab, "h1", "ip neigh show 10.5.61.0 dev flannel.1");
    assert!(neighbour.contains(other), "{neighbour}");
    // What it cannot read, or cannot use, is named, and takes nothing away.
    lab.etcdctl("put /coreos.com/network/subnets/10.5.62.0-24 nonsense").ok();
    lab.etcdctl(r#"put /coreos.com/network/subnets/10.5.63.0-24 '{"PublicIP":"192.0.2.9","PublicIPv6":null}'"#).ok();
    lab.until(&format!(
        "nsenter --net=/run/netns/h1 {NETCORD} --format json peers pods | grep -q 10.5.62.0 && \
         nsenter --net=/run/netns/h1 {NETCORD} --format json peers pods | grep -q 192.0.2.9"
    ));
    until_routed(&lab, "h1", "10.5.61.0/24", "flannel.1");
    let skipped = own_peer(&lab, "h1")["store"]["skipped"].to_string();
    assert!(skipped.contains("its backend is udp"), "{skipped}");
    assert!(skipped.contains("10.5.64.0-24"), "it was there before: {skipped}");
    lab.on("h1", "doctor").exits(1);
}

#[test]
fn what_the_kernel_loses_comes_back_by_itself() {
    let lab = Lab::new();
    lab.hosts(2);
    lab.etcd();
    joined(&lab, "h1", CLUSTER);
    let (two, _) = joined(&lab, "h2", "");
    until_routed(&lab, "h1", &two, "vx-pods");
    let network = two.trim_end_matches("/24");
    let before = lab.snapshot_of("h1").without(|line| line.starts_with("record "));
    for damage in [
        format!("ip route del {two}"),
        format!("ip neigh del {network} dev vx-pods"),
        "bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self".to_owned(),
        "ip link set vx-pods down".to_owned(),
        "sh -c 'ip link set vx-pods down; ip link set vx-pods up'".to_owned(),
        "ip link del vx-pods".to_owned(),
        "ip addr flush dev vx-pods".to_owned(),
    ] {
        of(&lab, "h1", &damage);
        until_routed(&lab, "h1", &two, "vx-pods");
        lab.until(&format!("nsenter --net=/run/netns/h1 {NETCORD} repair --check"));
        let after = lab.snapshot_of("h1").without(|line| line.starts_with("record "));
        before.assert_same(&after, &damage);
    }
    // What an earlier life left behind goes.
    of(
        &lab,
        "h1",
        "ip neigh add 10.5.99.0 lladdr 02:76:c0:00:02:63 dev vx-pods nud permanent protocol 110",
    );
    of(&lab, "h1", "bridge fdb add 02:76:c0:00:02:63 dev vx-pods dst 192.0.2.99 self permanent");
    of(&lab, "h1", "ip route add 10.5.99.0/24 via 10.5.99.0 dev vx-pods onlink proto 110");
    of(&lab, "h1", "ip link set vx-pods down");
    until_routed(&lab, "h1", &two, "vx-pods");
    lab.until("! nsenter --net=/run/netns/h1 ip neigh show dev vx-pods | grep -q 10.5.99.0");
    let left = of(&lab, "h1", "sh -c 'ip route; bridge fdb show dev vx-pods'");
    assert!(!left.contains("10.5.99.0") && !left.contains("02:63"), "{left}");
}

#[test]
fn packets_pass_without_the_agent_and_the_next_command_starts_it() {
    let lab = Lab::new();
    lab.hosts(3).netns(&["web", "db", "app"]);
    lab.etcd();
    joined(&lab, "h1", CLUSTER);
    let (two, db) = joined(&lab, "h2", "");
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    until_routed(&lab, "h1", &two, "vx-pods");
    let former = agent(&lab, "h1");
    kill(&lab, &former);
    lab.reaches("web", &format!("ping {db}"), "");
    assert!(lab.on("h1", "peers pods").ok().contains("netcord-agent does not run"));
    let report = lab.on("h1", "doctor").exits(1);
    assert!(report.stdout.contains("$ netcord repair"), "{}", report.stdout);
    let drift = lab.on("h1", "repair --check").exits(1).stdout;
    assert!(drift.contains("(netcord-agent)"), "{drift}");
    lab.on("h1", "repair").ok();
    lab.on("h1", "doctor").ok();
    lab.on("h1", "repair --check").ok();
    kill(&lab, &agent(&lab, "h1"));
    let (three, _) = joined(&lab, "h3", "");
    lab.on("h1", "attach pods app").ok();
    until_routed(&lab, "h1", &three, "vx-pods");
    assert_ne!(agent(&lab, "h1"), former);
    assert_eq!(leases(&lab, "/netcord/pods").len(), 3, "it has the same subnet as before");
    lab.on("h1", "doctor").ok();
    // The store away: nothing changes, and it says so. Nobody is cut off.
    lab.sh("kill -STOP $(pidof etcd)").ok();
    lab.reaches("web", &format!("ping {db}"), "");
    lab.sh("kill -CONT $(pidof etcd)").ok();
    // Removed while the agent is dead: the subnet is given back all the same.
    let again = agent(&lab, "h3");
    kill(&lab, &again);
    lab.on("h3", "rm pods").ok();
    lab.until(&format!("! nsenter --net=/run/netns/h1 ip route | grep -q '^{three}'"));
    assert_eq!(leases(&lab, "/netcord/pods").len(), 2);
}

#[test]
fn bad_input_changes_nothing() {
    let lab = Lab::new();
    lab.hosts(2);
    lab.etcd();
    let before = lab.snapshot_of("h1");
    let refused = |words: &str, code: i32, why: &str| {
        let run = lab.on("h1", words).exits(code);
        assert!(run.stderr.contains(why), "{words}: {}", run.stderr);
    };
    refused(
        "overlay pods --store http://192.0.2.99:2379 --wait 1 --subnet 10.5.0.0/16",
        7,
        "192.0.2.99:2379",
    );
    refused(&join(""), 3, "no network under `/netcord/pods` yet");
    refused(&join("--subnet 10.5.0.0/16 --host-subnet-len 17"), 2, "17");
    refused(
        &join("--subnet 10.5.0.0/16 --host-subnet-len 24 --host-subnet-len 64"),
        2,
        "--host-subnet-len",
    );
    refused(&join("--subnet 10.5.0.0/16 --peer 10.5.2.0/24=192.0.2.2"), 2, "--peer");
    refused(&join("--subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24"), 2, "--host-subnet");
    refused(&join("--subnet 192.0.2.0/24"), 4, "192.0.2.0/24");
    refused("overlay pods --subnet 10.5.0.0/16", 2, "--host-subnet");
    refused("overlay pods --store 192.0.2.254 --subnet 10.5.0.0/16", 2, "192.0.2.254");
    lab.etcdctl("put /other/config 'not flannel'").ok();
    refused(&join("--prefix /other --subnet 10.5.0.0/16"), 4, "/other/config");
    lab.etcdctl(r#"put /ipip/config '{"Network":"10.5.0.0/16","Backend":{"Type":"ipip"}}'"#).ok();
    refused(&join("--prefix /ipip"), 4, "backend `ipip` is not supported");
    // This is noticed when the host has its subnet already.
    refused(&join("--subnet 10.5.0.0/16 --mtu 1451"), 2, "more than 1450");
    before.assert_same(&lab.snapshot_of("h1"), "after what was refused");
    lab.until(&format!("[ -z \"$({})\" ]", etcdctl("get --prefix --keys-only /netcord")));
    // The first host has decided; what another one says must agree.
    joined(&lab, "h2", CLUSTER);
    refused(
        &join("--subnet 10.6.0.0/16 --backend host-gw"),
        4,
        "subnet is 10.5.0.0/16, not 10.6.0.0/16; backend is vxlan, not host-gw",
    );
    // `/run` is shared by the hosts.
    let unchanged = |what: &str| {
        let others = |line: &str| line.starts_with("record ") || line.starts_with("in h2 ");
        let now = lab.snapshot_of("h1").without(others);
        before.without(others).assert_same(&now, what);
    };
    unchanged("after a conflict");
    // A dry run takes nothing of the store.
    let script = lab.on("h1", &format!("--dry-run {}", join(""))).ok();
    assert!(script.contains("dev vx-pods dst 192.0.2.2 self permanent"), "{script}");
    unchanged("after a dry run");
    assert_eq!(leases(&lab, "/netcord/pods").len(), 1);
}

#[test]
fn a_lost_record_is_made_of_the_marks_and_followed_again() {
    for flags in ["", "--prefix /coreos.com/network", "--subnet fd00:5::/48", "--backend host-gw"] {
        let lab = Lab::new();
        lab.hosts(3).netns(&["web"]);
        lab.etcd();
        let own = lab.on("h1", &join(&format!("{CLUSTER} {flags}"))).ok();
        let prefix = flags.strip_prefix("--prefix").map_or(String::new(), |_| flags.to_owned());
        let two = lab.on("h2", &join(&prefix)).ok();
        until_routed(&lab, "h1", two.lines().next().unwrap(), "");
        lab.on("h1", "attach pods web").ok();
        kill(&lab, &agent(&lab, "h1"));
        let before = lab.snapshot_of("h1").without(|line| line.starts_with("record "));
        let own_record =
            r#"grep -l '"parent":"eth0","host":"192.0.2.1"' /run/netcord/*/network-pods.json"#;
        lab.sh(&format!("rm $({own_record})")).ok();
        lab.on("h1", "doctor").exits(1);
        lab.on("h1", "attach pods web").ok();
        let again = lab.on("h1", &format!("--format json {}", join(&prefix))).ok();
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["changed"], false, "{flags}");
        let three = lab.on("h3", &join(&prefix)).ok();
        until_routed(&lab, "h1", three.lines().next().unwrap(), "");
        lab.on("h3", "rm pods").ok();
        let gone = three.lines().next().unwrap();
        lab.until(&format!("! nsenter --net=/run/netns/h1 ip route | grep -q '^{gone}'"));
        let after = lab.snapshot_of("h1").without(|line| line.starts_with("record "));
        before.assert_same(&after, flags);
        assert!(own.contains("10.5."), "{own}");
    }
}

#[test]
fn hosts_with_ipv6_only_join_by_it() {
    for flags in ["", "--subnet fd00:5::/48"] {
        let lab = Lab::new();
        lab.hosts(3).netns(&["web", "db", "app"]);
        lab.etcd();
        lab.sh("for host in h1 h2; do ip -4 -n $host addr flush dev eth0; done").ok();
        let join = |more: &str| format!("overlay pods --store {STORE_BY_IPV6} {more}");
        let first = join(&format!("{CLUSTER} {flags}"));
        // Only VXLAN carries IPv4 then, and flannel's hosts know each other by IPv4.
        lab.on("h1", &format!("{first} --backend host-gw")).fails(3, &["no IPv4", "vxlan"]);
        lab.on("h1", &format!("{first} --prefix /coreos.com/network"))
            .fails(3, &["no IPv4", "--prefix"]);
        lab.on("h1", &first).ok();
        let two = lab.on("h2", &join("")).ok();
        let values: Vec<_> = leases(&lab, "/netcord/pods").into_values().collect();
        let by_ipv6 = r#"{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::"#;
        assert!(values.len() == 2 && values.iter().all(|v| v.starts_with(by_ipv6)), "{values:?}");
        lab.on("h1", "attach pods web").ok();
        let addresses = lab.on("h2", "attach pods db").ok();
        until_routed(&lab, "h1", two.lines().next().unwrap(), "vx-pods");
        assert_eq!(addresses.lines().count(), 1 + usize::from(!flags.is_empty()));
        for address in addresses.lines() {
            lab.reaches("web", &format!("ping {address}"), "");
        }
        assert!(!lab.on("h1", &join("")).ok().is_empty(), "again");
        lab.on("h1", "doctor").ok();
        // A host that has both is reached by IPv4, if `--public-ip` does not say otherwise.
        lab.on("h3", &join("")).ok();
        let skipped = own_peer(&lab, "h3")["store"]["skipped"].to_string();
        assert!(skipped.contains("it is reached by IPv6, and this host by IPv4"), "{skipped}");
        lab.on("h3", "rm pods").ok();
        kill(&lab, &agent(&lab, "h1"));
        lab.on("h1", "none other").ok();
        let three = lab.on("h3", &join("--public-ip 2001:db8::3")).ok();
        until_routed(&lab, "h1", three.lines().next().unwrap(), "vx-pods");
        for address in lab.on("h3", "attach pods app").ok().lines() {
            lab.reaches("web", &format!("ping {address}"), "");
        }
        lab.on("h3", "doctor").ok();
        lab.on("h1", "detach pods web").ok();
        lab.on("h1", "rm pods").ok();
        assert_eq!(leases(&lab, "/netcord/pods").len(), 2, "it gave its subnet back");
    }
}

#[test]
fn the_configuration_of_a_joined_network_is_not_exchanged_under_it() {
    let lab = Lab::new();
    lab.hosts(1);
    lab.etcd();
    joined(&lab, "h1", CLUSTER);
    let before = leases(&lab, "/netcord/pods");
    let other = r#"'{"Network":"10.7.0.0/16","Backend":{"Type":"vxlan"}}'"#;
    lab.etcdctl(&format!("put /netcord/pods/config {other}")).ok();
    let problems = || own_peer(&lab, "h1")["store"]["problems"].to_string();
    let says = format!(
        "nsenter --net=/run/netns/h1 {NETCORD} --format json peers pods | grep -q 'was changed'"
    );
    lab.until(&says);
    // Nor by an agent that begins anew.
    kill(&lab, &agent(&lab, "h1"));
    lab.on("h1", "none web").ok();
    lab.until(&says);
    assert!(problems().contains("join again"), "{}", problems());
    assert_eq!(leases(&lab, "/netcord/pods"), before);
}

/// Doctor finds one thing on a host, and that is this.
#[track_caller]
fn finds(lab: &Lab, host: &str, what: &str) {
    let doctor = format!("nsenter --net=/run/netns/{host} {NETCORD} doctor");
    lab.until(&format!("{doctor} | grep -q '{what}'"));
    let found = lab.on(host, "doctor").exits(1).stdout;
    let is_finding = |line: &&str| line.starts_with("error: ") || line.starts_with("warning: ");
    assert_eq!(found.lines().filter(is_finding).count(), 1, "{what}: {found}");
}

#[test]
fn doctor_names_what_is_wrong_with_the_store() {
    let lab = Lab::new();
    lab.hosts(2);
    lab.etcd();
    // Three subnets for two hosts.
    let bounds = "--subnet 10.5.0.0/16 --subnet-min 10.5.1.0 --subnet-max 10.5.3.0";
    let (own, _) = joined(&lab, "h1", bounds);
    let (two, _) = joined(&lab, "h2", "");
    until_routed(&lab, "h1", &two, "vx-pods");
    until_routed(&lab, "h2", &own, "vx-pods");
    let third = (1..=3).map(|n| format!("10.5.{n}.0/24")).find(|net| *net != own && *net != two);
    let third = third.unwrap().replace('/', "-");
    let is_silent = || {
        lab.until(&format!("nsenter --net=/run/netns/h1 {NETCORD} doctor"));
    };
    is_silent();
    let lease = |host: &str, backend: &str| {
        format!(
            r#"'{{"PublicIP":"{host}","PublicIPv6":null,"BackendType":"{backend}","BackendData":{{"VNI":1,"VtepMAC":"02:76:c0:00:02:09"}}}}'"#
        )
    };
    let key = "/netcord/pods/subnets/10.5.0.0-24";
    for (value, what) in [
        (lease("192.0.2.1", "vxlan"), "it has an address of this host"),
        (lease("192.0.2.9", "host-gw"), "its backend is host-gw, and the network.s vxlan"),
        (lease("192.0.2.9", "vxlan").replace(r#""VNI":1"#, r#""VNI":2"#), "its VNI is 2"),
        ("nonsense".to_owned(), "skipped in the store: key .*10.5.0.0-24"),
    ] {
        lab.etcdctl(&format!("put {key} {value}")).ok();
        finds(&lab, "h1", what);
        lab.etcdctl(&format!("del {key}")).ok();
        is_silent();
    }
    for (breaks, mends, what) in [
        ("iptables -P FORWARD DROP", "iptables -P FORWARD ACCEPT", "forward-drop"),
        ("ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500", "mtu-mismatch"),
    ] {
        of(&lab, "h1", breaks);
        finds(&lab, "h1", what);
        of(&lab, "h1", mends);
        is_silent();
    }
    let value = lease("192.0.2.9", "vxlan");
    lab.etcdctl(&format!("put /netcord/pods/subnets/{third} {value}")).ok();
    finds(&lab, "h1", "no free subnet /24: all 3 are used, .*: no other host can join");
    lab.etcdctl(&format!("del /netcord/pods/subnets/{third}")).ok();
    is_silent();
    let own = own.replace('/', "-");
    lab.etcdctl(&format!("put /netcord/pods/subnets/{own} {value}")).ok();
    finds(&lab, "h1", "this host.s subnet is used by 192.0.2.9 now");
    lab.sh("ip netns add web").ok();
    let lost = ["has no addresses for this host: this host's subnet is used by 192.0.2.9 now"];
    lab.on("h1", "attach pods web").fails(4, &lost);
    lab.on("h2", "attach pods web").ok();
    assert_eq!((cni_status(&lab, "h1"), cni_status(&lab, "h2")), (50, 0));
    lab.sh("kill -9 $(pidof etcd)").ok();
    finds(&lab, "h2", "the store: etcd does not answer at");
    assert_eq!(cni_status(&lab, "h2"), 51);
}

/// The code of the CNI operation STATUS on a host; 0 if it succeeds.
#[track_caller]
fn cni_status(lab: &Lab, host: &str) -> u64 {
    let config = r#"{"cniVersion":"1.1.0","name":"pods","type":"netcord","network":"pods"}"#;
    let status = lab.sh(&format!(
        "echo '{config}' | CNI_COMMAND=STATUS nsenter --net=/run/netns/{host} {NETCORD} || true"
    ));
    let printed = status.ok();
    if printed.is_empty() {
        return 0;
    }
    let failure: Value = serde_json::from_str(&printed).unwrap();
    failure["code"].as_u64().unwrap()
}

#[test]
fn systemd_can_start_the_agent() {
    let agent = Path::new(NETCORD).with_file_name("netcord-agent");
    units::verify("netcord-agent.service", &agent);
    // It reports that it is ready, and there is one for each host.
    let lab = Lab::new();
    let start = format!("exec {} --foreground", agent.display());
    drop(units::start(&lab, &start));
    lab.sh(&start).fails(4, &["this host has a netcord-agent already"]);
}

/// The key and the value of a host that is not there, in the words of etcdctl.
fn lease_of(number: u16) -> String {
    format!(
        r#"/netcord/pods/subnets/10.5.{number}.0-24 "{{\"PublicIP\":\"192.1.0.{number}\",\"PublicIPv6\":null,\"BackendType\":\"vxlan\",\"BackendData\":{{\"VNI\":1,\"VtepMAC\":\"82:65:fc:00:00:{number:02x}\"}}}}""#
    )
}

#[test]
fn the_change_of_one_host_costs_the_same_however_many_there_are() {
    let [few, many] = [3, 200].map(|count| {
        let lab = Lab::new();
        lab.hosts(1);
        lab.etcd();
        lab.etcdctl(
            r#"put /netcord/pods/config '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'"#,
        )
        .ok();
        let all: Vec<_> = (1..=count).map(|n| format!("put {}", lease_of(n))).collect();
        for part in all.chunks(100) {
            fs::write(lab.path("/run/txn"), format!("\n{}\n\n\n", part.join("\n"))).unwrap();
            lab.etcdctl("txn </run/txn").ok();
        }
        let requests = || -> u64 {
            let metrics = lab.sh(&format!(
                "nsenter --net=/run/netns/world busybox wget -qO- {STORE}/metrics |
                 grep ^grpc_server_started_total"
            ));
            let metrics = metrics.ok();
            metrics
                .lines()
                .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
                .sum()
        };
        let before = requests();
        lab.on("h1", &join("")).ok();
        let pid = agent(&lab, "h1");
        let mut strace = lab.start(&format!(
            "exec strace -qq -f -y -e trace=sendto,sendmsg,sendmmsg -o /run/trace -p {pid}"
        ));
        lab.until(&format!("grep -q 'TracerPid:.[1-9]' /proc/{pid}/status"));
        lab.etcdctl(&format!("put {}", lease_of(250))).ok();
        until_routed(&lab, "h1", "10.5.250.0/24", "vx-pods");
        let requests = requests() - before;
        strace.kill().unwrap();
        strace.wait().unwrap();
        let trace = fs::read_to_string(lab.path("/run/trace")).unwrap();
        let sends = trace.lines().filter(|line| line.contains("NETLINK")).count();
        assert!((1..=8).contains(&sends), "{trace}");
        (requests, sends)
    });
    assert_eq!(few, many, "requests to etcd, and sends to the kernel");
}
#[test]
fn a_clock_that_is_set_loses_no_subnet() {
    let lab = Lab::new();
    lab.hosts(2);
    lab.etcd();
    joined(&lab, "h2", CLUSTER);
    lab.set_wall_clock(0);
    let on = |words: &str| {
        lab.sh(&format!("{BY_WALL_CLOCK} nsenter --net=/run/netns/h1 {NETCORD} {words}")).ok()
    };
    let subnet = on(&join("--ttl 6"));
    let key = format!("/netcord/pods/subnets/{}", subnet.replace('/', "-"));
    let created = || {
        let answer = lab.etcdctl(&format!("get -w json {key}")).ok();
        serde_json::from_str::<Value>(&answer).unwrap()["kvs"][0]["create_revision"].clone()
    };
    let before = created();
    let renewed =
        "nsenter --net=/run/netns/world busybox wget -qO- http://192.0.2.254:2379/metrics |
         sed -n 's/^etcd_debugging_lease_renewed_total //p'";
    for ahead in [3600, -86_400] {
        lab.set_wall_clock(ahead);
        let first = agent(&lab, "h1");
        lab.reads_wall_clock(&first);
        let count: u64 = lab.sh(renewed).ok().parse().unwrap();
        // The other host renews its lease every eight hours.
        lab.until(&format!("[ $({renewed}) -ge {} ]", count + 2));
        let lease = own_peer(&lab, "h1")["store"]["lease"].as_u64();
        assert!(lease.is_some_and(|lease| lease <= 6), "{lease:?}");
        // One that is started now goes on where that one was.
        kill(&lab, &first);
        on("none web");
        lab.until(&format!("[ $({renewed}) -ge {} ]", count + 4));
        assert_eq!(created(), before, "{ahead}: its key was never lost");
        until_routed(&lab, "h2", &subnet, "vx-pods");
    }
    assert_eq!(leases(&lab, "/netcord/pods").len(), 2);
    lab.on("h1", "doctor").ok();
}
