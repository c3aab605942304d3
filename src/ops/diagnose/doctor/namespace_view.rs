//! Enters and reads the namespaces that the host's links lead to.

use std::net::IpAddr;

use super::{
    forward::all_links,
    routing::{self, Unrouted},
    snapshot::{End, Inner, best_default},
};
use crate::{
    error::Kind,
    kernel::{
        Between, Kernel, Link, LinkAddress, LinkKind, Netns, Sockets, TableRoute, global_addresses,
        named,
    },
    model::{Endpoint, Family, LinkName, Network, Protocol, ruleset::Ruleset},
    ops::lookup::{
        namespaces::{self, Handle},
        resolve::Found,
        resolver,
    },
    plan::quote,
    process,
};

/// A namespace that was entered.
pub(super) struct Inside {
    pub(super) target: String,
    pub(super) cookie: u64,
    /// The `ip` command that enters it.
    pub(super) ip: String,
    /// The command with which other programs enter it.
    pub(super) enter: String,
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<LinkAddress>,
    pub(super) routes: Vec<TableRoute>,
    /// Links with published ports and a strict reverse path filter, with the sysctl that makes it
    /// strict.
    pub(super) strict: Vec<(String, String)>,
    pub(super) resolver: Option<Resolver>,
    /// The sockets of its programs, if it has published ports and they can be read.
    pub(super) sockets: Option<Sockets>,
    /// All its nftables rules, if they can be read.
    pub(super) ruleset: Option<Ruleset>,
    /// Addresses whose routes are missing.
    pub(super) unrouted: Vec<Unrouted>,
    /// The IP versions that it forwards between its links.
    pub(super) forwards: Vec<Family>,
    /// The numbers by which the host's links and those inside refer to each other's namespace.
    between: Between,
    /// Whether the user named it.
    pub(super) asked: bool,
}

/// The resolver configuration of the programs in a namespace.
pub(super) struct Resolver {
    pub(super) file: String,
    pub(super) servers: Vec<IpAddr>,
    /// Whether all its servers are on a loopback on which none inside listens.
    pub(super) asks_nobody: bool,
    /// The name in `/run/netns` with a resolv.conf of its own, if it has one.
    pub(super) own: Option<String>,
}

/// A target that the user named.
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) found: Found,
}

/// Reads the namespaces that the host's links lead to.
pub(super) struct Reading<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) links: &'a [Link],
    pub(super) on_record: &'a [(&'a Network, &'a Endpoint)],
}

impl Reading<'_> {
    /// Enters all namespaces with a name or a process, and the one that the user named; returns the
    /// number that may not be entered.
    pub(super) async fn all(&self, asked: Option<Asked>) -> (Vec<Inside>, usize) {
        let mut insides = Vec::new();
        let mut refused = 0;
        let cookie = asked.as_ref().map(|asked| asked.found.netns.cookie());
        if let Some(Asked { name, found }) = asked {
            let handle = match found.netns.pid() {
                Some(pid) => How::Process(pid),
                None => How::of_file(&found.file),
            };
            insides.extend(self.enter(&found.netns, name, &handle, true).await);
        }
        for found in namespaces::all(self.kernel) {
            let (handle, netns) = match found {
                Ok(found) => found,
                Err(error) => {
                    refused += usize::from(Kind::of(&error) == Kind::Permission);
                    continue;
                }
            };
            if Some(netns.cookie()) == cookie {
                continue;
            }
            let (name, how) = match handle {
                Handle::Name(name) => (name.to_string(), How::of_file(&named(&name))),
                Handle::Process(pid) => (pid.to_string(), How::Process(pid)),
            };
            insides.extend(self.enter(&netns, name, &how, false).await);
        }
        (insides, refused)
    }

    /// Reads a namespace if a link of the host leads there, or the user named it. Returns `None`
    /// for one that ends meanwhile.
    async fn enter(&self, netns: &Netns, name: String, how: &How, asked: bool) -> Option<Inside> {
        let mut links: Vec<_> = netns.links().await.ok()?.into_values().collect();
        links.sort_by(|a, b| crate::model::natural_order(&a.name, &b.name));
        let between = self.kernel.between(netns).await.ok()?;
        let is_met = |link: &Link| {
            self.links.iter().any(|o| between.is_pair(o, link) || between.is_on(link, o))
        };
        let is_known = self.on_record.iter().any(|(_, e)| e.cookie == netns.cookie());
        if !asked && !is_known && !links.iter().any(is_met) {
            return None;
        }
        let target = self.on_record.iter().find(|(_, e)| e.cookie == netns.cookie());
        let target = target.filter(|_| !asked).map_or(name, |(_, e)| e.target.clone());
        let has_ports =
            |(_, e): &&(&Network, &Endpoint)| e.cookie == netns.cookie() && !e.ports.is_empty();
        let of_ports = self
            .on_record
            .iter()
            .filter(has_ports)
            .flat_map(|(_, e)| links.iter().filter(|link| link.name == e.ifname.as_str()));
        let strict = of_ports.filter_map(|l| Some((l.name.clone(), strict(netns, l)?)));
        let addresses = netns.all_addresses().await.ok()?;
        let routes = netns.routes().await.ok()?;
        let unrouted = routing::read(netns, links.iter(), &addresses, &routes).await.ok()?;
        let has_any_port = self.on_record.iter().any(|of| has_ports(&of));
        Some(Inside {
            target,
            cookie: netns.cookie(),
            ip: how.ip(),
            enter: how.enter(),
            strict: strict.collect(),
            resolver: how.resolver(netns),
            sockets: has_any_port.then(|| netns.sockets(&Protocol::ALL).ok()).flatten(),
            ruleset: is_known.then(|| netns.ruleset().ok()).flatten(),
            unrouted,
            forwards: Family::BOTH.into_iter().filter(|family| forwards(netns, *family)).collect(),
            addresses,
            routes,
            links,
            between,
            asked,
        })
    }

    /// Returns all endpoints: those on record, and other connections of the host's links.
    pub(super) fn ends(&self, insides: &[Inside]) -> Vec<End> {
        let mut ends = Vec::new();
        for (network, endpoint) in self.on_record {
            let outer = self.links.iter().find(|l| endpoint.has_host_end(&l.name));
            let inner = insides.iter().enumerate().filter(|(_, i)| i.cookie == endpoint.cookie);
            let inner = inner.flat_map(|(at, i)| i.links.iter().map(move |link| (at, i, link)));
            let is_it = |inside: &Inside, link: &Link| match outer {
                Some(outer) => inside.between.is_pair(outer, link),
                None => {
                    link.kind == LinkKind::Macvlan
                        && (link.name == endpoint.ifname.as_str() || link.mac == Some(endpoint.mac))
                }
            };
            let mut inner = inner.filter(|(_, inside, link)| is_it(inside, link));
            ends.push(End {
                network: Some(network.name.clone()),
                endpoint: Some((*endpoint).clone()),
                outer: outer.cloned(),
                inner: inner.next().map(|(inside, _, link)| Inner { inside, link: link.clone() }),
                examined: false,
            });
        }
        for (at, inside) in insides.iter().enumerate() {
            for link in &inside.links {
                let known = |end: &End| {
                    let inner = end.inner.as_ref();
                    inner.is_some_and(|i| i.inside == at && i.link.name == link.name)
                };
                let outer = self.links.iter().find(|o| inside.between.is_pair(o, link));
                if let Some(outer) = outer
                    && !ends.iter().any(known)
                {
                    ends.push(End {
                        network: self.bridge_of(outer),
                        endpoint: None,
                        outer: Some(outer.clone()),
                        inner: Some(Inner { inside: at, link: link.clone() }),
                        examined: false,
                    });
                }
            }
        }
        ends
    }

    fn bridge_of(&self, port: &Link) -> Option<LinkName> {
        self.links.iter().find(|link| port.is_port_of(link))?.name.parse().ok()
    }
}

impl Inside {
    /// Returns the addresses of a link that are not link-local.
    pub(super) fn addresses_of(&self, link: &Link) -> Vec<ipnetwork::IpNetwork> {
        global_addresses(&self.addresses, link)
    }

    /// Returns the default route of an IP version with the lowest metric.
    pub(super) fn default_route(&self, family: Family) -> Option<&TableRoute> {
        best_default(&self.routes, family)
    }

    /// Returns the outgoing link of a route.
    pub(super) fn link_of(&self, route: &TableRoute) -> Option<&Link> {
        self.links.iter().find(|link| link.carries(route))
    }
}

/// Returns the sysctl that makes a link's reverse path filter strict: the higher value of its own
/// and that of `all` counts, and 1 is strict.
fn strict(netns: &Netns, link: &Link) -> Option<String> {
    let read = |name: &str| {
        let key = format!("net.ipv4.conf.{name}.rp_filter");
        let value = netns.sysctl(&format!("net/ipv4/conf/{name}/rp_filter")).ok()??;
        Some((value, key))
    };
    let (own, all) = (read(&link.name)?, read("all")?);
    let highest = if own.0 >= all.0 { own } else { all };
    (highest.0 == "1").then_some(highest.1)
}

/// Returns whether it forwards packets of an IP version.
fn forwards(netns: &Netns, family: Family) -> bool {
    netns.sysctl(all_links(family)).is_ok_and(|value| value.is_some_and(|value| value != "0"))
}

/// How a shell enters a namespace.
enum How {
    /// By a name that `ip` knows.
    Name(String),
    Process(u32),
    File(String),
}

impl How {
    fn of_file(file: &std::path::Path) -> Self {
        match file.strip_prefix(crate::kernel::NETNS_DIR) {
            Ok(name) => Self::Name(name.display().to_string()),
            Err(_) => Self::File(file.display().to_string()),
        }
    }

    fn enter(&self) -> String {
        match self {
            Self::Name(name) => format!("ip netns exec {}", quote(name)),
            Self::Process(pid) => format!("nsenter --net=/proc/{pid}/ns/net"),
            Self::File(file) => format!("nsenter --net={}", quote(file)),
        }
    }

    fn ip(&self) -> String {
        match self {
            Self::Name(name) => format!("ip -n {}", quote(name)),
            Self::Process(_) | Self::File(_) => format!("{} ip", self.enter()),
        }
    }

    /// Returns the resolver configuration that programs inside read, if known: files of a container
    /// are not read.
    fn resolver(&self, netns: &Netns) -> Option<Resolver> {
        let process = match self {
            Self::Process(pid) => Some(*pid),
            Self::Name(name) => process_of_symlink(name),
            Self::File(_) => return None,
        };
        let (file, own) = match (process, self) {
            (Some(pid), _) if !process::shares_files(pid) => return None,
            (None, Self::Name(name)) => {
                let own = format!("/etc/netns/{name}/resolv.conf");
                let file = if std::path::Path::new(&own).exists() {
                    own.as_str()
                } else {
                    resolver::HOSTS
                };
                (file.to_owned(), Some(name.clone()))
            }
            _ => (resolver::HOSTS.to_owned(), None),
        };
        let servers = resolver::nameservers(&file);
        let is_own = |server: &IpAddr| server.is_loopback();
        // The kernel walks all its sockets for each request.
        let asks_nobody = !servers.is_empty()
            && servers.iter().all(is_own)
            && !netns.answers_on_loopback(53).unwrap_or(true);
        Some(Resolver { file, servers, asks_nobody, own })
    }
}

/// Returns the process of a name that is a symlink.
fn process_of_symlink(name: &str) -> Option<u32> {
    let path = std::path::Path::new(crate::kernel::NETNS_DIR).join(name);
    let target = std::fs::read_link(path).ok()?;
    target.to_str()?.strip_prefix("/proc/")?.split('/').next()?.parse().ok()
}
