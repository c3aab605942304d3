//! `none`: a namespace with nothing but a running `lo`; or a name for one that runs.

use anyhow::Result;
use serde::Serialize;

use super::{Changed, Host, before_command, clean, resolve};
use crate::{
    cli,
    error::Error,
    kernel::{NETNS_DIR, Netns, named, process::become_program},
    model::{NamedNetns, NetnsName, Source},
    plan,
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
        None => {
            let named_netns = made(host, &state, name)?;
            plan::name(&named_netns)
        }
    };
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(()) };
    if !args.command.command.is_empty() {
        return Ok(());
    }
    let path = named(name).display().to_string();
    let lines = [path.clone()];
    host.output.result(&Changed::new(changed, Named { name, path }), &lines)
}

/// The namespace of this name: the one that is there, or a new one.
fn made(
    host: &mut Host<'_, '_>,
    state: &crate::state::State,
    name: &NetnsName,
) -> Result<NamedNetns> {
    let recorded = state.names().iter().find(|n| n.name == *name);
    let netns = match Netns::of_name(name)? {
        Some(there) if there.cookie() == host.kernel.cookie() => {
            return Err(Error::conflict(format!(
                "the name `{name}` in {NETNS_DIR} is the host's own namespace"
            ))
            .into());
        }
        Some(there) => there,
        // A dry run makes nothing, and needs no privilege for it.
        None if host.dry_run => {
            return Ok(NamedNetns {
                name: name.clone(),
                cookie: 0,
                source: Source::Made,
                kept: true,
            });
        }
        None => Netns::anonymous()?,
    };
    let cookie = netns.cookie();
    host.kernel.know(name.clone(), netns);
    let source = recorded.filter(|n| n.cookie == cookie).map_or(Source::Made, |n| n.source.clone());
    Ok(NamedNetns { name: name.clone(), cookie, source, kept: true })
}
