//! Checks published ports: rules that are missing, and other rules that match first.

use super::{
    remedy::port as typed,
    snapshot::{End, Snapshot},
};
use crate::{
    kernel::{Published, Socket, Translation, sockets::processes_of},
    model::{Endpoint, Family, Finding, Network, PortRange, PublishedPort, ruleset::words},
    ops::upkeep::reservation::is_reservation,
    plan::{self, quote},
};

/// Returns the published ports to check, with their endpoints.
fn all<'s>(
    snapshot: &'s Snapshot<'_>,
) -> impl Iterator<Item = (&'s End, &'s Network, &'s Endpoint, &'s PublishedPort)> {
    snapshot.examined().flat_map(|end| {
        let segment = snapshot.segment_of(end);
        let of = segment.zip(end.endpoint.as_ref());
        of.into_iter().flat_map(move |(segment, endpoint)| {
            endpoint.ports.iter().map(move |port| (end, segment.network(), endpoint, port))
        })
    })
}

/// Finds published ports without a rule.
pub(super) fn missing(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if !snapshot.rules.readable {
        return found;
    }
    for (end, network, endpoint, port) in all(snapshot) {
        let owner = plan::owner(&network.name, &endpoint.netns);
        let rules = snapshot.rules.published.get(&network.firewall);
        let is_it = |p: &&Published| p.owner == owner && p.port.is_as(port);
        let evidence = match rules.and_then(|rules| rules.iter().find(is_it)) {
            None => format!("not in {}: {port}", network.firewall),
            Some(Published { changed: Some(rule), .. }) => format!("changed: {rule}"),
            Some(Published { changed: None, .. }) => continue,
        };
        let what = format!("no rule translates port {} to it", port.host);
        let target = quote(endpoint.netns.as_str());
        found.push(
            Finding::error(snapshot.place(end), what)
                .shown_by(evidence)
                .mended_by(format!("netcord publish {target} {}", typed(port))),
        );
    }
    found
}

/// Finds published ports that another program's rule translates first.
pub(super) fn shadowed(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (end, _, endpoint, port) in all(snapshot) {
        let family = Family::of(port.host_ip);
        let listing = snapshot.rules.nat.get(&family).map_or("", |listing| &**listing);
        for rule in translations(listing).filter(|rule| takes(rule, port)) {
            let program = if family == Family::V4 { "iptables" } else { "ip6tables" };
            let command = if rule.starts_with("-A DOCKER ") {
                elsewhere(endpoint, port)
            } else {
                format!("{program} -t nat -D {}", rule.trim_start_matches("-A "))
            };
            found.push(taken(snapshot, end, port).shown_by(rule.to_owned()).mended_by(command));
        }
        let takes = |t: &&Translation| t.takes(family, port.protocol, port.host);
        for rule in snapshot.rules.translations.iter().filter(takes) {
            let Translation { family, table, chain, handle, .. } = rule;
            let path = format!("{family} {table} {chain} handle {handle}");
            let command = if table.starts_with("docker-") {
                elsewhere(endpoint, port)
            } else {
                format!("nft delete rule {path}")
            };
            found.push(
                taken(snapshot, end, port).shown_by(format!("rule {path}")).mended_by(command),
            );
        }
    }
    found
}

fn taken(snapshot: &Snapshot<'_>, end: &End, port: &PublishedPort) -> Finding {
    Finding::error(
        snapshot.place(end),
        format!("another program's rule translates port {} first", port.host),
    )
}

/// Publishes it on a free port. docker's rules cannot be removed: docker would restore them.
fn elsewhere(endpoint: &Endpoint, port: &PublishedPort) -> String {
    let target = quote(endpoint.netns.as_str());
    format!(
        "netcord unpublish {target} {} && netcord publish {target} {}/{}",
        typed(port),
        port.container,
        port.protocol
    )
}

/// Returns the rules of iptables, except ours, that translate the destination of incoming packets.
fn translations(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().filter(|line| {
        let words = words(line);
        let chain = words.get(1).copied().unwrap_or_default();
        let leads_elsewhere =
            words.windows(2).any(|w| w[0] == "-j" && matches!(w[1], "DNAT" | "REDIRECT"));
        words.first() == Some(&"-A")
            && !chain.starts_with("NETCORD-")
            && !matches!(chain, "OUTPUT" | "POSTROUTING")
            && leads_elsewhere
    })
}

/// Returns whether a rule matches a published port, too.
fn takes(rule: &str, port: &PublishedPort) -> bool {
    let words = words(rule);
    let value = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        // Negated matches are ignored.
        (at == 0 || words[at - 1] != "!").then(|| words.get(at + 1).copied())?
    };
    let is_for = |range: &str| {
        range.replace(':', "-").parse().is_ok_and(|range: PortRange| range.overlaps(port.host))
    };
    let ports = value("--dport").or_else(|| value("--dports"));
    let is_of_address = value("-d").is_none_or(|subnet| {
        subnet.parse().is_ok_and(|subnet: ipnetwork::IpNetwork| {
            port.host_ip.is_unspecified() || subnet.contains(port.host_ip)
        })
    });
    value("-p").is_some_and(|p| p == port.protocol.to_string())
        && ports.is_some_and(|ports| ports.split(',').any(is_for))
        && is_of_address
}

/// Finds programs of the host that listen on a published port.
pub(super) fn listened_to(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut met: Vec<(&End, &Endpoint, &PublishedPort, &Socket)> = Vec::new();
    for (end, _, endpoint, port) in all(snapshot) {
        let sockets = snapshot.sockets.listening(port.host_ip, port.host, port.protocol);
        met.extend(sockets.map(|socket| (end, endpoint, port, socket)));
    }
    let sockets: Vec<_> = met.iter().map(|(.., socket)| *socket).collect();
    let processes = processes_of(&sockets);
    let met = met.into_iter().zip(processes);
    let met = met.filter(|((_, endpoint, ..), process)| {
        !process.is_some_and(|process| is_reservation(endpoint, process))
    });
    let found = met.map(|((end, endpoint, port, socket), process)| {
        let who = process.map_or_else(|| "a program of the host".to_owned(), |p| p.to_string());
        let what = format!(
            "{who} also listens on port {}, but gets no connections: the published port comes first",
            socket.port
        );
        let target = quote(endpoint.netns.as_str());
        Finding::warning(snapshot.place(end), what)
            .shown_by(format!("listening: {}/{}", socket.local(), port.protocol))
            .mended_by(format!("netcord unpublish {target} {}", typed(port)))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_the_same_port_takes_it() {
        let port: PublishedPort = "192.0.2.1:8080-8081 -> 10.1.0.2:80-81/tcp".parse().unwrap();
        let end = "-j DNAT --to-destination 172.17.0.2:80";
        for (matches, expected) in [
            ("-p tcp -m tcp --dport 8080", true),
            ("-p tcp -m tcp --dport 8081", true),
            ("-p tcp -m tcp --dport 8000:9000", true),
            ("-p tcp -m multiport --dports 22,8080", true),
            ("-d 192.0.2.1/32 -p tcp -m tcp --dport 8080", true),
            ("-d 192.0.2.9/32 -p tcp -m tcp --dport 8080", false),
            ("-p udp -m udp --dport 8080", false),
            ("-p tcp -m tcp --dport 80", false),
            ("-p tcp -m tcp ! --dport 8080", false),
            ("-s 192.0.2.0/24", false),
        ] {
            let rule = format!("-A PREROUTING {matches} {end}");
            assert_eq!(takes(&rule, &port), expected, "{matches}");
        }
        let listing = format!(
            "-A PREROUTING -p tcp {end}\n-A NETCORD-DNAT -p tcp {end}\n-A DOCKER -j RETURN\n\
             -A OUTPUT -p tcp {end}"
        );
        assert_eq!(translations(&listing).count(), 1);
    }
}
