//! `run`: runs a command in a namespace of its own, and removes everything when it has ended.

use std::{any::Any, ffi::OsString};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    Session,
    attach::{self, Attach, Wiring},
    before_command,
    lookup::{find, resolve},
    upkeep::{
        endpoints,
        need::{Extent, Need},
        removal,
    },
};
use crate::{
    agents::{Agent, LivenessPipe},
    error::{Error, is_interruption},
    kernel::Netns,
    model::{Endpoint, LinkName, Network, RunNetwork, Target},
    plan::{self, Plan, reverse},
    process::{become_program, child::Child},
};

/// A command, and how to connect it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The network that it is attached to.
    pub network: RunNetwork,
    /// How to connect it.
    pub wiring: Wiring,
    /// The command, and its arguments.
    pub command: Vec<OsString>,
}

/// Runs a command in a namespace of its own, and removes everything when it ends. Returns the
/// command's exit code.
///
/// # Errors
/// If the command cannot be attached or executed.
pub async fn run(host: &mut Session<'_>, args: Run) -> Result<u8> {
    let Run { network, wiring, command } = args;
    let network = match before_command(place(host, network, &wiring).await, &command)? {
        Place::Own(network) => network,
        Place::Host => {
            let _theirs = host.events.hand_over();
            return Err(become_program(None, &command));
        }
        Place::Of(netns) => {
            let _theirs = host.events.hand_over();
            return Err(become_program(Some(&netns), &command));
        }
    };
    let supervised = before_command(start(host, network, wiring, &command).await, &command)?;
    let Supervised { mut child, cookie, theirs, _liveness_pipe } = supervised;
    let code = child.wait()?;
    drop(theirs);
    let _doing = host.events.doing("removing what the command was attached to");
    if let Err(error) = clear_at_last(host, cookie).await {
        // The run supervisor tries again.
        host.events.warn(&format!("what the command was attached to is still there: {error:#}"));
    }
    Ok(code)
}

/// The namespace in which a command runs.
enum Place {
    /// Its own, attached to this network.
    Own(Option<LinkName>),
    /// That of a target.
    Of(Netns),
    Host,
}

async fn place(host: &Session<'_>, network: RunNetwork, wiring: &Wiring) -> Result<Place> {
    if host.dry_run {
        return Err(Error::usage("`run` does not support --dry-run")
            .hint("see what it would be attached by: `netcord --dry-run attach NETWORK TARGET`")
            .into());
    }
    let is_named = wiring.name.is_some();
    Ok(match network {
        RunNetwork::Network(network) => {
            let name = find::named(host, &network, &[]).await?;
            Place::Own(Some(name))
        }
        RunNetwork::None => {
            check_unwired(wiring, "none")?;
            Place::Own(None)
        }
        RunNetwork::Host | RunNetwork::Container(_) if is_named => {
            return Err(
                Error::usage("--name: the namespace exists already, and is not renamed").into()
            );
        }
        RunNetwork::Host | RunNetwork::Container(Target::Host) => {
            check_unwired(wiring, "host")?;
            Place::Host
        }
        RunNetwork::Container(target) => {
            check_unwired(wiring, "container:TARGET")?;
            Place::Of(resolve::resolve(&host.kernel, host.events, &target, None).await?.netns)
        }
    })
}

/// Refuses flags for an endpoint if there is none.
fn check_unwired(wiring: &Wiring, mode: &str) -> Result<()> {
    let flags = [
        ("--ip", !wiring.ip.is_empty()),
        ("--dhcp", wiring.dhcp),
        ("--gateway", !wiring.gateway.is_empty()),
        ("--mac", wiring.mac.is_some()),
        ("--ifname", wiring.ifname.is_some()),
        ("--host-ifname", wiring.host_ifname.is_some()),
        ("--mtu", wiring.mtu.is_some()),
        ("--route", !wiring.route.is_empty()),
        ("--publish", !wiring.publish.is_empty()),
    ];
    match flags.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::usage(format!(
            "{flag} configures an endpoint, and --network {mode} has none"
        ))
        .hint("choose a network: --network NETWORK")
        .into()),
    }
}

/// A running command with its run supervisor.
struct Supervised {
    child: Child,
    cookie: u64,
    /// Keeps our output off the command's terminal.
    theirs: Box<dyn Any>,
    /// The supervisor cleans up when this is dropped, or this process ends.
    _liveness_pipe: LivenessPipe,
}

async fn start(
    host: &mut Session<'_>,
    network: Option<LinkName>,
    wiring: Wiring,
    command: &[OsString],
) -> Result<Supervised> {
    let mut child = Child::start(&["run", "--start-barrier"], command)?;
    let (pid, started) = child.process();
    let cookie = Netns::of_process(pid)?.cookie();
    let agent = Agent::RunSupervisor { pid, started, cookie };
    let liveness_pipe =
        agent.start_with_liveness_pipe().context("cannot look after the command")?;
    let wired = match network {
        Some(network) => {
            let (targets, wait) = (vec![Target::Pid(pid)], None);
            let args = Attach { network: network.into(), targets, wiring, wait };
            attach::wire(host, &args).await.map(drop)
        }
        None => name(host, pid, &wiring).await,
    };
    if let Err(error) = wired {
        child.end()?;
        return Err(error);
    }
    let theirs = host.events.hand_over();
    child.go()?;
    Ok(Supervised { child, cookie, theirs, _liveness_pipe: liveness_pipe })
}

/// Names a namespace without endpoints, and gives it a running `lo`.
async fn name(host: &mut Session<'_>, pid: u32, wiring: &Wiring) -> Result<()> {
    let target = Target::Pid(pid);
    let found = resolve::resolve(&host.kernel, host.events, &target, None).await?;
    let mut state = host.enter(Need::Changes, Extent::of(None)).await?;
    let (name, naming) = resolve::naming(&state, &found, wiring.name.as_ref(), true)?;
    let mut plan = naming.map(|named| plan::name(&named)).unwrap_or_default();
    plan.extend(plan::lo_up(&Some(name.clone())));
    host.kernel.know(name, found.netns);
    host.carry_out(&plan, &mut state).await.map(drop)
}

/// Cleans up, and ignores signals meanwhile: whoever sent one waits for our end.
async fn clear_at_last(host: &mut Session<'_>, cookie: u64) -> Result<()> {
    loop {
        match clear(host, cookie).await {
            Err(error) if is_interruption(&error) => {}
            cleared => return cleared,
        }
    }
}

/// Removes all endpoints of a namespace, and its names.
pub(super) async fn clear(host: &mut Session<'_>, cookie: u64) -> Result<()> {
    let mut state = host.enter(Need::Removes, Extent::of(None)).await?;
    let of_it = |e: &&Endpoint| e.cookie == cookie;
    let attached: Vec<(Network, Vec<Endpoint>)> = state
        .networks()
        .values()
        .map(|r| (r.network.clone(), r.endpoints.iter().filter(of_it).cloned().collect()))
        .collect();
    for named in state.names().to_vec() {
        // Its process has ended, and nothing has to be done inside.
        host.kernel.forget(&named.name);
    }
    for (network, endpoints) in attached.iter().filter(|(_, endpoints)| !endpoints.is_empty()) {
        endpoints::away(host, &mut state, network, endpoints).await?;
    }
    let names = state.names().iter().filter(|named| named.cookie == cookie);
    let plan: Plan =
        names.flat_map(|n| removal::outside(reverse(&plan::name(n), |_| false))).collect();
    host.carry_out(&plan, &mut state).await.map(drop)
}
