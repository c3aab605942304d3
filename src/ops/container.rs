//! `container` and `host`: the path of a namespace, or a command in it.

use std::{ffi::OsString, os::unix::process::parent_id};

use anyhow::Result;

use super::{Changed, Host, before_command, none::Named, resolve};
use crate::{
    cli,
    kernel::{Netns, named},
    model::Target,
    plan,
    process::become_program,
};

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Container) -> Result<()> {
    let command = &args.command.command;
    if args.target == Target::Host {
        return self::host(host, command);
    }
    let found = resolve::resolve(&host.kernel, &host.output, &args.target, None).await;
    let found = before_command(found, command)?;
    if !command.is_empty() {
        let _theirs = host.output.hand_over();
        return Err(become_program(Some(&found.netns), command));
    }
    let mut state = host.state_with_rebuilt().await?;
    super::clean::dead(host, &mut state).await?;
    let (name, naming) = resolve::naming(&state, &found, None, true)?;
    let plan = naming.map(|n| plan::name(&n)).unwrap_or_default();
    host.kernel.know(name.clone(), found.netns);
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(()) };
    let path = named(&name).display().to_string();
    let lines = [path.clone()];
    host.output.result(&Changed::new(changed, Named { name: &name, path }), &lines)
}

/// The host's own namespace is that of the machine's first process, unless this host is itself a
/// namespace: then it is that of whoever asks.
pub(super) fn host(host: &Host<'_, '_>, command: &[OsString]) -> Result<()> {
    if !command.is_empty() {
        let _theirs = host.output.hand_over();
        return Err(become_program(None, command));
    }
    let is_own = |netns: Netns| netns.cookie() == host.kernel.cookie();
    let first = Netns::of_process(1).is_ok_and(is_own);
    let pid = if first { 1 } else { parent_id() };
    host.output.line(&format!("/proc/{pid}/ns/net"))
}
