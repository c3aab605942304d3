//! Checks names that lead nowhere, dead endpoints, leases, and name resolution inside targets.

use std::fs;

use super::{
    namespace_view::Inside,
    snapshot::{End, Snapshot},
};
use crate::{
    agents,
    kernel::{NETNS_DIR, Netns, named},
    model::{Attachment, Finding, Flag, NamedNetns, NetnsName, Source},
    ops::{
        lookup::resolver,
        upkeep::containers::{Now, Stopped},
    },
    plan::quote,
    process,
};

/// Finds names in `/run/netns` that lead to no namespace, or to another one than before.
pub(super) fn dangling(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let Some(ours) = &snapshot.names else { return Vec::new() };
    let mut found = Vec::new();
    for name in snapshot.kernel.netns_names() {
        let own = ours.iter().find(|own| own.name == name);
        let what = match (Netns::of_name(&name), own) {
            (Ok(None), _) => "the name no longer leads to a namespace",
            (Ok(Some(there)), Some(own)) if there.cookie() != own.cookie => {
                "the name leads to another namespace now"
            }
            _ => continue,
        };
        found.push(
            Finding::warning(name.as_str(), what)
                .shown_by(shown(&name))
                .mended_by(tidied(&name, own)),
        );
    }
    found
}

fn shown(name: &NetnsName) -> String {
    let file = format!("{NETNS_DIR}/{name}");
    match fs::read_link(named(name)) {
        Ok(target) => format!("{file} -> {}", target.display()),
        Err(_) => format!("{file}: nothing is mounted on it"),
    }
}

fn tidied(name: &NetnsName, own: Option<&NamedNetns>) -> String {
    let file = quote(&format!("{NETNS_DIR}/{name}"));
    // `prune` keeps a name if endpoints of its namespace live.
    let living = own.filter(|own| matches!(own.source, Source::Link(_)));
    if let Some(pid) = living.and_then(|own| lives_in(own.cookie)) {
        return format!("ln -sfn /proc/{pid}/ns/net {file}");
    }
    match own {
        Some(_) => "netcord prune".to_owned(),
        None => format!("rm {file}"),
    }
}

/// Returns a process in a namespace.
fn lives_in(cookie: u64) -> Option<u32> {
    let is_in = |pid: &u32| Netns::of_process(*pid).is_ok_and(|netns| netns.cookie() == cookie);
    process::one_of_each_netns().into_iter().find(is_in)
}

/// Finds endpoints on record whose link is gone.
pub(super) fn dead(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for end in snapshot.examined().filter(|end| snapshot.segment_of(end).is_some()) {
        let Some(endpoint) = &end.endpoint else { continue };
        let (is_gone, link) = match &endpoint.attachment {
            Attachment::Macvlan => (is_gone_inside(snapshot, end), &endpoint.ifname),
            Attachment::Veth { host_ifname } => (end.outer.is_none(), host_ifname),
        };
        if is_gone {
            found.push(
                Finding::warning(
                    snapshot.place(end),
                    "its namespace is gone, and its link with it",
                )
                .shown_by(format!("Device \"{link}\" does not exist."))
                .mended_by("netcord prune"),
            );
        }
    }
    let is_gone = |stopped: &&Stopped| matches!(stopped.now, Now::Gone);
    found.extend(snapshot.stopped.iter().filter(is_gone).map(|stopped| {
        let what =
            "its engine no longer has the container: its address and its ports stay reserved";
        Finding::warning(stopped.place(), what).mended_by("netcord prune")
    }));
    found
}

/// Finds containers that were started again, and are not attached since.
pub(super) fn restarted(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let finding = |stopped: &Stopped| {
        let command = stopped.command()?;
        let what = "its container was started again, in a new namespace, and is not attached";
        let container = stopped.endpoint.container.as_ref()?;
        Some(
            Finding::error(stopped.place(), what)
                .shown_by(format!("{} runs `{}`", container.engine, container.name))
                .mended_by(command),
        )
    };
    snapshot.stopped.iter().filter_map(finding).collect()
}

/// Unknown if the namespace may not be entered.
fn is_gone_inside(snapshot: &Snapshot<'_>, end: &End) -> bool {
    end.inner.is_none() && snapshot.unchecked.is_empty()
}

/// Finds leases without a lease renewer.
pub(super) fn leases(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let (mut found, agents) = (Vec::new(), agents::status());
    for end in snapshot.examined().filter(|end| end.inner.is_some()) {
        let Some(endpoint) = &end.endpoint else { continue };
        let Some(lease) = &endpoint.lease else { continue };
        if lease.renewer.is_some_and(|renewer| agents.has(renewer)) {
            continue;
        }
        let shown = match lease.renewer {
            Some(renewer) => format!("no process {}", renewer.pid),
            None => "no lease renewer on record".to_owned(),
        };
        let network = end.network.as_ref().map(ToString::to_string).unwrap_or_default();
        let target = quote(endpoint.netns.as_str());
        found.push(
            Finding::warning(
                snapshot.place(end),
                "its DHCP lease is not renewed: the server may give its address to another client",
            )
            .shown_by(shown)
            .mended_by(format!("netcord attach {network} {target} --dhcp")),
        );
    }
    found
}

/// Files with the upstream DNS servers of the host's own resolver.
const UPSTREAM: [&str; 3] = [
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/dnsmasq/resolv.conf",
];

/// Finds targets whose DNS server is on a loopback where none listens: the host's loopback is
/// another one.
pub(super) fn resolvers(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for (end, inside, _) in snapshot.entered() {
        let Some(resolver) = &inside.resolver else { continue };
        let is_internal = snapshot.segment_of(end).is_some_and(|s| s.network().has(Flag::Internal));
        if is_internal || !resolver.asks_nobody {
            continue;
        }
        let mut what =
            "programs in it cannot resolve names: their DNS server is on its own loopback, where none listens"
                .to_owned();
        let upstream = upstream();
        if upstream.is_none() {
            what.push_str("; which server they may ask is for you to say, this host names none");
        }
        let servers: Vec<_> =
            resolver.servers.iter().map(|server| format!("nameserver {server}")).collect();
        let mut finding = Finding::warning(&inside.target, what).shown_by(format!(
            "{}: {}",
            resolver.file,
            servers.join(", ")
        ));
        finding.command = Some(own_resolver(inside, resolver.own.as_deref(), upstream));
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    found
}

/// Returns a file of the host that names a DNS server which endpoints can reach, too.
fn upstream() -> Option<&'static str> {
    let is_reached =
        |file: &&str| resolver::nameservers(file).iter().any(|server| !server.is_loopback());
    UPSTREAM.into_iter().find(is_reached)
}

/// The administrator has to choose a server: the command fails until then.
const CHOICE: &str = "${SERVER:?set it to the address of a name server that may be asked}";

/// Returns the command that gives a namespace a DNS server that it can reach.
fn own_resolver(inside: &Inside, name: Option<&str>, upstream: Option<&str>) -> String {
    if let Some(name) = name {
        let dir = quote(&format!("/etc/netns/{name}"));
        let content = match upstream {
            Some(file) => format!("cat {file}"),
            None => format!("echo \"nameserver {CHOICE}\""),
        };
        return format!("mkdir -p {dir} && {content} > {dir}/resolv.conf");
    }
    let (content, argument) = match upstream {
        Some(file) => (format!("cat {file}"), String::new()),
        None => ("echo \"nameserver $1\"".to_owned(), format!(" sh \"{CHOICE}\"")),
    };
    // It shares the host's file: only a mount of its own gives it another.
    let script = format!(
        "{content} > /run/resolv.conf.netcord && mount --bind /run/resolv.conf.netcord \
         /etc/resolv.conf && exec sh"
    );
    format!("{} unshare --mount sh -c {}{argument}", inside.enter, quote(&script))
}
