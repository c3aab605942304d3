//! `none`: a namespace with nothing but a running `lo`; or a name for one that runs.

use anyhow::Result;
use serde::Serialize;

use super::{Changed, Host, before_command, clean, resolve};
use crate::{
    cli,
    error::Error,
    kernel::{NETNS_DIR, Netns, named},
    model::{NamedNetns, NetnsName, Source},
    plan::{self, Plan},
    process::become_program,
    state::State,
};

#[derive(Serialize)]
pub(super) struct Named<'a> {
    pub name: &'a NetnsName,
    pub path: String,
}

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::None) -> Result<()> {
    let command = args.command.command.clone();
    before_command(ensure(host, &args).await, &command)?;
    if command.is_empty() || host.dry_run {
        return Ok(());
    }
    let netns = before_command(Netns::of_path(&named(&args.name)), &command)?;
    let _theirs = host.output.hand_over();
    Err(become_program(Some(&netns), &command))
}

async fn ensure(host: &mut Host<'_, '_>, args: &cli::None) -> Result<()> {
    let name = &args.name;
    let found = match &args.of {
        Some(target) => Some(resolve::resolve(&host.kernel, &host.output, target, None).await?),
        None => None,
    };
    let mut state = host.state_with_rebuilt().await?;
    clean::dead(host, &mut state).await?;
    let plan = match found {
        Some(found) => {
            let (_, naming) = resolve::naming(&state, &found, Some(name), true)?;
            naming.map(|n| plan::name(&n)).unwrap_or_default()
        }
        None => made(host, &state, name)?,
    };
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(()) };
    if !args.command.command.is_empty() {
        return Ok(());
    }
    let path = named(name).display().to_string();
    let lines = [path.clone()];
    host.output.result(&Changed::new(changed, Named { name, path }), &lines)
}

/// The plan of a namespace of this name: the one that is there, or a new one. One that somebody
/// else made stays theirs.
fn made(host: &mut Host<'_, '_>, state: &State, name: &NetnsName) -> Result<Plan> {
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
        // A dry run makes nothing, and needs no privilege for it.
        None if host.dry_run => return Ok(plan::name(&new(0))),
        None => Netns::anonymous()?,
    };
    let plan = plan::name(&new(netns.cookie()));
    host.kernel.know(name.clone(), netns);
    Ok(plan)
}
