//! `container` and `host`: the path of a namespace, or a command in it.

use std::{ffi::OsString, os::unix::process::parent_id};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session, before_command,
    lookup::resolve,
    none::Named,
    upkeep::need::{Extent, Need},
};
use crate::{
    kernel::{Netns, named},
    model::Target,
    plan,
    process::become_program,
};

/// A target's namespace, and a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Container {
    /// The target, which is not the host.
    pub target: Target,
    /// The command to execute in the namespace; empty: none.
    pub command: Vec<OsString>,
}

/// Names the namespace of a target, or executes a command in it; returns `None` for a dry run.
///
/// # Errors If the target does not exist, or the command cannot be executed.
pub async fn container(host: &mut Session<'_>, args: &Container) -> Result<Option<Changed<Named>>> {
    let command = &args.command;
    let found = resolve::resolve(&host.kernel, host.events, &args.target, None).await;
    let found = before_command(found, command)?;
    if !command.is_empty() {
        let _theirs = host.events.hand_over();
        return Err(become_program(Some(&found.netns), command));
    }
    let mut state = host.enter(Need::Changes, Extent::of(None)).await?;
    let (name, naming) = resolve::naming(&state, &found, None, true)?;
    let plan = naming.map(|n| plan::name(&n)).unwrap_or_default();
    host.kernel.know(name.clone(), found.netns);
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(None) };
    let path = named(&name).display().to_string();
    Ok(Some(Changed::new(changed, Named { name, path })))
}

/// Returns the file of the host's own namespace, or executes a command in it. It is that of the
/// machine's first process, unless this host is itself a namespace: then it is the caller's.
///
/// # Errors If the command cannot be executed.
pub fn host(host: &Session<'_>, command: &[OsString]) -> Result<String> {
    if !command.is_empty() {
        let _theirs = host.events.hand_over();
        return Err(become_program(None, command));
    }
    let is_own = |netns: Netns| netns.cookie() == host.kernel.cookie();
    let first = Netns::of_process(1).is_ok_and(is_own);
    let pid = if first { 1 } else { parent_id() };
    Ok(format!("/proc/{pid}/ns/net"))
}
