//! The only code that reads or changes the kernel. One file per kind of object; this one hands a
//! change to the right file and says what undoes it.

mod address;
pub mod background;
mod belongings;
mod check;
pub mod child;
pub mod clock;
pub mod conntrack;
mod datagram;
pub mod dhcp;
mod filter;
mod firewall;
mod guard;
mod link;
mod macvlan;
mod name;
mod neighbour;
mod netns;
mod nfnetlink;
mod nsid;
pub mod ports;
pub mod probe;
pub mod process;
pub mod route;
mod rtnl;
mod shape;
pub mod signal;
pub mod sockets;
mod sysctl;
pub mod terminal;
pub mod throwaway;
mod watch;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::File,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;

use crate::{
    model::{
        Belongings, Firewall, LinkName, Mac, MacvlanMode, NetnsName, Protocol, is_link_local,
        ruleset::{Packet, Ruleset},
    },
    plan::{
        Change, Class, Family, LinkAt, LinkId, MacvlanId, Moved, Place, Resource, Switch,
        SysctlKey, Table,
    },
};
pub use address::{LinkAddress, TableRoute};
pub use filter::Filter;
pub use firewall::{Dropping, Event, Follower, Obstacles, Published, Standing, Translation};
pub use link::{BRIDGE_PORTS_MAX, Link, LinkKind, Port};
pub use netns::{NETNS_DIR, Netns, NetnsFile, named};
use rtnl::Rtnl;
pub use sockets::{Socket, Sockets};
pub use watch::{LinkWatch, NetnsWatch};

/// The kernel of this host: the namespace that netcord was started in, and those of its targets.
#[derive(Debug)]
pub struct Kernel {
    rtnl: Rtnl,
    cookie: u64,
    targets: BTreeMap<NetnsName, Netns>,
    /// The host's links that were made here: they are as they were made.
    made: BTreeSet<LinkName>,
}

/// What applying a change came to.
#[expect(clippy::large_enum_variant, reason = "there are a dozen at a time, and they live briefly")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was so already.
    AlreadySo,
    /// Done; this undoes it.
    Done(Change),
    /// Done, and what was there cannot be made again from the change alone.
    Final,
    /// It was there in part, and is whole now: nobody wants the damage back.
    Mended,
}

impl Outcome {
    fn of(changed: bool, inverse: impl FnOnce() -> Change) -> Self {
        if changed { Self::Done(inverse()) } else { Self::AlreadySo }
    }

    /// Of a link that was to be deleted.
    fn of_deletion(was_there: bool) -> Self {
        if was_there { Self::Final } else { Self::AlreadySo }
    }

    /// A change that was made; its opposite undoes it.
    fn done(change: &Change) -> Self {
        change.clone().reversed().map_or(Self::Final, Self::Done)
    }

    /// What undoes it, if anything has to and can.
    fn inverse(&self) -> Option<&Change> {
        match self {
            Self::Done(inverse) => Some(inverse),
            Self::AlreadySo | Self::Final | Self::Mended => None,
        }
    }
}

impl Kernel {
    /// Opens the kernel of the host that netcord was started in.
    pub fn open() -> Result<Self> {
        let rtnl = Rtnl::open().context("cannot open a netlink socket")?;
        let cookie = netns::cookie_here().context(
            "cannot tell this network namespace from others: Linux 5.14 or newer is needed",
        )?;
        Ok(Self { rtnl, cookie, targets: BTreeMap::new(), made: BTreeSet::new() })
    }

    /// Opens all sockets anew: one that failed to send once stays closed, and undoing needs it.
    pub fn reconnect(&mut self) -> Result<()> {
        self.rtnl = Rtnl::open()?;
        self.targets.values_mut().try_for_each(Netns::reconnect)
    }

    /// Which namespace the host's own is.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Makes an open namespace known by the name that plans call it.
    pub fn know(&mut self, name: NetnsName, netns: Netns) -> &Netns {
        self.targets.entry(name).or_insert(netns)
    }

    /// The namespace that plans call so.
    pub fn target(&self, name: &NetnsName) -> Option<&Netns> {
        self.targets.get(name)
    }

    /// Closes a namespace, which lives no longer for our sake.
    pub fn forget(&mut self, name: &NetnsName) {
        self.targets.remove(name);
    }

    /// The process, if any, by which a known namespace was opened and that has ended since.
    pub fn ended(&self) -> Option<u32> {
        self.targets.values().find(|netns| !netns.lives()).and_then(Netns::pid)
    }

    /// Makes a change so. Firewall changes go to [`Kernel::apply_firewall`].
    pub async fn apply(&mut self, change: &Change) -> Result<Outcome> {
        match change {
            Change::Create(resource) => {
                match (self.create(change, resource).await, change.facts().part_of) {
                    (Err(_), Some(link)) if self.has_fallen(change).await => {
                        Err(link::gone(link.name.as_str()))
                    }
                    (result, _) => result,
                }
            }
            Change::Delete(resource) => match self.delete(change, resource).await {
                Err(_) if self.has_fallen(change).await => Ok(Outcome::AlreadySo),
                result => result,
            },
            Change::DeleteLink(link) => self.delete_link(link).await,
        }
    }

    async fn create(&mut self, change: &Change, resource: &Resource) -> Result<Outcome> {
        let inverse = || Change::delete(resource.clone());
        let changed = match resource {
            Resource::Name(named) => name::create(named, self.targets.get(&named.name))?,
            Resource::Bridge { name, mac, mtu } => {
                link::create_bridge(&self.rtnl, name, *mac, *mtu).await?
            }
            Resource::Shape(wanted) => {
                let former = shape::create(self.at(&wanted.netns)?, wanted).await?;
                return Ok(former.map_or(Outcome::AlreadySo, |former| {
                    Outcome::Done(Change::Create(Resource::Shape(former)))
                }));
            }
            Resource::Mtu { link, mtu } => {
                let former = link::set_mtu(&self.rtnl, link, *mtu).await?;
                return Ok(former.map_or(Outcome::AlreadySo, |mtu| {
                    Outcome::Done(Change::Create(Resource::Mtu { link: link.clone(), mtu }))
                }));
            }
            Resource::Veth(veth) => {
                let inside = veth.netns.as_ref().map(|name| self.known(name)).transpose()?;
                let is_new = link::create_veth(&self.rtnl, inside, veth).await?;
                if is_new {
                    self.made.insert(veth.host.clone());
                }
                is_new
            }
            Resource::Macvlan(macvlan) => {
                let inside = macvlan.netns.as_ref().map(|name| self.known(name)).transpose()?;
                macvlan::create(&self.rtnl, inside, macvlan).await?
            }
            Resource::Vlan { name, vlan } => macvlan::create_vlan(&self.rtnl, name, vlan).await?,
            Resource::Alias { netns: None, link, alias } if self.made.remove(link) => {
                link::set_first_alias(&self.rtnl, link, alias).await?
            }
            Resource::Alias { netns, link, alias } => {
                link::set_alias(self.at(netns)?, link, alias).await?
            }
            Resource::Carrier(carrier) => link::create_carrier(&self.rtnl, carrier).await?,
            Resource::Ready { link } => {
                self.ready(link).await?;
                false
            }
            Resource::Moved(_) => return Ok(self.apply_moved(&[change]).await?.remove(0)),
            Resource::Port { link, flag } => link::set_port(&self.rtnl, link, *flag, true).await?,
            Resource::Ingress { link } => guard::create_ingress(&self.rtnl, link).await?,
            Resource::Guard { link, guard } => guard::create(&self.rtnl, link, guard).await?,
            Resource::Address { netns, link, address } => {
                address::create(self.at(netns)?, link, *address).await?
            }
            Resource::Up { netns, link } => {
                link::set_up(self.at(netns)?, link.as_str(), true).await?
            }
            Resource::Announcement { netns, link, mac, port } => {
                link::announce(&self.rtnl, port, self.at(netns)?, link, *mac).await?;
                false
            }
            Resource::Route { netns, route } => {
                address::create_route(self.at(netns)?, route).await?
            }
            Resource::Neighbour { netns, link, address, mac } => {
                neighbour::create(self.at(netns)?, link, *address, *mac).await?
            }
            Resource::Sysctl { netns, key, value, .. } => {
                return self.set_sysctl(netns, key, value);
            }
            Resource::FormerSysctl { netns, key, value } => {
                return self.set_sysctl(netns, key, value);
            }
            Resource::Zone { link } => firewall::firewalld::trust(link)?,
            Resource::Record(_)
            | Resource::Chain(_)
            | Resource::Rule(_)
            | Resource::Nft(_)
            | Resource::Flows(_) => false,
        };
        Ok(Outcome::of(changed, inverse))
    }

    async fn delete(&mut self, change: &Change, resource: &Resource) -> Result<Outcome> {
        let inverse = || Change::Create(resource.clone());
        let changed = match resource {
            Resource::Name(named) => name::delete(named)?,
            Resource::Bridge { .. }
            | Resource::Veth(_)
            | Resource::Macvlan(_)
            | Resource::Vlan { .. } => match resource.link_id() {
                Some(link) => return self.delete_link(&link).await,
                None => false,
            },
            Resource::Alias { netns, link, .. } => {
                link::set_alias(self.at(netns)?, link, "").await?
            }
            Resource::Carrier(carrier) => link::delete(&self.rtnl, &carrier.port).await?,
            Resource::Moved(_) => return Ok(self.apply_moved(&[change]).await?.remove(0)),
            Resource::Port { link, flag } => link::set_port(&self.rtnl, link, *flag, false).await?,
            Resource::Ingress { link } => guard::delete_ingress(&self.rtnl, link).await?,
            Resource::Guard { link, .. } => guard::delete(&self.rtnl, link).await?,
            Resource::Address { netns, link, address } => {
                address::delete(self.at(netns)?, link, *address).await?
            }
            Resource::Up { netns, link } => {
                link::set_up(self.at(netns)?, link.as_str(), false).await?
            }
            Resource::Route { netns, route } => {
                address::delete_route(self.at(netns)?, route).await?
            }
            Resource::Neighbour { netns, link, address, .. } => {
                neighbour::delete(self.at(netns)?, link, *address).await?
            }
            Resource::Sysctl { netns, key, reset, value } => {
                return self.set_sysctl(netns, key, reset.unwrap_or(value));
            }
            Resource::Zone { link } => firewall::firewalld::forget(link)?,
            Resource::Flows(_) => return Ok(self.forget_flows(&[change])?.remove(0)),
            Resource::Shape(_)
            | Resource::Mtu { .. }
            | Resource::FormerSysctl { .. }
            | Resource::Ready { .. }
            | Resource::Announcement { .. }
            | Resource::Record(_)
            | Resource::Chain(_)
            | Resource::Rule(_)
            | Resource::Nft(_) => false,
        };
        Ok(Outcome::of(changed, inverse))
    }

    async fn delete_link(&self, link: &LinkId) -> Result<Outcome> {
        let was_there = match link {
            LinkId::Bridge(name)
            | LinkId::Vlan(name)
            | LinkId::Veth(name)
            | LinkId::Unrecorded(name) => link::delete(&self.rtnl, name).await?,
            LinkId::Macvlan(macvlan) => {
                macvlan::delete(&self.rtnl, self.at(&macvlan.netns)?, macvlan).await?
            }
        };
        Ok(Outcome::of_deletion(was_there))
    }

    /// Makes neighbouring changes of one firewall so: in one transaction, or, of iptables, one a
    /// family and table.
    /// `lock` is held until the last program has ended that changes rules.
    pub fn apply_firewall(&mut self, changes: &[&Change], lock: &File) -> Result<Vec<Outcome>> {
        firewall::apply(changes, lock)
    }

    /// Makes neighbouring changes of the host's own things so, in one message: all, or none.
    pub async fn apply_moved(&self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        let mut so = Vec::with_capacity(changes.len());
        for change in changes {
            // The kernel does not say whether a port was one already.
            let is_port = matches!(change.facts().class, Class::Moved(Moved::Port { .. }));
            so.push(is_port && self.is_so(change).await);
        }
        let unlike = changes.iter().zip(&so).filter(|(_, so)| !**so);
        let wanted: Vec<_> = unlike.map(|(change, _)| *change).collect();
        let mut news = belongings::write(&self.rtnl, &wanted).await?.into_iter();
        let outcomes = changes.iter().zip(so).map(|(change, so)| {
            let is_new = !so && news.next().unwrap_or_default();
            if is_new { Outcome::done(change) } else { Outcome::AlreadySo }
        });
        Ok(outcomes.collect())
    }

    /// Deletes neighbouring links of the host, in one message.
    pub async fn cut(&self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        let name = |change: &&Change| match change {
            Change::DeleteLink(link) => link.on_host().cloned(),
            Change::Create(_) | Change::Delete(_) => None,
        };
        let names: Vec<_> = changes.iter().filter_map(name).collect();
        let were_there = match names.as_slice() {
            [one] => vec![link::delete(&self.rtnl, one).await?],
            many => link::delete_all(&self.rtnl, many).await?,
        };
        Ok(were_there.into_iter().map(Outcome::of_deletion).collect())
    }

    /// Forgets flows, in one look at what connection tracking knows.
    pub fn forget_flows(&self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        let flows: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Delete(Resource::Flows(flows)) => Some(flows),
                _ => None,
            })
            .collect();
        conntrack::flush(&flows)?;
        Ok(vec![Outcome::AlreadySo; changes.len()])
    }

    fn set_sysctl(&self, netns: &Place, key: &SysctlKey, value: &str) -> Result<Outcome> {
        let write = || sysctl::write(&key.to_string(), value);
        let former = match netns {
            None => write()?,
            Some(name) => self.known(name)?.within(write)??,
        };
        Ok(former.map_or(Outcome::AlreadySo, |value| {
            let (netns, key) = (netns.clone(), key.clone());
            Outcome::Done(Change::Create(Resource::FormerSysctl { netns, key, value }))
        }))
    }

    fn at(&self, netns: &Place) -> Result<&Rtnl> {
        self.in_namespace(netns.as_ref())
    }

    fn in_namespace(&self, netns: Option<&NetnsName>) -> Result<&Rtnl> {
        match netns {
            None => Ok(&self.rtnl),
            Some(name) => self.known(name).map(Netns::rtnl),
        }
    }

    fn known(&self, name: &NetnsName) -> Result<&Netns> {
        self.targets.get(name).with_context(|| format!("the namespace `{name}` is not open"))
    }
}

/// Reading.
impl Kernel {
    /// One link of the host.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        link::get(&self.rtnl, name).await
    }

    /// Whether a link is still there: the same, not one of the same name.
    pub async fn has(&self, link: &Link) -> Result<bool> {
        let there = self.link(&link.name).await?;
        Ok(there.is_some_and(|l| l.index == link.index)
            || self.links().await?.contains_key(&link.index))
    }

    /// All links of the host, by index.
    pub async fn links(&self) -> Result<HashMap<u32, Link>> {
        link::all(&self.rtnl, None).await
    }

    /// Whether what a change is about has gone with a link that it was a part of.
    pub async fn has_fallen(&self, change: &Change) -> bool {
        for LinkAt { netns, name } in change.facts().needs() {
            let Ok(rtnl) = self.in_namespace(netns) else { continue };
            if matches!(link::get(rtnl, name.as_str()).await, Ok(None)) {
                return true;
            }
        }
        false
    }

    /// The names of all links of the host: a tenth of what the links cost.
    pub fn link_names(&self) -> Result<HashSet<String>> {
        sysctl::link_names()
    }

    /// Which of these links of the host are gone.
    pub async fn gone<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<HashSet<&'n str>> {
        let there = self.link_names()?;
        let mut gone = HashSet::new();
        for name in names.filter(|name| !there.contains(*name)) {
            // It may have got another name between two of those that were read.
            if self.link(name).await?.is_none() {
                gone.insert(name);
            }
        }
        Ok(gone)
    }

    /// Of these names of links of the host the links that are there. Many are read all at once.
    pub async fn links_named(&self, names: &HashSet<String>) -> Result<Vec<Link>> {
        const FEW: usize = 16;
        if names.len() > FEW {
            let all = self.links().await?.into_values();
            return Ok(all.filter(|link| names.contains(&link.name)).collect());
        }
        let mut found = Vec::new();
        for name in names {
            found.extend(self.link(name).await?);
        }
        Ok(found)
    }

    /// The bridges of the host.
    pub async fn bridges(&self) -> Result<Vec<Link>> {
        link::bridges(&self.rtnl).await
    }

    /// The links of the host that are a bridge's port, by name.
    pub async fn ports_by_name(&self) -> Result<HashMap<String, Link>> {
        link::ports(&self.rtnl).await
    }

    /// The ports of a bridge of the host.
    pub async fn ports(&self, bridge: &Link) -> Result<Vec<Link>> {
        Ok(link::all(&self.rtnl, Some(bridge.index)).await?.into_values().collect())
    }

    /// All addresses of the host.
    pub async fn addresses(&self) -> Result<Vec<LinkAddress>> {
        address::all(&self.rtnl).await
    }

    /// The addresses of one link of the host, global ones only.
    pub async fn addresses_of(&self, link: &Link) -> Result<Vec<IpNetwork>> {
        Ok(global_addresses(&self.addresses().await?, link))
    }

    /// What hangs on a link of the host: addresses, routes, policy rules, neighbours.
    pub async fn belongings(&self, link: &Link) -> Result<Belongings> {
        belongings::read(&self.rtnl, link, &self.links().await?).await
    }

    /// The switches of a link of the host that are not as a new link has them.
    pub fn switches(&self, link: &LinkName) -> Result<Vec<Switch>> {
        sysctl::switches(link.as_str())
    }

    /// Waits until a link carries, and its addresses answer.
    async fn ready(&self, link: &LinkName) -> Result<()> {
        belongings::ready(&self.rtnl, link).await
    }

    /// What firewalls of others drop of what the host forwards, of these families, where our own
    /// rules are in this firewall.
    pub fn obstacles(&self, firewall: Firewall, families: &[Family]) -> Result<Obstacles> {
        firewall::obstacles(firewall, families)
    }

    /// The routes of the host's main table.
    pub async fn routes(&self) -> Result<Vec<TableRoute>> {
        address::routes(&self.rtnl).await
    }

    /// The link of the host that a route leads by.
    pub async fn link_of(&self, route: &TableRoute) -> Result<Option<Link>> {
        let Some(index) = route.index else { return Ok(None) };
        Ok(self.links().await?.remove(&index))
    }

    /// The number of the link of the host by which the answers of a TCP connection leave.
    pub async fn answers_leave_by(
        &self,
        peer: SocketAddr,
        own: Option<SocketAddr>,
    ) -> Result<Option<u32>> {
        Ok(match route::of_answers(&self.rtnl, peer, own).await? {
            route::Way::By { index, .. } => Some(index),
            route::Way::Here { .. } | route::Way::None(_) => None,
        })
    }

    /// Addresses that the neighbours and the forwarding table of a bridge tell of, and who has
    /// them as far as can be told.
    pub async fn heard_on(&self, bridge: &Link) -> Result<BTreeMap<IpAddr, String>> {
        neighbour::heard(&self.rtnl, bridge.index).await
    }

    /// Asks the wire of a link of the host who has these addresses.
    pub fn who_has(
        &self,
        link: &Link,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Mac>> {
        wire::who_has(&link.name, addresses)
    }

    /// A value below `/proc/sys`, on the host.
    pub fn sysctl(&self, key: &str) -> Result<Option<String>> {
        sysctl::read(key)
    }

    /// How the links of the host and those of a namespace tell of each other. Links are read
    /// first: it is then that the kernel numbers the namespaces that they lead into.
    pub async fn between(&self, netns: &Netns) -> Result<Between> {
        let host = netns::here().context("cannot open the host's namespace")?;
        let there = nsid::of(&self.rtnl, netns.file()).await?;
        let here = nsid::of(netns.rtnl(), &host).await?;
        Ok(Between { there, here })
    }

    /// The names in `/run/netns`.
    pub fn netns_names(&self) -> BTreeSet<NetnsName> {
        let entries = std::fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()?.parse().ok()).collect()
    }

    /// The published ports that are in a firewall, as far as they can be read.
    pub fn published(&self, firewall: Firewall) -> Vec<Published> {
        firewall::published(firewall)
    }

    /// The networks that have chains in our table, as far as they can be read.
    pub fn networks_with_rules(&self) -> Vec<LinkName> {
        firewall::networks()
    }

    /// Whether something of netcord's is in a firewall, as far as that can be read.
    pub fn stands(&self, firewall: Firewall) -> bool {
        firewall::stands(firewall)
    }

    /// The firewall for a host that has none of netcord's yet: nftables, where the kernel has it.
    pub fn firewall(&self) -> Firewall {
        firewall::of_this_kernel()
    }

    /// Whether the firewall's rules can be read at all: that takes a privilege.
    ///
    /// # Errors
    /// If they cannot.
    pub fn check_rules_readable(&self) -> Result<()> {
        firewall::check_readable()
    }

    /// All of a table of iptables', as the commands that would make it; none where there is none.
    pub fn iptables(&self, family: Family, table: Table) -> Result<String> {
        firewall::listing(family, table)
    }

    /// The chains of nftables where what is forwarded is dropped unless a rule accepts it, but those
    /// of iptables.
    pub fn dropping(&self) -> Result<Vec<Dropping>> {
        firewall::dropping()
    }

    /// The rules of others in nftables that lead a port of the host's elsewhere.
    pub fn translations(&self) -> Result<Vec<Translation>> {
        firewall::translations()
    }

    /// Whether the owner of such a chain was told of a link.
    pub fn lets_by(&self, chain: &Dropping, link: &str) -> Result<bool> {
        firewall::lets_by(chain, link)
    }

    /// Whether frames that only cross a bridge meet iptables or ip6tables on this host
    /// (`br_netfilter`).
    pub fn bridged_frames_meet_iptables(&self) -> Result<bool> {
        for family in ["iptables", "ip6tables"] {
            let value = sysctl::read(&format!("net/bridge/bridge-nf-call-{family}"))?;
            if value.is_some_and(|v| v != "0") {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Reading inside a target.
impl Netns {
    /// Its links, by index.
    pub async fn links(&self) -> Result<HashMap<u32, Link>> {
        link::all(self.rtnl(), None).await
    }

    /// The link that a macvlan of ours in it has become, on this link of the host's.
    pub async fn macvlan(&self, parent: &Link, made: &MacvlanId) -> Result<Option<Link>> {
        let links = self.links().await?.into_values();
        // One on a link of its own has no number of another namespace.
        Ok(macvlan::among(links.filter(|l| l.peer_nsid.is_some()), parent, made))
    }

    /// The addresses of one of its links, global ones only, IPv4 first.
    pub async fn addresses(&self, link: &Link) -> Result<Vec<IpNetwork>> {
        Ok(global_addresses(&address::all(self.rtnl()).await?, link))
    }

    /// The addresses of all its links.
    pub async fn all_addresses(&self) -> Result<Vec<LinkAddress>> {
        address::all(self.rtnl()).await
    }

    /// A value below its `/proc/sys/net`.
    pub fn sysctl(&self, key: &str) -> Result<Option<String>> {
        self.within(|| sysctl::read(key))?
    }

    /// Whether something in it listens to a port of its own loopback.
    pub fn answers_on_loopback(&self, port: u16) -> Result<bool> {
        self.within(|| sockets::answers_on_loopback(port))?
    }

    /// The routes of its main table.
    pub async fn routes(&self) -> Result<Vec<TableRoute>> {
        address::routes(self.rtnl()).await
    }

    /// The way that a packet would take: one of its own, or one that comes by a link.
    pub async fn way(&self, query: route::Query) -> Result<route::Way> {
        route::lookup(self.rtnl(), query).await
    }

    /// The route or policy rule, as `ip` writes it, that forbids such packets.
    pub async fn denial(&self, query: route::Query) -> Result<Option<String>> {
        route::denial(self.rtnl(), query).await
    }

    /// The MAC that it knows for an address on a link, and how that is known.
    pub async fn mac_of(&self, link: &Link, address: IpAddr) -> Result<Option<(Mac, &str)>> {
        neighbour::mac_of(self.rtnl(), link.index, address).await
    }

    /// The port, by its number, by which a bridge of it sends what is for a MAC; the bridge's own
    /// number where it is for itself; `None` where nobody knows, and it is sent by all.
    pub async fn port_of(&self, bridge: &Link, mac: Mac) -> Result<Option<u32>> {
        neighbour::port_of(self.rtnl(), bridge.index, mac).await
    }

    /// The other end of a veth, read from this one's namespace.
    pub async fn peer_of(&self, link: &Link) -> Result<Option<Link>> {
        let Some(peer) = link.peer else { return Ok(None) };
        link::in_netns(self.rtnl(), peer, link.peer_nsid).await
    }

    /// All addresses where the other end of a veth is, read from this one's namespace.
    pub async fn peer_addresses(&self, link: &Link) -> Result<Vec<LinkAddress>> {
        address::in_netns(self.rtnl(), link.peer_nsid).await
    }

    /// The filters of `tc` that see what a link receives, or sends.
    pub async fn filters(&self, link: &Link, receives: bool) -> Result<Vec<Filter>> {
        filter::all(self.rtnl(), link, receives).await
    }

    /// The macvlans in it.
    pub async fn macvlans(&self) -> Result<Vec<Link>> {
        link::macvlans(self.rtnl()).await
    }

    /// All rules of nftables in it, of everybody.
    pub fn ruleset(&self) -> Result<Ruleset> {
        self.within(firewall::ruleset)?
    }

    /// Begins to follow a flow in it.
    pub fn follow(&self, packet: &Packet) -> Result<Follower> {
        self.within(|| firewall::follow(packet))?
    }

    /// Sends the first packet of a flow from a socket in it.
    pub fn probe(&self, packet: &Packet) -> Result<probe::Probe> {
        self.within(|| probe::Probe::send(packet))?
    }

    /// Who listens at a port in it; an empty name if that cannot be told.
    pub fn listener(&self, at: IpAddr, port: u16, protocol: Protocol) -> Result<Option<String>> {
        self.within(|| sockets::listener(at, port, protocol))?
    }

    /// The sockets in it that wait for callers.
    pub fn sockets(&self, protocols: &[Protocol]) -> Result<Sockets> {
        self.within(|| Sockets::here(protocols, sockets::Scope::Listening))?
    }

    /// The tables of iptables' former kind that are in use in it, each with its program: nftables
    /// knows nothing of them.
    pub fn legacy_tables(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(self.within(firewall::legacy_tables)?)
    }

    /// The number by which links of this namespace call another one.
    pub async fn number_of(&self, other: &NetnsFile) -> Result<Option<i32>> {
        nsid::of(self.rtnl(), other.file()).await
    }

    /// The same of one that was entered.
    pub async fn number_of_entered(&self, other: &Self) -> Result<Option<i32>> {
        nsid::of(self.rtnl(), other.file()).await
    }
}

/// The numbers that the host and a namespace have for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// The host's for the namespace.
    pub there: Option<i32>,
    here: Option<i32>,
}

impl Between {
    /// Whether a link inside is the other end of this link of the host's.
    pub fn is_pair(&self, host: &Link, inside: &Link) -> bool {
        self.there.is_some()
            && host.peer_nsid == self.there
            && (host.peer, inside.peer) == (Some(inside.index), Some(host.index))
    }

    /// Whether a link inside is made on top of this link of the host's.
    pub fn is_on(&self, inside: &Link, host: &Link) -> bool {
        self.here.is_some() && inside.peer_nsid == self.here && inside.is_upper_of(host)
    }
}

impl Link {
    /// Whether it is a port of this bridge.
    pub fn is_port_of(&self, bridge: &Self) -> bool {
        self.master == Some(bridge.index)
    }

    /// Whether it is the other end of this veth.
    pub fn is_peer_of(&self, other: &Self) -> bool {
        self.kind == LinkKind::Veth && self.peer == Some(other.index)
    }

    /// The tag of a VLAN.
    pub fn vlan_id(&self) -> Option<u16> {
        self.vlan_id
    }

    /// How a macvlan hangs on its link.
    pub fn macvlan_mode(&self) -> Option<MacvlanMode> {
        MacvlanMode::ALL.into_iter().find(|m| Some(macvlan::mode(*m)) == self.macvlan_mode)
    }

    /// Whether it is a macvlan on this link of the host's, where it was made.
    pub fn is_macvlan_on(&self, parent: &Self) -> bool {
        self.kind == LinkKind::Macvlan && self.peer == Some(parent.index)
    }

    /// Whether it is made on top of another link (a VLAN, a macvlan).
    pub fn is_upper_of(&self, lower: &Self) -> bool {
        matches!(self.kind, LinkKind::Other | LinkKind::Macvlan | LinkKind::Vlan)
            && self.peer == Some(lower.index)
    }

    /// The number of the namespace in which its other end, or the link below it, is; `None`: it
    /// has none, or it is in the same one.
    pub fn leads_into(&self) -> Option<i32> {
        self.peer_nsid
    }

    /// Its number in its namespace.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The number of its other end, or of the link below it, in the namespace where that is.
    pub fn other(&self) -> Option<u32> {
        self.peer
    }

    /// Whether frames pass, of a bridge's port.
    pub fn forwards(&self) -> bool {
        self.forwards
    }

    /// Whether a route leads by it.
    pub fn carries(&self, route: &TableRoute) -> bool {
        route.index == Some(self.index)
    }

    /// Whether an address is one of its own.
    pub fn has(&self, address: &LinkAddress) -> bool {
        address.index == self.index
    }
}

/// The addresses of a link that are more than link-local, IPv4 first.
pub fn global_addresses(all: &[LinkAddress], link: &Link) -> Vec<IpNetwork> {
    let mut found: Vec<_> = all
        .iter()
        .filter(|a| link.has(a))
        .map(|a| a.address)
        .filter(|a| !is_link_local(a.ip()))
        .collect();
    found.sort_by_key(IpNetwork::is_ipv6);
    found
}

/// The path by which this process reaches an open file again.
fn proc_self_fd(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
