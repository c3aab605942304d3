//! `macvlan`, and `create -d macvlan`: a network in the physical one, on a link of the host's that
//! stays as it is.

use std::net::IpAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session,
    bridge::Made,
    clean,
    differences::Differences,
    parent::{self, Found},
    rebuild,
    repair::reshape,
    ssh,
    subnets::Asked,
};
use crate::{
    error::Error,
    kernel::{Link, LinkKind},
    model::{self, Cidr, Firewall, LinkName, Mac, MacvlanMode, Mode, Network, Parent, Subnet},
    plan,
    state::State,
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
    /// Subnets, at most one of each family; else those of the parent's addresses.
    pub subnet: Vec<Cidr>,
    /// The physical network's routers; else those of the host's default routes on the parent.
    pub gateway: Vec<IpAddr>,
    /// Which addresses netcord assigns; else every free one.
    pub ip_range: Vec<Cidr>,
    /// In bytes; else the parent's.
    pub mtu: Option<u32>,
    /// Let the host and the endpoints reach each other.
    pub host_access: bool,
    /// Metadata to store with the network: keys and values.
    pub label: Vec<(String, String)>,
}

/// Ensures a macvlan network; `None`: it was a dry run.
///
/// # Errors
/// If a network or link of this name is there and differs, or the parent cannot carry macvlans.
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
    let mut state = host.state_with_rebuilt().await?;
    clean::dead(host, &mut state).await?;
    host.check_aside(&args.name)?;
    let network = if let Some(there) = state.networks().get(&args.name) {
        check_same(args, &asked, &there.network)?;
        there.network.clone()
    } else {
        let network = new_network(host, &state, args, &asked).await?;
        let inside = rebuild::inside(&host.kernel, host.kernel.netns_names().into_iter()).await;
        if inside.iter().any(|found| found.network == network.name) {
            // Its record was lost: what was asked for now says more than the marks do.
            state.adopt_network(network.clone());
        }
        network
    };
    host.look_inside(&mut state, &network.name).await?;
    let mut plan = plan::create(&network, &plan::Uplinks::default());
    reshape(&host.kernel, &mut plan).await?;
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(None) };
    tell(host, &network, mode).await?;
    Ok(Some(Changed::new(changed, Made { network })))
}

/// What surprises everybody once.
async fn tell(host: &Session<'_>, network: &Network, mode: MacvlanMode) -> Result<()> {
    let Some((parent, wiring)) = network.macvlan() else { return Ok(()) };
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
    } else if wiring.host_access.is_empty() {
        host.events.note(&format!(
            "the host and the endpoints of `{}` do not reach each other by `{}`, everybody else \
             there does; `--host-access` makes them",
            network.name, parent.link
        ));
    }
    Ok(())
}

async fn new_network(
    host: &Session<'_>,
    state: &State,
    args: &Macvlan,
    asked: &Asked<'_>,
) -> Result<Network> {
    let (kernel, mode) = (&host.kernel, args.mode);
    // Our own link is there already if the record of it was lost.
    let is_own = |l: &Link| args.host_access && l.kind == LinkKind::Macvlan && l.is_ours();
    if kernel.link(args.name.as_str()).await?.is_some_and(|link| !is_own(&link)) {
        return Err(Error::conflict(format!("a link `{}` exists already", args.name))
            .hint("choose another name for the network")
            .into());
    }
    let Found { link, vlan, lower } = parent::found(kernel, state, &args.parent).await?;
    parent::check_free(state, &args.name, &args.parent, Some(mode))?;
    let subnets = parent::subnets(kernel, &args.parent, link.as_ref(), asked).await?;
    let mtu = args.mtu.unwrap_or(lower.mtu);
    if mtu > lower.mtu {
        return Err(Error::usage(format!(
            "MTU {mtu} is more than that of `{}`, {}",
            lower.name, lower.mtu
        ))
        .into());
    }
    if mtu < 1280 && subnets.iter().any(|s| s.cidr.is_ipv6()) {
        return Err(
            Error::usage(format!("MTU {mtu} is too small for IPv6, which needs 1280")).into()
        );
    }
    let host_access = match &link {
        Some(link) if args.host_access => parent::own_addresses(kernel, link, &subnets).await?,
        _ => Vec::new(),
    };
    if args.host_access && host_access.is_empty() {
        let message = format!("--host-access: the host has no address on `{}`", args.parent);
        return Err(Error::conflict(message)
            .hint(format!("give it one first: `ip addr add ADDRESS/LEN dev {}`", args.parent))
            .into());
    }
    let mac = lower.mac.unwrap_or_else(|| Mac::of([0, 0, 0, 0].into()));
    Ok(Network {
        name: args.name.clone(),
        mode: Mode::Macvlan,
        foreign: false,
        mac: Mac::of_own_link(mac, args.name.as_str()),
        mtu,
        subnets,
        internal: false,
        isolate: false,
        masquerade: false,
        no_spoof: false,
        firewall: Firewall::default(),
        gates: Vec::new(),
        parent: Some(Parent {
            link: args.parent.clone(),
            vlan,
            macvlan: Some(model::Macvlan { mode, host_access }),
            filtered: false,
            moving: None,
        }),
        labels: args.label.iter().cloned().collect(),
    })
}

/// A network that is there must be as was asked for: nothing is changed to fit.
fn check_same(args: &Macvlan, asked: &Asked<'_>, there: &Network) -> Result<()> {
    let name = &there.name;
    let mut differences = Differences::default();
    differences.compare("mode", Mode::Macvlan.as_str(), there.mode.as_str());
    let cidrs: Vec<_> = there.subnets.iter().map(|s| s.cidr).collect();
    let wanted = if asked.has_subnets() {
        asked.subnets(Subnet::physical)?
    } else {
        asked.of(&cidrs, Subnet::physical)?
    };
    asked.compare(&wanted, there, &mut differences);
    if let Some((parent, wiring)) = there.macvlan() {
        differences.compare("parent", &args.parent, &parent.link);
        let mode = args.mode;
        differences.compare("macvlan mode", mode.as_str(), wiring.mode.as_str());
        differences.compare("host-access", args.host_access, !wiring.host_access.is_empty());
    }
    if let Some(mtu) = args.mtu {
        differences.compare("MTU", mtu, there.mtu);
    }
    differences.labels(&args.label, there);
    differences.refuse(
        &format!("network `{name}` exists"),
        &format!("use it as it is, or remove it first: `netcord rm {name}`"),
    )
}
