//! `macvlan`, and `create -d macvlan`: makes a network on a link of the host, which does not
//! change.
//!
//! - `network`: the network, made from a request, rebuilt and repaired, and the command that makes it

mod network;

use std::net::IpAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::network::new_network;
pub(super) use self::network::{command, rebuilt, repair};
use super::bridge::Made;
use crate::{
    error::Error,
    model::{self, Cidr, LinkName, MacvlanMode, Network, Subnet},
    ops::{
        Changed, Session,
        lookup::{inside::inside, ssh},
        request::{differences::Differences, subnets::Asked},
        upkeep::{
            link_attrs,
            need::{Extent, Need},
        },
    },
    plan,
};

/// A macvlan network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Macvlan {
    /// The network's name.
    pub name: LinkName,
    /// The host's link; a VLAN link (`eth0.100`) is made if it is missing.
    pub parent: LinkName,
    /// Which endpoints reach each other.
    pub mode: MacvlanMode,
    /// Subnets, at most one of each family; by default those of the parent's addresses.
    pub subnet: Vec<Cidr>,
    /// Have no subnet: programs inside assign the addresses.
    #[serde(default)]
    pub no_subnet: bool,
    /// The routers; by default those of the host's default routes on the parent.
    pub gateway: Vec<IpAddr>,
    /// The ranges from which addresses are assigned; by default every free address.
    pub ip_range: Vec<Cidr>,
    /// The MTU in bytes; by default the parent's.
    pub mtu: Option<u32>,
    /// Let the host and the endpoints reach each other.
    pub host_access: bool,
    /// Metadata to store with the network: keys and values.
    pub label: Vec<(String, String)>,
}

/// Ensures a macvlan network; returns `None` for a dry run.
///
/// # Errors
/// If a network or link of this name exists and differs, or the parent cannot have
/// macvlans.
pub async fn macvlan(host: &mut Session<'_>, args: &Macvlan) -> Result<Option<Changed<Made>>> {
    let asked = Asked::new(&args.subnet, &args.gateway, &args.ip_range)?;
    let mode = args.mode;
    if args.host_access && mode != MacvlanMode::Bridge {
        return Err(Error::usage(format!(
            "--host-access: in mode {} the endpoints do not reach a macvlan of the host's either",
            mode.as_str()
        ))
        .hint("leave out `--mode`, or `--host-access`")
        .into());
    }
    let mut state = host.enter(Need::Changes, Extent::of(&args.name)).await?;
    let network = if let Some(there) = state.networks().get(&args.name) {
        check_same(args, &asked, &there.network)?;
        there.network.clone()
    } else {
        let network = new_network(host, &state, args, &asked).await?;
        let inside = inside(&host.kernel, host.kernel.netns_names().into_iter()).await;
        if inside.iter().any(|found| found.network == network.name) {
            // The record was lost, and the request contains more than the marks.
            state.adopt_network(network.clone());
        }
        network
    };
    host.look_inside(&mut state, &network.name).await?;
    let mut plan = plan::create(&network, &plan::Uplinks::default());
    link_attrs::restore(&host.kernel, &mut plan).await?;
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(None) };
    tell(host, &network, mode).await?;
    Ok(Some(Changed::new(changed, Made { network })))
}

/// Explains what surprises new users.
async fn tell(host: &Session<'_>, network: &Network, mode: MacvlanMode) -> Result<()> {
    let Some(model::Macvlan { parent, host_access, .. }) = network.driver.macvlan() else {
        return Ok(());
    };
    if mode == MacvlanMode::Passthru {
        host.events.note(&format!(
            "who is attached has `{}` to itself: the host reaches nothing by it then",
            parent.link
        ));
        if let Some(peer) = ssh::peer_by(&host.kernel, parent.link.as_str(), &[]).await? {
            host.events.warn(&format!(
                "your SSH connection from {peer} comes by `{}`: the first `netcord attach {}` cuts \
                 you off",
                parent.link, network.name
            ));
        }
    } else if host_access.is_empty() {
        host.events.note(&format!(
            "the host and the endpoints of `{}` do not reach each other by `{}`, everybody else \
             there does; `--host-access` makes them",
            network.name, parent.link
        ));
    }
    Ok(())
}

/// Checks that an existing network is as requested. It is not changed to fit.
fn check_same(args: &Macvlan, asked: &Asked<'_>, there: &Network) -> Result<()> {
    let mut differences = Differences::of_mode("macvlan", there);
    let cidrs: Vec<_> = there.subnets.iter().map(|s| s.cidr).collect();
    let wanted = if asked.has_subnets() {
        asked.subnets(Subnet::physical)?
    } else {
        asked.of(&cidrs, Subnet::physical)?
    };
    asked.compare(&wanted, there, &mut differences);
    if let Some(driver) = there.driver.macvlan() {
        differences.compare("parent", &args.parent, &driver.parent.link);
        differences.compare("macvlan mode", args.mode.as_str(), driver.mode.as_str());
        differences.compare("host-access", args.host_access, !driver.host_access.is_empty());
    }
    if let Some(mtu) = args.mtu {
        differences.compare("MTU", mtu, there.mtu);
    }
    differences.labels(&args.label, there);
    differences.refuse_network(there)
}
