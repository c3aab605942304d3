//! Finds what drops forwarded packets: forwarding that is off, and other firewalls.

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::snapshot::{FAMILIES, Segment, Snapshot};
use crate::{
    kernel::{Dropping, Link},
    model::{
        Family, Finding, Flag,
        ruleset::{Kind, Listing, Passing},
    },
    ops::driver,
};

/// Checks the kernel's sysctls: one for all links, and one for each.
pub(super) fn forwarding(snapshot: &Snapshot<'_>) -> Result<Vec<Finding>> {
    let mut found = of_all_links(snapshot)?;
    for segment in snapshot.segments.iter().filter(|s| s.is_routed() && s.bridge.is_some()) {
        for family in segment.families() {
            if snapshot.kernel.sysctl(all_links(family))?.as_deref() != Some("0") {
                found.extend(of_each_link(snapshot, segment, family)?);
            }
        }
    }
    Ok(found)
}

pub(super) fn all_links(family: Family) -> &'static str {
    match family {
        Family::V4 => "net/ipv4/ip_forward",
        Family::V6 => "net/ipv6/conf/all/forwarding",
    }
}

/// IPv4 packets are forwarded if forwarding is on for their incoming link. For IPv6, a link's
/// sysctl only makes the host a router for the neighbours on that link.
fn of_each_link(
    snapshot: &Snapshot<'_>,
    segment: &Segment,
    family: Family,
) -> Result<Vec<Finding>> {
    let name = segment.name();
    let is_off = |link: &str| -> Result<Option<String>> {
        let version = family.sysctl_name();
        let key = format!("net/{version}/conf/{link}/forwarding");
        let value = snapshot.kernel.sysctl(&key)?;
        // For a link with a dot in its name, `sysctl` accepts the path only.
        let shown = if link.contains('.') { key } else { key.replace('/', ".") };
        Ok((value.as_deref() == Some("0")).then_some(shown))
    };
    let mut found = Vec::new();
    if let Some(key) = is_off(name)? {
        let finding = match family {
            Family::V4 => {
                let what =
                    "the host does not forward IPv4 packets from it: it reaches nothing outside";
                Finding::error(name, what)
            }
            Family::V6 => {
                let what = "the host sends its endpoints no IPv6 router advertisements";
                Finding::warning(name, what)
            }
        };
        found.push(finding.shown_by(format!("{key} = 0")).mended_by(again_or(segment, &key)));
    }
    let route = snapshot.host.default_route(Family::V4).filter(|_| family == Family::V4);
    let is_uplink = |link: &&Link| route.is_some_and(|route| link.carries(route));
    if let Some(uplink) = snapshot.host.links.iter().find(is_uplink)
        && let Some(key) = is_off(&uplink.name)?
    {
        let what = format!(
            "the host does not forward IPv4 packets that come in by `{}`: no reply from outside reaches `{name}`",
            uplink.name
        );
        let finding = Finding::error("host", what).shown_by(format!("{key} = 0"));
        found.push(finding.mended_by(again_or(segment, &key)));
    }
    Ok(found)
}

/// Returns the command that turns a sysctl on.
fn again_or(segment: &Segment, key: &str) -> String {
    if segment.is_filtered() {
        driver::again(segment.network())
    } else {
        format!("sysctl -w {key}=1")
    }
}

fn of_all_links(snapshot: &Snapshot<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for family in FAMILIES {
        let (key, words) = match family {
            Family::V4 => ("net.ipv4.ip_forward", "IPv4"),
            Family::V6 => ("net.ipv6.conf.all.forwarding", "IPv6"),
        };
        let needs = |s: &&Segment| s.is_routed() && s.families().contains(&family);
        let names: Vec<_> = snapshot.segments.iter().filter(needs).map(Segment::name).collect();
        if names.is_empty()
            || snapshot.kernel.sysctl(&key.replace('.', "/"))?.as_deref() != Some("0")
        {
            continue;
        }
        let what = format!(
            "the host does not forward {words} packets between its links: {} reaches nothing outside",
            names.join(", ")
        );
        found.push(
            Finding::error("host", what)
                .shown_by(format!("{key} = 0"))
                .mended_by(format!("sysctl -w {key}=1")),
        );
    }
    Ok(found)
}

/// Finds chains of other programs that drop packets from a network's endpoints, or the replies.
pub(super) fn drops(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for segment in snapshot.segments.iter().filter(|s| s.is_routed() && s.bridge.is_some()) {
        for subnet in &segment.network().subnets {
            let family = Family::of(subnet.cidr.network());
            let name = segment.name();
            let out = Passing {
                incoming: Some(name),
                kind: Some(Kind::First),
                source: Some(subnet.cidr),
                ..Passing::default()
            };
            let back = Passing {
                outgoing: Some(name),
                kind: Some(Kind::Answer),
                destination: Some(subnet.cidr),
                ..Passing::default()
            };
            let wall = Wall::of(snapshot, family, &[out, back]);
            found.extend(wall.map(|wall| {
                let what = format!("{} drops packets from `{name}` to other links", wall.owner);
                let command = if segment.is_filtered() {
                    driver::again(segment.network())
                } else {
                    wall.accept_all(name)
                };
                Finding::error(name, what).shown_by(wall.rule).mended_by(command)
            }));
            for chain in snapshot.rules.dropping.iter().filter(|c| c.meets(family)) {
                if !chain.is_of_bridges() && !names(snapshot, chain, name) {
                    let what =
                        format!("{} drops packets from `{name}` to other links", owner(chain));
                    found.push(of_nftables(chain, segment, what));
                }
            }
        }
    }
    found
}

/// Finds rules that drop frames that are only bridged (`br_netfilter`).
pub(super) fn bridged(snapshot: &Snapshot<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for segment in &snapshot.segments {
        // For a network that is routed too, these chains also drop routed packets, which is another
        // finding.
        if segment.bridge.is_none() || segment.is_routed() || segment.network().has(Flag::Isolate) {
            continue;
        }
        let name = segment.name();
        for family in FAMILIES {
            let switch = match family {
                Family::V4 => "net.bridge.bridge-nf-call-iptables",
                Family::V6 => "net.bridge.bridge-nf-call-ip6tables",
            };
            let value = snapshot.kernel.sysctl(&switch.replace('.', "/"))?;
            if value.is_none_or(|value| value == "0") {
                continue;
            }
            let subnet = |s: &&IpNetwork| Family::of(s.network()) == family;
            let subnets: Vec<_> = segment.network().subnets.iter().map(|s| s.cidr).collect();
            let subnet = subnets.iter().find(subnet).copied();
            if subnet.is_none() && !segment.network().is_shared() {
                continue;
            }
            let across = Passing {
                incoming: Some(name),
                outgoing: Some(name),
                kind: Some(Kind::First),
                source: subnet,
                destination: subnet,
            };
            let what = |owner: &str| {
                format!(
                    "{owner} drops frames that are only bridged by `{name}`: its endpoints do not reach each other"
                )
            };
            if let Some(wall) = Wall::of(snapshot, family, &[across]) {
                let command = if segment.is_filtered() {
                    driver::again(segment.network())
                } else {
                    wall.accept(&format!("-i {name} -o {name}"))
                };
                found.push(
                    Finding::error(name, what(wall.owner))
                        .shown_by(format!("{switch} = 1"))
                        .shown_by(wall.rule)
                        .mended_by(command),
                );
            }
            for chain in snapshot.rules.dropping.iter().filter(|c| c.meets(family)) {
                if !chain.is_of_bridges() && !names(snapshot, chain, name) {
                    found.push(
                        of_nftables(chain, segment, what(&owner(chain)))
                            .shown_by(format!("{switch} = 1")),
                    );
                }
            }
        }
    }
    for segment in
        snapshot.segments.iter().filter(|s| s.bridge.is_some() && !s.network().has(Flag::Isolate))
    {
        let name = segment.name();
        for chain in snapshot.rules.dropping.iter().filter(|c| c.is_of_bridges()) {
            if !names(snapshot, chain, name) {
                let what =
                    format!("{} drops frames that are only bridged by `{name}`", owner(chain));
                let path = format!("{} {} {}", chain.family, chain.table, chain.chain);
                found.push(
                    Finding::error(name, what)
                        .shown_by(format!("chain {path} {{ policy drop; }}"))
                        .mended_by(format!("nft insert rule {path} meta ibrname {name} accept")),
                );
            }
        }
    }
    Ok(found)
}

/// A rule of iptables that blocks packets.
struct Wall {
    owner: &'static str,
    /// The rule or policy.
    rule: String,
    program: &'static str,
    /// The chain for rules of the administrator.
    chain: &'static str,
    is_ufw: bool,
}

impl Wall {
    /// Returns the first rule that drops all packets of one of these kinds.
    fn of(snapshot: &Snapshot<'_>, family: Family, packets: &[Passing<'_>]) -> Option<Self> {
        let rules = Listing::parse(family, snapshot.rules.filter.get(&family)?);
        let rule = packets.iter().find_map(|packet| rules.dropped_by(packet))?;
        let program = family.program();
        let has_docker = rules.has_chain("DOCKER-USER");
        let is_ufw = rule.contains("ufw") || (!has_docker && rules.has_chain("ufw"));
        let owner = match (is_ufw, has_docker) {
            (true, _) => "ufw",
            (false, true) => "docker's firewall",
            (false, false) => "another program's firewall",
        };
        let chain = if has_docker { "DOCKER-USER" } else { "FORWARD" };
        Some(Self { owner, rule: rule.to_owned(), program, chain, is_ufw })
    }

    fn accept(&self, matches: &str) -> String {
        format!("{} -I {} {matches} -j ACCEPT", self.program, self.chain)
    }

    fn accept_all(&self, name: &str) -> String {
        if self.is_ufw {
            return format!("ufw route allow in on {name} && ufw route allow out on {name}");
        }
        let back = format!("-o {name} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT");
        format!("{} && {}", self.accept(&format!("-i {name}")), self.accept(&back))
    }
}

/// Returns whether the owner of a chain has decided about a link. What becomes of its packets is
/// not evaluated here: a program that drops those of a link that it knows was told to.
fn names(snapshot: &Snapshot<'_>, chain: &Dropping, link: &str) -> bool {
    let rules = snapshot.rules.all.as_ref();
    rules.is_some_and(|rules| rules.names(link, |table| chain.is_in(table)))
}

fn owner(chain: &Dropping) -> String {
    if chain.is_firewalld {
        return "firewalld".to_owned();
    }
    format!("nftables' table `{} {}`", chain.family, chain.table)
}

fn of_nftables(chain: &Dropping, segment: &Segment, what: String) -> Finding {
    let name = segment.name();
    let path = format!("{} {} {}", chain.family, chain.table, chain.chain);
    if chain.is_firewalld {
        let command = if segment.is_filtered() {
            driver::again(segment.network())
        } else {
            format!("firewall-cmd --zone=trusted --change-interface={name}")
        };
        return Finding::error(name, what)
            .shown_by(format!("chain {path}: no zone has `{name}`"))
            .mended_by(command);
    }
    let insert = |matches: &str| format!("nft insert rule {path} {matches} accept");
    let command = [
        insert(&format!("iifname {name}")),
        insert(&format!("oifname {name} ct state established,related")),
        insert(&format!("oifname {name} ct status dnat")),
    ];
    Finding::error(name, what)
        .shown_by(format!("chain {path} {{ policy drop; }}, and no rule names `{name}`"))
        .mended_by(command.join(" && "))
}
