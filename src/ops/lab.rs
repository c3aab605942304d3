//! `lab`: a throwaway host, perhaps with others on a wire.

use std::ffi::OsString;

use anyhow::Result;

use super::dispatch;
use crate::{
    apply::Watch,
    cli::{self, Cli, Global},
    output::Output,
    process::throwaway,
};

/// The network that hosts of a lab are on.
const WIRE: &str = "wire";
const WIRE_SUBNET: &str = "10.0.0.0/24";

/// Starts it, as this very program.
pub(super) fn start(args: &cli::Lab, global: &Global) -> Result<u8> {
    let mut arguments: Vec<OsString> = ["lab", "--first-process"].map(Into::into).into();
    if global.quiet {
        arguments.push("--quiet".into());
    }
    if let Some(hosts) = args.hosts {
        arguments.extend(["--hosts".into(), hosts.to_string().into()]);
    }
    arguments.push("--".into());
    arguments.extend(args.command.command.iter().cloned());
    throwaway::start(&arguments)
}

/// Is its first process.
pub(super) async fn first_process(
    args: &cli::Lab,
    output: &Output,
    watch: &mut Watch<'_>,
) -> Result<u8> {
    throwaway::become_first_process().await?;
    if let Some(hosts) = args.hosts {
        let _doing = output.doing(format!("making {hosts} hosts and their wire"));
        wire(hosts, watch).await?;
    }
    let _theirs = output.hand_over();
    throwaway::first_process(&args.command.command)
}

/// Makes hosts and their wire, as anybody could by hand.
async fn wire(hosts: u8, watch: &mut Watch<'_>) -> Result<()> {
    let names: Vec<_> = (1..=hosts).map(|n| format!("host{n}")).collect();
    run(&["bridge", WIRE, "--subnet", WIRE_SUBNET], watch).await?;
    for name in &names {
        run(&["none", name], watch).await?;
    }
    let targets = names.iter().map(|name| ["netns:", name].concat()).collect::<Vec<_>>();
    let attach = ["attach", WIRE].into_iter().chain(targets.iter().map(String::as_str));
    run(&attach.collect::<Vec<_>>(), watch).await
}

/// Runs a command line of netcord's own, without a word.
async fn run(words: &[&str], watch: &mut Watch<'_>) -> Result<()> {
    let cli = Cli::of(&[&["--quiet"], words].concat())?;
    let output = Output::new(&cli.global);
    // A verb of a verb: the one future would hold itself.
    Box::pin(dispatch(cli.verb, &cli.global, output, watch)).await.map(drop)
}
