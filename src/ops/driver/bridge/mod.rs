//! `bridge`, and `create -d bridge`: makes a bridge network.
//!
//! - `network`: the network, made from a request or rebuilt, and the command that makes it

mod network;
mod outbound;

use std::net::IpAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::network::new_network;
pub(super) use self::network::{again, command, rebuilt, uplinks};
use crate::{
    error::Error,
    model::{Cidr, Driver, Endpoint, Flag, Flags, LinkName, Network, NetworkRecord, Subnet},
    ops::{
        Changed, Session,
        lookup::find,
        request::{
            differences::Differences,
            subnets::{Asked, Make},
        },
        upkeep::{
            firewall, forward_accepts, link_attrs,
            need::{Extent, Need},
        },
    },
    plan,
    state::{Load, State},
};

/// A bridge network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bridge {
    /// The network's name, and the bridge's.
    pub name: LinkName,
    /// Subnets, of which the first of each family has the default route; by default the lowest free one
    /// of docker's pools.
    pub subnet: Vec<Cidr>,
    /// Have no subnet: the bridge only switches frames.
    #[serde(default)]
    pub no_subnet: bool,
    /// The bridge's addresses; by default the first of each subnet.
    pub gateway: Vec<IpAddr>,
    /// Give the bridge no address.
    #[serde(default)]
    pub no_gateway: bool,
    /// The ranges from which addresses are assigned; by default the whole subnets.
    pub ip_range: Vec<Cidr>,
    /// The source addresses of packets that leave the network, at most one of each family; by default
    /// those of the outgoing link.
    pub outbound_addr: Vec<IpAddr>,
    /// The MTU in bytes; by default that of the link with the host's default route.
    pub mtu: Option<u32>,
    /// Add an IPv6 subnet, if none is given: a /64 of this host's unique local prefix.
    pub ipv6: bool,
    /// The flags; all are off by default.
    pub flags: Flags,
    /// Metadata to store with the network: keys and values.
    pub label: Vec<(String, String)>,
}

impl Bridge {
    /// A network for which netcord chooses subnet and MTU.
    pub fn new(name: LinkName) -> Self {
        Self {
            name,
            subnet: Vec::new(),
            no_subnet: false,
            gateway: Vec::new(),
            no_gateway: false,
            ip_range: Vec::new(),
            outbound_addr: Vec::new(),
            mtu: None,
            ipv6: false,
            flags: Flags::default(),
            label: Vec::new(),
        }
    }

    /// Returns how a subnet is made of its parts.
    fn new_subnet(&self) -> Make {
        // One of a physical network has only the gateway that is given.
        if self.no_gateway { Subnet::physical } else { Subnet::new }
    }

    /// Returns the subnets that were asked for.
    fn asked(&self) -> Result<(Asked<'_>, Vec<Subnet>)> {
        let asked = Asked::several(&self.subnet, &self.gateway, &self.ip_range)?;
        let subnets = asked.subnets(self.new_subnet())?;
        Ok((asked, subnets))
    }

    /// Checks what excludes each other.
    fn check(&self) -> Result<()> {
        let has = |flag| self.flags.has(flag);
        let excluded = [
            ("--no-subnet", self.no_subnet, "--subnet", !self.subnet.is_empty()),
            ("--no-subnet", self.no_subnet, "--gateway", !self.gateway.is_empty()),
            ("--no-subnet", self.no_subnet, "--ip-range", !self.ip_range.is_empty()),
            ("--no-subnet", self.no_subnet, "--outbound-addr", !self.outbound_addr.is_empty()),
            ("--no-subnet", self.no_subnet, "--ipv6", self.ipv6),
            ("--no-subnet", self.no_subnet, "--no-gateway", self.no_gateway),
            ("--no-subnet", self.no_subnet, "--no-spoof", has(Flag::NoSpoof)),
            ("--no-subnet", self.no_subnet, "--open", has(Flag::Open)),
            ("--internal", has(Flag::Internal), "--open", has(Flag::Open)),
            ("--no-gateway", self.no_gateway, "--gateway", !self.gateway.is_empty()),
        ];
        for (one, is_set, other, is_other_set) in excluded {
            if is_set && is_other_set {
                return Err(Error::usage(format!("{one} and {other} exclude each other")).into());
            }
        }
        if self.no_gateway && !has(Flag::Internal) {
            return Err(Error::usage("--no-gateway: nothing leads out of the network then")
                .hint("add `--internal`, or leave out `--no-gateway`")
                .into());
        }
        outbound::check(self)
    }

    /// Adds the differences of an existing network's subnets.
    fn compare_subnets(
        &self,
        asked: &Asked<'_>,
        wanted: &[Subnet],
        there: &Network,
        differences: &mut Differences,
    ) {
        asked.compare(wanted, there, differences);
        for subnet in &there.subnets {
            if self.no_subnet {
                differences.compare("subnet", "none", subnet.cidr);
            }
            if let Some(gateway) = subnet.gateway.filter(|_| self.no_gateway) {
                differences.compare("gateway", "none", gateway);
            }
        }
    }
}

/// The network that exists now.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The network.
    pub network: Network,
}

/// Ensures a bridge network; returns `None` for a dry run.
///
/// # Errors
/// If a network or link of this name exists and differs, or its subnet is in use.
pub async fn bridge(host: &mut Session<'_>, args: &Bridge) -> Result<Option<Changed<Made>>> {
    args.check()?;
    let (asked, wanted) = args.asked()?;
    let mut state = host.enter(Need::Changes, Extent::of(&args.name)).await?;
    let (network, endpoints) = match state.networks().get(&args.name) {
        Some(NetworkRecord { network, endpoints }) => {
            check_same(args, &asked, &wanted, network)?;
            (network.clone(), endpoints.clone())
        }
        None => (new_network(host, &state, args, wanted).await?, Vec::new()),
    };
    make(host, &mut state, &network, &endpoints).await
}

/// Makes what is missing of a network.
async fn make(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<Option<Changed<Made>>> {
    let (network, mut plan) = forward_accepts::renewed(host, network)?;
    plan.extend(plan::create(&network, &uplinks(&host.kernel, &network).await?));
    // If our rules were deleted, those of published ports were among them.
    plan.extend(firewall::ports(&network, endpoints));
    link_attrs::restore(&host.kernel, &mut plan).await?;
    let Some(changed) = host.carry_out(&plan, state).await? else { return Ok(None) };
    Ok(Some(Changed::new(changed, Made { network })))
}

/// What a plugin's configuration speaks of, and an existing network has to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// The flags.
    pub flags: Flags,
    /// Whether the bridge has an address.
    pub gateway: bool,
}

/// Returns the network that a plugin's configuration names. One that exists, of any driver, has to have
/// the subnets and what else the configuration speaks of, and is left as it is, but for what is missing of a
/// bridge network without endpoints; one that does not is made.
///
/// # Errors
/// If the network differs, or could not be made.
pub(in crate::ops) async fn needed(
    host: &mut Session<'_>,
    args: &Bridge,
    said: Said,
) -> Result<Network> {
    args.check()?;
    let (asked, wanted) = args.asked()?;
    let extent = Extent { load: Load::Of(&[]), ..Extent::of(&args.name) };
    let state = host.look(extent).await?;
    let is_there = state.networks().contains_key(&args.name);
    if is_there || host.kernel.has_link(&args.name) {
        let record = find::network(&host.kernel, &state, &args.name).await?;
        let there = &record.network;
        let mut differences = Differences::default();
        let is_spoken = said.gateway && there.driver.makes_bridge();
        let spoken = Bridge { no_gateway: args.no_gateway && is_spoken, ..args.clone() };
        spoken.compare_subnets(&asked, &wanted, there, &mut differences);
        if said.gateway && args.gateway.is_empty() && there.is_without_gateway() {
            for gateway in wanted.iter().filter_map(|subnet| subnet.gateway) {
                differences.compare("gateway", gateway, "none");
            }
        }
        differences.flags_among(said.flags, args.flags, there);
        differences.refuse_network(there)?;
        // The call that made it may have been killed before it was complete.
        let has_endpoints =
            !record.endpoints.is_empty() || state.others(&args.name).next().is_some();
        if there.driver != Driver::Bridge || has_endpoints {
            return Ok(there.clone());
        }
        let there = there.clone();
        drop(state);
        return completed(host, &there).await;
    }
    drop(state);
    made(bridge(host, args).await?)
}

/// Makes what is missing of a network that is on record, or was.
async fn completed(host: &mut Session<'_>, network: &Network) -> Result<Network> {
    let mut state = host.enter(Need::Changes, Extent::of(&network.name)).await?;
    let now = state.networks().get(&network.name).cloned();
    let (network, endpoints) = match &now {
        Some(NetworkRecord { network, endpoints }) => (network, endpoints.as_slice()),
        None => (network, [].as_slice()),
    };
    made(make(host, &mut state, network, endpoints).await?)
}

fn made(done: Option<Changed<Made>>) -> Result<Network> {
    match done {
        Some(made) => Ok(made.now.network),
        None => Err(Error::usage("a plugin has no dry run").into()),
    }
}

/// Checks that an existing network is as requested. It is not changed to fit.
fn check_same(args: &Bridge, asked: &Asked<'_>, wanted: &[Subnet], there: &Network) -> Result<()> {
    let name = &there.name;
    if there.driver.is_foreign() {
        return Err(Error::conflict(format!("bridge `{name}` is not netcord's"))
            .hint("choose another name; to use it, `attach` is enough")
            .into());
    }
    let mut differences = Differences::of_mode(Driver::Bridge.word(), there);
    args.compare_subnets(asked, wanted, there, &mut differences);
    let mut compare =
        |what: &str, wanted: String, found: String| differences.compare(what, wanted, found);
    if args.ipv6 && !there.has_ipv6() {
        compare("IPv6", "wanted".into(), "off".into());
    }
    if let Some(mtu) = args.mtu {
        compare("MTU", mtu.to_string(), there.mtu.to_string());
    }
    outbound::compare(&args.outbound_addr, there, &mut differences);
    differences.flags(args.flags, there);
    differences.labels(&args.label, there);
    differences.refuse_network(there)
}
