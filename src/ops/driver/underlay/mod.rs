//! `underlay`: a bridge that takes over a link of the host's, safely.
//!
//! Before the first change a watchdog is armed and the list of what hangs on the link is on disk;
//! after the last one it is checked that all of it has arrived. What is not confirmed in time, or
//! was not finished, is undone: by the watchdog, or by the next command if that was killed too.

mod manager;
mod outside;
mod preflight;
mod undo;
mod uplink;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    foreign,
    parent::{self, Found},
};
use crate::{
    agents::Agent,
    error::{Error, Kind},
    kernel::{Kernel, Link},
    model::{
        self, Cidr, Driver, Firewall, Flag, Flags, LinkConfig, LinkName, Moving, Network, Parent,
        Subnet,
    },
    ops::{
        Changed, Session, confirm,
        request::{differences::Differences, subnets::Asked, words::Words},
        upkeep::{clean, rebuild},
    },
    plan::{self, BridgedFrames, Mark, Plan, Record, Resource, Step, Takeover, Uplinks},
    process::clock,
    state::State,
};
pub(super) use undo::{commands, removal};
pub(in crate::ops) use undo::{overdue, undo};
pub(super) use uplink::up;
pub(in crate::ops) use uplink::{Lost, Uplink, again, gone};

/// How many gateways are asked whether they answer: more, and it is no host but a router.
const GATEWAYS: usize = 8;

/// A network that bridges the host's uplink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Underlay {
    /// The network's name, and the bridge's.
    pub name: LinkName,
    /// The host's link that becomes a port of the bridge.
    pub parent: LinkName,
    /// Which addresses of the physical network netcord assigns; else every free one.
    pub ip_range: Vec<Cidr>,
    /// The endpoints' gateways; else the host's on that link.
    pub gateway: Vec<IpAddr>,
    /// Allow a link that the host is reached through, or that has its default route.
    pub takeover: bool,
    /// Undo the move unless it is confirmed within this many seconds.
    pub confirm_within: Option<u32>,
    /// The terminal on which the watchdog reports that it undid the move.
    pub terminal: Option<PathBuf>,
    /// Flags, of those that an underlay supports: see [`Underlay::FLAGS`].
    pub flags: Flags,
    /// Metadata to store with the network: keys and values.
    pub label: Vec<(String, String)>,
}

impl Underlay {
    /// The flags that an underlay network supports.
    pub const FLAGS: [Flag; 2] = [Flag::Isolate, Flag::NoSpoof];
}

/// The network that is there now.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The network.
    pub network: Network,
    /// Within how many seconds it must be confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<u32>,
}

/// Ensures a network that bridges the host's uplink; `None`: it was a dry run.
///
/// # Errors
/// If the parent cannot be moved, or what hangs on it did not arrive; it was given back then.
pub async fn underlay(host: &mut Session<'_>, args: &Underlay) -> Result<Option<Changed<Made>>> {
    let asked = Asked::new(&[], &args.gateway, &args.ip_range)?;
    let mut state = host.state_with_rebuilt().await?;
    clean::dead(host, &mut state).await?;
    host.check_aside(&args.name)?;
    let there = state.networks().get(&args.name).map(|record| record.network.clone());
    if let Some(there) = &there {
        check_same(args, &asked, there)?;
    }
    let found = preflight::parent(&host.kernel, &state, args).await?;
    let link_config = match &found.link {
        Some(link) => host.kernel.link_config(link).await?,
        None => LinkConfig::default(),
    };
    let bridge = host.kernel.link(args.name.as_str()).await?;
    let plug = !bridge.is_some_and(|bridge| found.lower.is_port_of(&bridge));
    if plug {
        preflight::check_takeover(host, args, &link_config).await?;
        manager::warn(host.events, args);
    }
    let network = match there {
        Some(there) => there,
        None => new_network(&host.kernel, args, &asked, &found).await?,
    };
    let driver = driver_of(&network)?;
    let filtered = driver.filtered || host.kernel.bridged_frames()? == BridgedFrames::MeetIptables;
    let driver = model::Underlay { filtered, ..driver.clone() };
    let network = Network { driver: Driver::Underlay(driver.clone()), ..network };
    // Somebody may also have put things on the link since it moved.
    let moves = plug || !link_config.is_empty();
    let moving = Moving { link_config: link_config.clone(), deadline: None };
    let planned = if moves { network.with_moving(Some(moving)) } else { network.clone() };
    let plan = plan::takeover(&Takeover {
        network: &planned,
        driver: &driver,
        parent: &args.parent,
        link_config: &link_config,
        switches: &host.kernel.switches(&args.parent)?,
        plug,
    });
    let patience = args.confirm_within.filter(|_| moves);
    let changed = if moves && !host.dry_run {
        let doing = host.events.doing("asking the wire for the gateways");
        let answering = match &found.link {
            Some(link) => host.kernel.who_has(link, &gateways(&link_config))?,
            None => BTreeMap::new(),
        };
        drop(doing);
        let check = Check { network: &planned, answering: answering.into_keys().collect() };
        let terminal = args.terminal.as_deref();
        Some(guarded(host, &mut state, &check, &plan, patience, terminal).await?)
    } else {
        host.carry_out(&plan, &mut state).await?
    };
    let Some(changed) = changed else { return Ok(None) };
    Ok(Some(Changed::new(changed, Made { network, confirm_within: patience })))
}

/// Carries out the plan with a watchdog beside it.
async fn guarded(
    host: &mut Session<'_>,
    state: &mut State,
    check: &Check<'_>,
    plan: &Plan,
    patience: Option<u32>,
    terminal: Option<&Path>,
) -> Result<bool> {
    let network = check.network;
    let agent = Agent::Watchdog { network: &network.name, terminal };
    // It hears when this process ends, however that comes.
    let _liveness_pipe = agent.start_with_liveness_pipe()?;
    let changed = host.carry_out(plan, state).await?.unwrap_or_default();
    if let Err(error) = settle(host, state, check, patience).await {
        undo(host, state, network).await?;
        return Err(error);
    }
    Ok(changed)
}

/// What was moved stays, if it has arrived: for good, or if that is confirmed in time.
async fn settle(
    host: &mut Session<'_>,
    state: &mut State,
    check: &Check<'_>,
    patience: Option<u32>,
) -> Result<()> {
    let network = check.network;
    check.all_arrived(host).await?;
    check.gateways_answer(host).await?;
    let settled = match (patience, network.driver.moving()) {
        (Some(seconds), Some(moving)) => waiting(network, moving, seconds),
        _ => confirm::settled(network),
    };
    host.carry_out(&vec![settled], state).await.map(drop)
}

/// The network stays if it is confirmed in time.
fn waiting(network: &Network, moving: &Moving, seconds: u32) -> Step {
    // The second that has begun does not count.
    let deadline = clock::since_boot().as_secs() + 1 + u64::from(seconds);
    let moving = Moving { deadline: Some(deadline), ..moving.clone() };
    Step::create(
        "record the deadline: the move is undone unless it is confirmed in time",
        Resource::Record(Record::Network(network.with_moving(Some(moving)))),
    )
}

/// What must be so when all has moved.
struct Check<'a> {
    network: &'a Network,
    /// Gateways that answered before.
    answering: BTreeSet<IpAddr>,
}

impl Check<'_> {
    /// Everything that was to move has.
    async fn all_arrived(&self, host: &Session<'_>) -> Result<()> {
        let network = self.network;
        let model::Underlay { parent, moving: Some(moving), .. } = driver_of(network)? else {
            return Ok(());
        };
        let found = host.kernel.link_config(&bridge(host, network).await?).await?;
        match moving.link_config.moved(&parent.link, &network.name).lacking_in(&found) {
            None => Ok(()),
            Some(lacking) => {
                let message = format!(
                    "{lacking} did not arrive on `{}`: everything is as it was before",
                    network.name
                );
                Err(Error::new(Kind::Failed, message)
                    .hint(format!("does something else manage `{}`?", parent.link))
                    .into())
            }
        }
    }

    /// Who answered before answers the bridge too: what is between may not like it.
    async fn gateways_answer(&self, host: &Session<'_>) -> Result<()> {
        let bridge = bridge(host, self.network).await?;
        let _doing = host.events.doing("asking the wire whether the gateways still answer");
        let heard = host.kernel.who_has(&bridge, &self.answering)?;
        match self.answering.iter().find(|gateway| !heard.contains_key(gateway)) {
            None => Ok(()),
            Some(silent) => {
                let message = format!(
                    "gateway {silent} does not answer `{}`: everything is as it was before",
                    bridge.name
                );
                Err(Error::new(Kind::Failed, message)
                    .hint("what filters bridged frames: `nft list tables bridge`, the switch?")
                    .into())
            }
        }
    }
}

async fn bridge(host: &Session<'_>, network: &Network) -> Result<Link> {
    let name = &network.name;
    let link = host.kernel.link(name.as_str()).await?;
    link.ok_or_else(|| Error::conflict(format!("bridge `{name}` is gone")).into())
}

/// Whom the host reaches others by.
fn gateways(link_config: &LinkConfig) -> BTreeSet<IpAddr> {
    let hops = link_config.routes.iter().flat_map(|route| &route.hops);
    hops.filter_map(|hop| hop.gateway).take(GATEWAYS).collect()
}

async fn new_network(
    kernel: &Kernel,
    args: &Underlay,
    asked: &Asked<'_>,
    found: &Found,
) -> Result<Network> {
    let parent = Parent { link: args.parent.clone(), vlan: found.vlan.clone() };
    let mut network = of_link(kernel, &args.name, &found.lower, parent).await?;
    network.subnets = subnets(kernel, &args.parent, found.link.as_ref(), asked).await?;
    network.flags = args.flags;
    network.labels = args.label.iter().cloned().collect();
    Ok(network)
}

/// An underlay network as far as its bridge tells, when its record is lost. Which addresses were
/// ours to give it does not tell.
pub(super) async fn rebuilt(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
    parent: LinkName,
) -> Result<Network> {
    let filtered = kernel.bridged_frames()? == BridgedFrames::MeetIptables;
    let asked = Asked::new(&[], &[], &[])?;
    let subnets = subnets(kernel, &parent, Some(bridge), &asked).await?;
    let mark = bridge.alias.as_deref().and_then(Mark::read);
    let flags = Flags::of(|flag| mark.is_some_and(|mark| mark.says(flag.word())));
    let parent = Parent { link: parent, vlan: None };
    let looks = of_link(kernel, name, bridge, parent.clone()).await?;
    let driver = Driver::Underlay(model::Underlay { parent, filtered, moving: None });
    let mut network = Network { driver, subnets, flags, ..looks };
    if let Some(mark) = mark {
        rebuild::add_ranges(&mut network, mark);
    }
    Ok(network)
}

/// A network whose bridge looks like this link.
async fn of_link(kernel: &Kernel, name: &LinkName, link: &Link, parent: Parent) -> Result<Network> {
    let looks = foreign::network(kernel, name, link, Firewall::Iptables).await?;
    let driver = Driver::Underlay(model::Underlay { parent, filtered: false, moving: None });
    Ok(Network { driver, ..looks })
}

/// The subnets of the link's addresses; of a link that has none there are none.
async fn subnets(
    kernel: &Kernel,
    parent: &LinkName,
    link: Option<&Link>,
    asked: &Asked<'_>,
) -> Result<Vec<Subnet>> {
    let own = match link {
        Some(link) => kernel.addresses_of(link).await?,
        None => Vec::new(),
    };
    if own.is_empty() && asked.is_empty() {
        return Ok(Vec::new());
    }
    parent::subnets(kernel, parent, link, asked).await
}

/// A network that is there must be as was asked for: nothing is changed to fit.
fn check_same(args: &Underlay, asked: &Asked<'_>, there: &Network) -> Result<()> {
    let mut differences = Differences::of_mode("underlay", there);
    let cidrs: Vec<_> = there.subnets.iter().map(|s| s.cidr).collect();
    asked.compare(&asked.of(&cidrs, Subnet::physical)?, there, &mut differences);
    if let Some(parent) = there.driver.uplink() {
        differences.compare("parent", &args.parent, &parent.link);
    }
    differences.flags(args.flags, there);
    differences.labels(&args.label, there);
    differences.refuse_network(there)
}

/// What an underlay network has besides its bridge.
fn driver_of(network: &Network) -> Result<&model::Underlay> {
    network.driver.underlay().ok_or_else(|| {
        Error::conflict(format!("network `{}` is not an underlay", network.name)).into()
    })
}

/// The plan that repairs a network, and what became of its parent if that cannot simply be put back.
pub(super) async fn repair(
    kernel: &Kernel,
    network: &Network,
    driver: &model::Underlay,
) -> Result<(Plan, Option<Lost>)> {
    if driver.moving.is_some() {
        // One that is not settled is for its watchdog to undo.
        return Ok((Plan::new(), None));
    }
    let mut plan = plan::create(network, &Uplinks::default());
    let (back, lost) = uplink::put_back(kernel, network, &driver.parent.link).await?;
    plan.extend(back);
    Ok((plan, lost))
}

/// The command that makes a network.
pub(super) fn command(network: &Network, driver: &model::Underlay) -> Words {
    Words::new(["underlay", network.name.as_str()])
        .flag("--parent", &driver.parent.link)
        .switch("--takeover", true)
        .switch("--no-confirm", true)
        .rest_of(network)
}
