//! Enters and reads the namespaces that the host's links lead to.

use std::{net::IpAddr, rc::Rc};

use super::{
    forward::all_links,
    routing::{self, Unrouted},
    snapshot::{End, Inner},
};
use crate::{
    kernel::{Between, Link, LinkKind, Netns, Sockets, named},
    model::{Endpoint, Family, Network, Protocol, ruleset::Ruleset},
    ops::{
        Session,
        diagnose::{
            trace,
            view::{Entered, View, enter_each},
        },
        lookup::{namespaces::Handle, resolve::Found, resolver},
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
    pub(super) view: Rc<View>,
    /// Links with published ports and a strict reverse path filter, with the sysctl that makes it
    /// strict.
    pub(super) strict: Vec<(String, String)>,
    pub(super) resolver: Option<Resolver>,
    /// The sockets of its programs, if it has published ports and they can be read.
    pub(super) sockets: Option<Rc<Sockets>>,
    /// All its nftables rules, if they can be read.
    pub(super) ruleset: Option<Rc<Ruleset>>,
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
    pub(super) host: &'a View,
    pub(super) on_record: &'a [(&'a Network, &'a Endpoint)],
}

impl Inside {
    /// Returns what was read of it, for who follows packets.
    pub(super) fn reading(&self) -> trace::Reading {
        trace::Reading {
            view: Rc::clone(&self.view),
            ruleset: self.ruleset.clone(),
            sockets: self.sockets.clone(),
        }
    }
}

impl Reading<'_> {
    /// Enters all namespaces with a name or a process, and the one that the user named; returns the
    /// number that may not be entered.
    pub(super) async fn all(
        &self,
        session: &Session<'_>,
        asked: Option<Asked>,
    ) -> (Vec<Inside>, usize) {
        let mut insides = Vec::new();
        let cookie = asked.as_ref().map(|asked| asked.found.netns.cookie());
        if let Some(Asked { name, found }) = asked {
            let how = match found.netns.pid() {
                Some(pid) => How::Process(pid),
                None => How::of_file(&found.file),
            };
            if let Ok(entered) = Entered::read(&session.kernel, found.netns).await {
                insides.extend(self.inside(entered, name, &how, true).await);
            }
        }
        let visit = async |handle, entered: Entered| {
            if Some(entered.netns.cookie()) == cookie {
                return;
            }
            let (name, how) = match handle {
                Handle::Name(name) => (name.to_string(), How::of_file(&named(&name))),
                Handle::Process(pid) => (pid.to_string(), How::Process(pid)),
            };
            insides.extend(self.inside(entered, name, &how, false).await);
        };
        let refused = enter_each(session, visit).await;
        (insides, refused)
    }

    /// Reads a namespace if a link of the host leads there, or the user named it. Returns `None`
    /// for one that ends meanwhile.
    async fn inside(
        &self,
        entered: Entered,
        name: String,
        how: &How,
        asked: bool,
    ) -> Option<Inside> {
        let is_met = entered.met(self.host).next().is_some();
        let Entered { netns, view, between } = entered;
        let netns = &netns;
        let is_known = self.on_record.iter().any(|(_, e)| e.cookie == netns.cookie());
        if !asked && !is_known && !is_met {
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
            .filter_map(|(_, e)| view.link(e.ifname.as_str()));
        let strict: Vec<_> =
            of_ports.filter_map(|l| Some((l.name.clone(), strict(netns, l)?))).collect();
        let view = view.with_addresses(netns).await.ok()?.with_routes(netns).await.ok()?;
        let unrouted = routing::read(netns, view.links.iter(), &view).await.ok()?;
        let has_any_port = self.on_record.iter().any(|of| has_ports(&of));
        Some(Inside {
            target,
            cookie: netns.cookie(),
            ip: how.ip(),
            enter: how.enter(),
            strict,
            resolver: how.resolver(netns),
            sockets: has_any_port
                .then(|| netns.sockets(&Protocol::ALL).ok())
                .flatten()
                .map(Rc::new),
            ruleset: is_known.then(|| netns.ruleset().ok()).flatten().map(Rc::new),
            unrouted,
            forwards: Family::BOTH.into_iter().filter(|family| forwards(netns, *family)).collect(),
            view: Rc::new(view),
            between,
            asked,
        })
    }

    /// Returns all endpoints: those on record, and other connections of the host's links.
    pub(super) fn ends(&self, insides: &[Inside]) -> Vec<End> {
        let mut ends = Vec::new();
        for (network, endpoint) in self.on_record {
            let outer = self.host.links.iter().find(|l| endpoint.has_host_end(&l.name));
            let inner = insides.iter().enumerate().filter(|(_, i)| i.cookie == endpoint.cookie);
            let inner =
                inner.flat_map(|(at, i)| i.view.links.iter().map(move |link| (at, i, link)));
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
            for link in &inside.view.links {
                let known = |end: &End| {
                    let inner = end.inner.as_ref();
                    inner.is_some_and(|i| i.inside == at && i.link.name == link.name)
                };
                let outer = self.host.links.iter().find(|o| inside.between.is_pair(o, link));
                if let Some(outer) = outer
                    && !ends.iter().any(known)
                {
                    ends.push(End {
                        network: self.host.bridge_of(outer).and_then(|b| b.name.parse().ok()),
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
