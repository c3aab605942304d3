//! `none`: makes a namespace with nothing but a running `lo`, or names an existing one.

use std::ffi::OsString;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session, before_command,
    lookup::resolve,
    rm::{Rm, rm},
    upkeep::need::{Extent, Need},
};
use crate::{
    error::Error,
    kernel::{NETNS_DIR, Netns, named},
    model::{NamedNetns, NetnsName, Removable, Source, Target},
    plan::{self, Plan},
    process::become_program,
    state::State,
};

/// A new namespace, or a name for an existing one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name in `/run/netns`.
    pub name: NetnsName,
    /// Name the namespace of this target, and configure nothing else.
    pub of: Option<Target>,
    /// The command to execute in the namespace; empty: none.
    pub command: Vec<OsString>,
}

/// A name in `/run/netns`.
#[derive(Debug, Serialize)]
pub struct Named {
    /// The name.
    pub name: NetnsName,
    /// The file.
    pub path: String,
}

/// Ensures a namespace, and executes a command in it if there is one; returns `None` for a dry run.
///
/// # Errors
/// If the name is taken, or the command cannot be executed.
pub async fn none(host: &mut Session<'_>, args: &Namespace) -> Result<Option<Changed<Named>>> {
    let command = &args.command;
    let is_new = args.of.is_none() && matches!(Netns::of_name(&args.name), Ok(None));
    let done = before_command(ensure(host, args).await, command)?;
    if command.is_empty() || host.dry_run {
        return Ok(done);
    }
    let netns = before_command(Netns::of_path(&named(&args.name)), command)?;
    let theirs = host.events.hand_over();
    let error = become_program(Some(&netns), command);
    drop(theirs);
    if is_new {
        // The namespace was made for the command, and nobody asked for the name alone.
        rm(host, &Rm { names: vec![Removable::Netns(args.name.clone())] }).await?;
    }
    Err(error)
}

async fn ensure(host: &mut Session<'_>, args: &Namespace) -> Result<Option<Changed<Named>>> {
    let name = &args.name;
    let found = match &args.of {
        Some(target) => Some(resolve::resolve(&host.kernel, host.events, target, None).await?),
        None => None,
    };
    let mut state = host.enter(Need::Changes, Extent::of(None)).await?;
    let plan = match found {
        Some(found) => {
            let (_, naming) = resolve::naming(&state, &found, Some(name), true)?;
            naming.map(|n| plan::name(&n)).unwrap_or_default()
        }
        None => made(host, &state, name)?,
    };
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(None) };
    let path = named(name).display().to_string();
    Ok(Some(Changed::new(changed, Named { name: name.clone(), path })))
}

/// Returns the plan of a namespace of this name: the existing one, or a new one. A name that
/// another program made stays its own.
fn made(host: &mut Session<'_>, state: &State, name: &NetnsName) -> Result<Plan> {
    let new = |cookie| NamedNetns { name: name.clone(), cookie, source: Source::Made, kept: true };
    let netns = match Netns::of_name(name)? {
        Some(there) if there.cookie() == host.kernel.cookie() => {
            let message = format!("the name `{name}` in {NETNS_DIR} is the host's own namespace");
            return Err(Error::conflict(message).into());
        }
        Some(there) => {
            let cookie = there.cookie();
            host.kernel.know(name.clone(), there);
            let ours = state.names().iter().find(|n| n.name == *name && n.cookie == cookie);
            return Ok(match ours {
                Some(ours) => plan::name(&NamedNetns { kept: true, ..ours.clone() }),
                None => plan::lo_up(&Some(name.clone())),
            });
        }
        // A dry run creates nothing, and needs no privilege.
        None if host.dry_run => return Ok(plan::name(&new(0))),
        None => Netns::anonymous()?,
    };
    let plan = plan::name(&new(netns.cookie()));
    host.kernel.know(name.clone(), netns);
    Ok(plan)
}
