//! What the host's links lead to: namespaces, entered and read.

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
    /// How `ip` gets there, for a command.
    pub(super) ip: String,
    /// How any other program does.
    pub(super) enter: String,
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<LinkAddress>,
    pub(super) routes: Vec<TableRoute>,
    /// Links with published ports whose reverse path filter is strict, with the sysctl that makes it
    /// so.
    pub(super) strict: Vec<(String, String)>,
    pub(super) resolver: Option<Resolver>,
    /// What its programs listen to, if it has published ports and that can be told.
    pub(super) sockets: Option<Sockets>,
    /// All its rules of nftables, if they can be read.
    pub(super) ruleset: Option<Ruleset>,
    /// Addresses whose routes are gone.
    pub(super) unrouted: Vec<Unrouted>,
    /// The IP versions that it passes on between its links.
    pub(super) forwards: Vec<Family>,
    /// How the host's links and those inside tell of each other.
    between: Between,
    /// It was asked for by name.
    pub(super) asked: bool,
}

/// The file by which programs in a namespace find names.
pub(super) struct Resolver {
    pub(super) file: String,
    pub(super) servers: Vec<IpAddr>,
    /// They are all of a loopback, and nobody inside answers on its own.
    pub(super) asks_nobody: bool,
    /// The name in `/run/netns` that gives it a file of its own, if it has one.
    pub(super) own: Option<String>,
}

/// A target that was asked for.
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) found: Found,
}

/// Reads what the host's links lead to.
pub(super) struct Reading<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) links: &'a [Link],
    pub(super) on_record: &'a [(&'a Network, &'a Endpoint)],
}

impl Reading<'_> {
    /// Enters all namespaces that have a name or a process, and the one that was asked for; tells
    /// how many refused.
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

    /// Reads a namespace, if a link of the host's leads there or it was asked for. One that ends
    /// meanwhile is not there.
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

    /// All attachments: what is on record, and what else the host's links lead to.
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
    /// The addresses of a link that are more than link-local.
    pub(super) fn addresses_of(&self, link: &Link) -> Vec<ipnetwork::IpNetwork> {
        global_addresses(&self.addresses, link)
    }

    /// The default route of an IP version that wins.
    pub(super) fn default_route(&self, family: Family) -> Option<&TableRoute> {
        best_default(&self.routes, family)
    }

    /// The link that a route leads by.
    pub(super) fn link_of(&self, route: &TableRoute) -> Option<&Link> {
        self.links.iter().find(|link| link.carries(route))
    }
}

/// The sysctl that makes a link's reverse path filter strict: the higher of its own and that of all
/// links counts, and 1 is strict.
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

/// Whether it passes packets of an IP version on between its links.
fn forwards(netns: &Netns, family: Family) -> bool {
    netns.sysctl(all_links(family)).is_ok_and(|value| value.is_some_and(|value| value != "0"))
}

/// How a shell gets into a namespace.
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

    /// The resolver's file that programs inside read, if it can be told: a container's own files are
    /// none of ours to look at.
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
        // The kernel walks all of its sockets for each that asks.
        let asks_nobody = !servers.is_empty()
            && servers.iter().all(is_own)
            && !netns.answers_on_loopback(53).unwrap_or(true);
        Some(Resolver { file, servers, asks_nobody, own })
    }
}

/// A name that is a symlink to a process's namespace.
fn process_of_symlink(name: &str) -> Option<u32> {
    let path = std::path::Path::new(crate::kernel::NETNS_DIR).join(name);
    let target = std::fs::read_link(path).ok()?;
    target.to_str()?.strip_prefix("/proc/")?.split('/').next()?.parse().ok()
}
