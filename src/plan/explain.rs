//! Changes as the shell commands that a person would type.
//!
//! A test runs them to show that they do the same as netcord (`same_as_shell`).

use std::{fmt::Write, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{
    CarrierVeth, Change, Flows, LINK_GROUP, LinkId, Macvlan, MacvlanId, Place, PortFlag, Resource,
    Rule, SPOOF_FILTER, Scope, Step, SysctlKey, Tunnel, Veth,
};
use crate::model::{LinkName, Mac, NamedNetns, Route, RouteKind, Source, Vlan, steers};

/// Returns the command that does the same as a step, or `None` if the step only changes netcord's
/// records.
pub fn command(step: &Step) -> Option<String> {
    let (create, resource) = match &step.change {
        Change::Create(resource) => (true, resource),
        Change::Delete(resource) => (false, resource),
        Change::DeleteLink(link) => return Some(delete(link)),
    };
    Some(match resource {
        Resource::Record(_) => return None,
        Resource::Name(named) => name(named, create),
        Resource::Bridge { name, mac, mtu } => bridge(name, *mac, *mtu),
        Resource::Mtu { link, mtu } => format!("ip link set dev {link} mtu {mtu}"),
        Resource::LinkAttrs(shape) => format!("{} {}", ip(&shape.netns), shape.command()),
        Resource::Veth(pair) => veth(pair),
        Resource::CarrierVeth(CarrierVeth { bridge, port, loose }) if create => format!(
            "ip link add {port} master {bridge} group {LINK_GROUP} type veth peer name {loose}"
        ),
        Resource::CarrierVeth(CarrierVeth { port, .. }) => format!("ip link del {port}"),
        Resource::WaitReady { link } => format!(
            "until [ \"$(cat /sys/class/net/{link}/operstate)\" != down ] && \
             [ -z \"$(ip -6 addr show dev {link} tentative)\" ]; do sleep 0.01; done"
        ),
        Resource::Moved(moved) => moved.command(create),
        Resource::Macvlan(link) => macvlan(link),
        Resource::Vlan { name, vlan: Vlan { trunk, id } } => {
            format!("ip link add link {trunk} name {name} group {LINK_GROUP} type vlan id {id}")
        }
        Resource::Vxlan(made) => tunnel(made),
        Resource::Tun { name } => format!(
            "ip tuntap add dev {name} mode tun && ip link set dev {name} group {LINK_GROUP}"
        ),
        Resource::Alias { netns, link, alias } => {
            let alias = if create { quote(alias) } else { "''".into() };
            format!("{} link set dev {link} alias {alias}", ip(netns))
        }
        Resource::Port { link, flag } => port(link, *flag, create),
        Resource::Clsact { link } => {
            format!("tc qdisc {} dev {link} clsact", if create { "add" } else { "del" })
        }
        Resource::TcFilter { link, guard } => {
            let at = format!(
                "dev {link} ingress protocol all pref {SPOOF_FILTER} handle {SPOOF_FILTER} bpf"
            );
            if create {
                format!("tc filter add {at} direct-action bytecode '{}'", guard.bytecode())
            } else {
                format!("tc filter del {at}")
            }
        }
        Resource::Address { netns, link, address } => self::address(netns, link, address, create),
        Resource::Up { netns, link } => {
            format!("{} link set dev {link} {}", ip(netns), if create { "up" } else { "down" })
        }
        Resource::Announcement { .. } if !create => return None,
        // A port begins to forward a moment after its veth has carrier.
        Resource::Announcement { netns, link, mac, .. } => {
            format!("sleep 0.1; {} link set dev {link} address {mac}", ip(netns))
        }
        Resource::Route { netns, route } => self::route(netns, route, create),
        Resource::Neighbour { netns, link, address, mac } => {
            neighbour(netns, link, *address, *mac, create)
        }
        Resource::FdbEntry { link, mac, host, on_bridge } => {
            fdb_entry(link, *mac, *host, *on_bridge, create)
        }
        Resource::Replica { link, host } => replica(link, *host, create),
        Resource::Sysctl { netns, key, value, reset } => {
            sysctl(netns, key, if create { value } else { reset.unwrap_or(value) })
        }
        Resource::FormerSysctl { netns, key, value } => sysctl(netns, key, value),
        Resource::Chain(chain) => {
            let tables = format!("{} -w -t {}", chain.family.program(), chain.table.name());
            let name = chain.name;
            if create {
                format!("{tables} -S {name} >/dev/null 2>&1 || {tables} -N {name}")
            } else {
                format!("{tables} -F {name} && {tables} -X {name}")
            }
        }
        Resource::Rule(rule) => match (create, step.scope) {
            (true, Scope::Own) => iptables(rule, &rule.addition()),
            (true, _) => {
                let check = iptables(rule, &format!("-C {}", rule.chain));
                format!("{check} 2>/dev/null || {}", iptables(rule, &rule.addition()))
            }
            (false, _) => iptables(rule, &format!("-D {}", rule.chain)),
        },
        Resource::Nft(nft) => nft.command(create),
        Resource::Zone { link } => {
            let verb = if create { "add" } else { "remove" };
            format!("firewall-cmd --zone=trusted --{verb}-interface={link}")
        }
        Resource::Flows(flows) => self::flows(flows),
    })
}

fn delete(link: &LinkId) -> String {
    match link {
        LinkId::Bridge(name)
        | LinkId::Vlan(name)
        | LinkId::Vxlan(name)
        | LinkId::Tun(name)
        | LinkId::Veth(name)
        | LinkId::Unrecorded(name) => format!("ip link del {name}"),
        LinkId::Macvlan(MacvlanId { netns, name, .. }) => {
            format!("{} link del {name}", ip(netns))
        }
    }
}

fn flows(flows: &Flows) -> String {
    let family = if flows.host_ip.is_ipv4() { "ipv4" } else { "ipv6" };
    let address = match flows.host_ip {
        ip if ip.is_unspecified() => String::new(),
        ip => format!(" --orig-dst {ip}"),
    };
    let one = |port: &str| {
        format!(
            "conntrack -D -f {family} -p {}{address} --orig-port-dst {port} 2>/dev/null || true",
            flows.protocol
        )
    };
    let ports = flows.ports;
    if ports.count() == 1 {
        one(&ports.first.to_string())
    } else {
        format!("for port in $(seq {} {}); do {}; done", ports.first, ports.last, one("\"$port\""))
    }
}

fn name(named: &NamedNetns, create: bool) -> String {
    match (&named.source, create) {
        (Source::Made, true) => format!("ip netns add {}", named.name),
        (Source::Made, false) => format!("ip netns del {}", named.name),
        (Source::Link(file), true) => {
            let file = quote(&file.to_string_lossy());
            format!("mkdir -p /run/netns && ln -s {file} /run/netns/{}", named.name)
        }
        (Source::Link(_), false) => format!("rm /run/netns/{}", named.name),
    }
}

fn bridge(name: &LinkName, mac: Mac, mtu: u32) -> String {
    format!(
        "ip link add {name} address {mac} mtu {mtu} group {LINK_GROUP} type bridge stp_state 0 \
         forward_delay 0"
    )
}

fn veth(pair: &Veth) -> String {
    let Veth { host, host_mac, bridge, netns, peer, mac, mtu, up } = pair;
    let up = if *up { " up" } else { "" };
    let place = born_in(netns);
    format!(
        "ip link add {host} address {host_mac} mtu {mtu} master {bridge} group {LINK_GROUP}{up} \
         type veth peer name {peer} address {mac} mtu {mtu}{place}"
    )
}

fn macvlan(link: &Macvlan) -> String {
    let Macvlan { netns, name, parent, mac, mtu, mode, .. } = link;
    let place = born_in(netns);
    format!(
        "ip link add link {parent} name {name} address {mac} mtu {mtu} group {LINK_GROUP}{place} \
         type macvlan mode {}",
        mode.as_str()
    )
}

fn tunnel(made: &Tunnel) -> String {
    let Tunnel { name, parent, host, vni, port, mac, mtu, bridge } = made;
    let master = bridge.as_ref().map(|bridge| format!(" master {bridge}")).unwrap_or_default();
    let proxy = if bridge.is_some() { " proxy" } else { "" };
    format!(
        "ip link add {name}{master} address {mac} mtu {mtu} group {LINK_GROUP} type vxlan id {vni} \
         local {host} dev {parent} dstport {port} nolearning{proxy}"
    )
}

/// Returns where `ip link add` puts a link.
fn born_in(netns: &Place) -> String {
    netns.as_ref().map(|name| format!(" netns {name}")).unwrap_or_default()
}

fn address(netns: &Place, link: &LinkName, address: &IpNetwork, create: bool) -> String {
    let verb = match create {
        // An address that several steps add may exist already.
        true if address.ip().is_loopback() => "replace",
        true => "add",
        false => "del",
    };
    let options = match address {
        _ if !create => "",
        address if address.ip().is_loopback() => " scope host",
        IpNetwork::V4(v4) if v4.prefix() < 31 => " brd +",
        IpNetwork::V4(_) => "",
        IpNetwork::V6(_) => " nodad",
    };
    format!("{} addr {verb} {address}{options} dev {link}", ip(netns))
}

fn route(netns: &Place, route: &Route, create: bool) -> String {
    let verb = if create { "add" } else { "del" };
    let mut text = ip(netns);
    if route.destination.is_ipv6() {
        text.push_str(" -6");
    }
    let destination = match route.destination.prefix() {
        0 => "default".to_owned(),
        _ => route.destination.to_string(),
    };
    // Writing to a String cannot fail.
    let _ = write!(text, " route {verb} ");
    if route.kind != RouteKind::Unicast {
        let _ = write!(text, "{} ", route.kind);
    }
    let _ = write!(text, "{destination}");
    if let Some(gateway) = route.gateway {
        let _ = write!(text, " via {gateway}");
    }
    if let Some(link) = route.out_link() {
        let _ = write!(text, " dev {link}");
    }
    if route.onlink {
        text.push_str(" onlink");
    }
    if let Some(source) = route.source {
        let _ = write!(text, " src {source}");
    }
    if route.metric != 0 {
        let _ = write!(text, " metric {}", route.metric);
    }
    let _ = write!(text, " proto {}", route.protocol);
    text
}

fn neighbour(netns: &Place, link: &LinkName, address: IpAddr, mac: Mac, create: bool) -> String {
    let ip = ip(netns);
    if create {
        let protocol = Route::PROTOCOL;
        format!(
            "{ip} neigh replace {address} lladdr {mac} dev {link} nud permanent protocol {protocol}"
        )
    } else {
        format!("{ip} neigh del {address} dev {link}")
    }
}

fn port(link: &LinkName, flag: PortFlag, create: bool) -> String {
    let (option, on, off) = match flag {
        PortFlag::Isolated => ("isolated", "on", "off"),
        PortFlag::Hairpin => ("hairpin", "on", "off"),
        PortFlag::NoLearning => ("learning", "off", "on"),
        PortFlag::NoFlood => ("flood", "off", "on"),
        PortFlag::MulticastRouter => ("mcast_router", "2", "1"),
    };
    let value = if create { on } else { off };
    format!("ip link set dev {link} type bridge_slave {option} {value}")
}

fn replica(link: &LinkName, host: IpAddr, create: bool) -> String {
    let (verb, kind) = if create { ("append", " permanent") } else { ("del", "") };
    format!("bridge fdb {verb} {} dev {link} dst {host} self{kind}", Mac::ZERO)
}

fn fdb_entry(link: &LinkName, mac: Mac, host: IpAddr, on_bridge: bool, create: bool) -> String {
    let (tables, lasting) =
        if on_bridge { ("self master", " static") } else { ("self", " permanent") };
    let (verb, kind) = if create { ("replace", lasting) } else { ("del", "") };
    format!("bridge fdb {verb} {mac} dev {link} dst {host} {tables}{kind}")
}

fn sysctl(netns: &Place, key: &SysctlKey, value: &str) -> String {
    let setting = quote(&format!("{key}={value}"));
    match netns {
        Some(name) => format!("ip netns exec {name} sysctl -qw {setting}"),
        None => format!("sysctl -qw {setting}"),
    }
}

fn ip(netns: &Place) -> String {
    netns.as_ref().map_or_else(|| "ip".to_owned(), |name| format!("ip -n {name}"))
}

fn iptables(rule: &Rule, operation: &str) -> String {
    let mut text = format!("{} -w -t {} {operation}", rule.family.program(), rule.table.name());
    for word in rule.arguments() {
        text.push(' ');
        text.push_str(&quote(&word));
    }
    text
}

impl Rule {
    /// The option that adds the rule, with its chain and position.
    pub fn addition(&self) -> String {
        match self.before {
            Some(number) => format!("-I {} {number}", self.chain),
            None => format!("-A {}", self.chain),
        }
    }

    /// The arguments after the chain's name, for `iptables` and `iptables-restore`.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        let comment = ["-m", "comment", "--comment", &self.comment, "-j"].map(str::to_owned);
        self.matches.iter().cloned().chain(comment).chain(self.jump.iter().cloned())
    }
}

/// Quotes a word for a shell, where needed. Control characters are written in octal by `printf`,
/// since `sh` has no `$'...'`.
pub fn quote(word: &str) -> String {
    if word.contains(steers) {
        return format!("\"$(printf -- '{}')\"", word.chars().map(printf).collect::<String>());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if word == "!" || (!word.is_empty() && word.chars().all(plain)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Returns a character as an escape of `printf`.
fn printf(c: char) -> String {
    match c {
        '%' => "%%".to_owned(),
        '\'' | '\\' => format!("\\{:03o}", u32::from(c)),
        c if steers(c) => {
            c.to_string().bytes().fold(String::new(), |octal, b| octal + &format!("\\{b:03o}"))
        }
        c => c.to_string(),
    }
}
