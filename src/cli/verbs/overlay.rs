//! The verb `overlay`: its flags, its help, and what it prints.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{self, PathBuf},
};

use anyhow::Result;

use crate::{
    agents::netcord_agent::protocol::Shape,
    cli::values::{key_value, new_network},
    error::Error,
    model::{
        BackendKind, Cidr, Flag, Flags, Flat, Identity, LinkName, PeerSpec, Store, User, Vxlan,
    },
    ops::{Session, driver::overlay},
    output::Output,
};

/// The default time to wait for a store, in seconds.
const WAIT: u32 = 10;

/// Ensure an overlay network: endpoints on several hosts reach each other by their own addresses
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Without a store, each host runs the command with the same --subnet, its own --host-subnet, and one --peer for each other host. Run again with other peers, it adds and removes what differs.\n\nWith --store, the first host gives --subnet and the others only join: each gets a subnet of its own from etcd, and netcord-agent follows the hosts that come and go.\n\nExamples:\n  netcord overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 --peer 10.5.2.0/24=192.0.2.2\n  netcord overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 --backend host-gw --peer 10.5.2.0/24=192.0.2.2\n  netcord overlay pods --subnet 10.5.0.0/16 --subnet fd00:5::/48 --host-subnet 10.5.1.0/24 --host-subnet fd00:5:0:1::/64 --peer 10.5.2.0/24,fd00:5:0:2::/64=192.0.2.2\n  netcord overlay pods --store http://192.0.2.9:2379 --subnet 10.5.0.0/16\n  netcord overlay pods --store http://192.0.2.9:2379"
)]
pub(crate) struct Args {
    /// The network's name, which is the bridge's: 15 bytes at most
    #[arg(value_name = "NETWORK", value_parser = new_network)]
    pub(super) name: LinkName,
    /// The subnet of the whole network, the same on all hosts; at most one per IP family
    #[arg(long, value_name = "CIDR", required_unless_present = "store")]
    pub(super) subnet: Vec<Cidr>,
    /// This host's part of the subnet, for its endpoints; one per IP family
    #[arg(long, value_name = "CIDR", required_unless_present_any = ["store", "flat"], conflicts_with = "store")]
    pub(super) host_subnet: Vec<Cidr>,
    /// What only overlay networks have
    #[command(flatten)]
    pub(super) hosts: Hosts,
    /// The store of the hosts
    #[command(flatten)]
    pub(super) store: InStore,
    /// The host's link that leads to the other hosts [default: that of the route to the first peer, or
    /// to the store]
    #[arg(long, value_name = "LINK", conflicts_with_all = ["public_ip", "reach"])]
    pub(super) parent: Option<LinkName>,
    /// The bridge's address, which is the endpoints' gateway [default: the first of the host subnet]
    #[arg(long, value_name = "IP")]
    pub(super) gateway: Vec<IpAddr>,
    /// Assign addresses only from this part of the host subnet
    #[arg(long, value_name = "CIDR")]
    pub(super) ip_range: Vec<Cidr>,
    /// The MTU in bytes [default: that of the parent, less 50 for VXLAN, or 70 over IPv6, or 28 for UDP]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub(super) mtu: Option<u32>,
    /// Endpoints reach those of the network on all hosts, and nothing outside
    #[arg(long)]
    pub(super) internal: bool,
    /// Drop frames with a source MAC or IP address that is not the endpoint's own, and messages of
    /// routers and DHCP servers
    #[arg(long)]
    pub(super) no_spoof: bool,
    /// Do not translate source addresses (no SNAT) of packets that leave the network
    #[arg(long)]
    pub(super) no_masquerade: bool,
    /// Metadata to store with the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) label: Vec<(String, String)>,
}

/// The other hosts, and how packets reach them.
#[derive(clap::Args, Debug)]
pub(crate) struct Hosts {
    /// Another host: the subnets of its endpoints, and its address. The first address carries the
    /// tunnel; the second is the next hop of the other IP family's packets without a tunnel.
    /// A MAC is needed only for a VTEP that netcord did not make
    #[arg(long, value_name = "SUBNET[,SUBNET6]=HOST[,HOST6][@MAC]", conflicts_with = "store")]
    pub(super) peer: Vec<PeerSpec>,
    /// How packets reach the other hosts [default: vxlan]
    #[arg(long, value_name = "BACKEND")]
    pub(super) backend: Option<BackendKind>,
    /// vxlan: the network identifier, the same on all hosts [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Vxlan::VNI_MAX)))]
    pub(super) vni: Option<u32>,
    /// vxlan and udp: the UDP port, the same on all hosts [default: 8472 and 8285]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// vxlan: no tunnel to hosts that are on the parent without a router between
    #[arg(long)]
    pub(super) direct_routing: bool,
    /// This host's address, by which the others reach it [default: the first of the parent]
    #[arg(long, value_name = "IP", conflicts_with = "reach")]
    pub(super) public_ip: Option<IpAddr>,
    /// Take the parent that leads to this address
    #[arg(long, value_name = "IP")]
    pub(super) reach: Option<IpAddr>,
}

/// The store in which hosts find each other, and what the first host decides there.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Store options")]
pub(crate) struct InStore {
    /// The etcd in which the hosts find each other: URLs of its members
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(super) store: Vec<String>,
    /// One subnet and one Ethernet segment over all hosts, as docker's overlay networks: an endpoint keeps
    /// its address when it moves to another host
    #[arg(long, requires = "subnet", conflicts_with_all = ["host_subnet_len", "subnet_min", "subnet_max", "subnet_file", "direct_routing"])]
    pub(super) flat: bool,
    /// In a flat network, send broadcasts and multicasts of endpoints to all hosts, a copy for each
    #[arg(long, requires = "flat")]
    pub(super) multicast: bool,
    /// The prefix of the network's keys; flannel's is /coreos.com/network [default: /netcord/NETWORK]
    #[arg(long, value_name = "KEY", requires = "store")]
    pub(super) prefix: Option<String>,
    /// The certificates of the authorities that etcd's certificate may come from
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(super) ca: Option<PathBuf>,
    /// This host's certificate
    #[arg(long, value_name = "FILE", requires_all = ["store", "key"])]
    pub(super) cert: Option<PathBuf>,
    /// The private key of this host's certificate
    #[arg(long, value_name = "FILE", requires_all = ["store", "cert"])]
    pub(super) key: Option<PathBuf>,
    /// The user of etcd
    #[arg(long, value_name = "NAME", requires_all = ["store", "password_file"])]
    pub(super) user: Option<String>,
    /// The file with the user's password
    #[arg(long, value_name = "FILE", requires_all = ["store", "user"])]
    pub(super) password_file: Option<PathBuf>,
    /// The prefix length of a host's subnet, one per --subnet in the same order [default: 24 and 64]
    #[arg(long, value_name = "N", requires_all = ["store", "subnet"])]
    pub(super) host_subnet_len: Vec<u8>,
    /// The first subnet that a host can get
    #[arg(long, value_name = "IP", requires_all = ["store", "subnet"])]
    pub(super) subnet_min: Option<Ipv4Addr>,
    /// The last subnet that a host can get
    #[arg(long, value_name = "IP", requires_all = ["store", "subnet"])]
    pub(super) subnet_max: Option<Ipv4Addr>,
    /// How long this host keeps its subnet without a sign of life [default: 86400]
    #[arg(long, value_name = "SECONDS", requires = "store", value_parser = clap::value_parser!(u32).range(5..))]
    pub(super) ttl: Option<u32>,
    /// Also write the subnet to a file as flannel does (subnet.env), for programs that read it
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(super) subnet_file: Option<PathBuf>,
    /// The time to wait for the store [default: 10]
    #[arg(long, value_name = "SECONDS", requires = "store", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) wait: Option<u32>,
}

impl InStore {
    /// Returns the store of a network, if one is given. The agent reads the files, from another
    /// directory.
    fn of(&self, network: &LinkName) -> Option<Store> {
        if self.store.is_empty() {
            return None;
        }
        let file = |path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            Some(path::absolute(path).unwrap_or_else(|_| path.clone()))
        };
        let identity = file(&self.cert).zip(file(&self.key));
        let user = self.user.clone().zip(file(&self.password_file));
        let prefix = self.prefix.clone().unwrap_or_else(|| Store::prefix_of(network));
        Some(Store {
            endpoints: self.store.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
            prefix: format!("/{}", prefix.trim_matches('/')),
            ca: file(&self.ca),
            identity: identity.map(|(cert, key)| Identity { cert, key }),
            user: user.map(|(name, password_file)| User { name, password_file }),
            ttl: self.ttl.unwrap_or(Store::TTL),
            subnet_file: file(&self.subnet_file),
        })
    }
}

impl Args {
    /// The flags that are given.
    fn flags(&self) -> Flags {
        Flags::of(|flag| match flag {
            Flag::Internal => self.internal,
            Flag::Isolate | Flag::Open => false,
            Flag::NoMasquerade => self.no_masquerade,
            Flag::NoSpoof => self.no_spoof,
        })
    }

    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        if self.store.flat && self.store.store.is_empty() {
            return Err(Error::usage("--flat: the addresses of a flat network come from a store")
                .hint("name an etcd with `--store URL`")
                .into());
        }
        let done = match self.store.of(&self.name) {
            Some(store) => overlay::join(session, &self.joining(store)?).await?,
            None => overlay::overlay(session, &self.into()).await?,
        };
        let Some(done) = done else { return Ok(()) };
        let lines: Vec<_> =
            done.now.network.subnets.iter().map(|subnet| subnet.cidr.to_string()).collect();
        output.result(done, &lines)
    }

    fn joining(self, store: Store) -> Result<overlay::Joining> {
        let shape = self.shape()?;
        let wait = self.store.wait.unwrap_or(WAIT);
        Ok(overlay::Joining { on_host: self.on_host(), store, shape, wait })
    }

    /// The part that concerns this host only.
    fn on_host(self) -> overlay::OnHost {
        overlay::OnHost {
            flags: self.flags(),
            name: self.name,
            parent: self.parent,
            public_ip: self.hosts.public_ip,
            reach: self.hosts.reach,
            gateway: self.gateway,
            ip_range: self.ip_range,
            mtu: self.mtu,
            label: self.label,
        }
    }

    fn shape(&self) -> Result<Shape> {
        let InStore { host_subnet_len, subnet_min, subnet_max, .. } = &self.store;
        if host_subnet_len.len() > self.subnet.len() {
            return Err(Error::usage("--host-subnet-len: there are more of them than of --subnet")
                .hint("give at most one for each `--subnet`, in the same order")
                .into());
        }
        let mut lengths = [None; 2];
        for (Cidr(subnet), length) in self.subnet.iter().zip(host_subnet_len) {
            lengths[usize::from(subnet.is_ipv6())] = Some(*length);
        }
        Ok(Shape {
            subnets: self.subnet.clone(),
            lengths,
            bounds: [subnet_min.map(IpAddr::V4), subnet_max.map(IpAddr::V4)],
            backend: self.hosts.backend,
            vni: self.hosts.vni,
            port: self.hosts.port,
            direct_routing: self.hosts.direct_routing,
            flat: self.store.flat.then_some(Flat { multicast: self.store.multicast }),
            gateways: if self.store.flat { self.gateway.clone() } else { Vec::new() },
        })
    }
}

impl From<Args> for overlay::Overlay {
    fn from(mut args: Args) -> Self {
        Self {
            subnet: std::mem::take(&mut args.subnet),
            host_subnet: std::mem::take(&mut args.host_subnet),
            peer: std::mem::take(&mut args.hosts.peer),
            backend: args.hosts.backend.unwrap_or(BackendKind::Vxlan),
            vni: args.hosts.vni,
            port: args.hosts.port,
            direct_routing: args.hosts.direct_routing,
            flat: None,
            store: None,
            on_host: args.on_host(),
        }
    }
}
