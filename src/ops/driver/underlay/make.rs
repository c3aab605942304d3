//! `underlay`, and `create -d underlay`: the move of a link's configuration to its new bridge.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use anyhow::Result;

use super::{
    arrival::Check,
    manager,
    network::{check_same, driver_of, new_network},
    preflight,
    request::{Made, Underlay},
    undo::undo,
};
use crate::{
    agents::Agent,
    error::{Error, Kind},
    model::{self, Driver, LinkConfig, Moving, Network},
    ops::{
        Changed, Session,
        request::subnets::Asked,
        upkeep::need::{Extent, Need},
    },
    plan::{self, BridgedFrames, Plan, Record, Resource, Step, Takeover},
    process::clock,
    state::State,
};

/// The maximum number of gateways to check: with more, this host is a router.
const GATEWAYS: usize = 8;

/// Ensures a network that bridges the host's uplink; returns `None` for a dry run.
///
/// # Errors
/// If the parent cannot be moved, or its configuration did not arrive, in which case the
/// move was undone.
pub async fn underlay(host: &mut Session<'_>, args: &Underlay) -> Result<Option<Changed<Made>>> {
    let asked = Asked::new(&[], &args.gateway, &args.ip_range)?;
    let mut state = host.enter(Need::Changes, Extent::of(&args.name)).await?;
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
    // A user may have added addresses or routes to the link since the move.
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
        let answering = answering.into_keys().collect();
        let check = Check { network: &planned, answering };
        let terminal = args.terminal.as_deref();
        Some(guarded(host, &mut state, &check, &plan, patience, terminal).await?)
    } else {
        host.carry_out(&plan, &mut state).await?
    };
    let Some(changed) = changed else { return Ok(None) };
    Ok(Some(Changed::new(changed, Made { network, confirm_within: patience })))
}

/// Carries out the plan with a watchdog.
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
    // The pipe closes when this process ends, for whatever reason.
    let _liveness_pipe = agent.start_with_liveness_pipe()?;
    let changed = host.carry_out(plan, state).await?.unwrap_or_default();
    match settle(host, state, check, patience).await {
        Ok(()) => Ok(changed),
        Err(error) => Err(taken_back(host, state, network, error).await),
    }
}

/// Undoes a move that did not settle; returns the error to report.
async fn taken_back(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    error: anyhow::Error,
) -> anyhow::Error {
    let undone = match host.kernel.reconnect() {
        Ok(()) => undo(host, state, network).await,
        Err(error) => Err(error),
    };
    let Err(left) = undone else { return error };
    let message = format!("{error:#}; and the move could not be undone: {left:#}");
    let again = format!("the watchdog tries it again: see `netcord doctor {}`", network.name);
    Error::new(Kind::NotRolledBack, message).hint(again).into()
}

/// Keeps the move if everything has arrived: for good, or if it is confirmed in time.
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
        _ => settled(network),
    };
    host.carry_out(&vec![settled], state).await.map(drop)
}

/// Marks the move as finished: the configuration for undoing it is no longer needed.
pub(in crate::ops) fn settled(network: &Network) -> Step {
    Step::create(
        "record that the move is confirmed",
        Resource::Record(Record::Network(network.with_moving(None))),
    )
}

/// Marks the move as waiting for confirmation.
fn waiting(network: &Network, moving: &Moving, seconds: u32) -> Step {
    // The current second does not count.
    let deadline = clock::since_boot().as_secs() + 1 + u64::from(seconds);
    let moving = Moving { deadline: Some(deadline), ..moving.clone() };
    Step::create(
        "record the deadline: the move is undone unless it is confirmed in time",
        Resource::Record(Record::Network(network.with_moving(Some(moving)))),
    )
}

/// Returns the gateways by which the host reaches others.
fn gateways(link_config: &LinkConfig) -> BTreeSet<IpAddr> {
    let hops = link_config.routes.iter().flat_map(|route| &route.hops);
    hops.filter_map(|hop| hop.gateway).take(GATEWAYS).collect()
}
