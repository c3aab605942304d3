//! The command line, over [`ops`](crate::ops): words, flags and help; what is printed.
//!
//! Words and flags are docker's where the meaning is docker's. What is here is a contract: it only
//! ever gains.

mod complete;
mod mistakes;
mod netcord_agent;
mod terminal;
mod values;
mod verbs;

use std::cell::RefCell;

use anyhow::Result;
use clap::{
    Args, CommandFactory, Parser,
    error::{ContextKind, ContextValue},
};

pub use self::netcord_agent::AgentArguments;
use self::{
    mistakes::{no_verb, shown},
    terminal::Terminal,
    values::{FirewallChoice, among},
    verbs::Verb,
};
use crate::{
    agents,
    apply::Watch,
    model::Invalid,
    ops::{Options, Session},
    output::{Color, Format, Output, Style},
    process::child,
};

/// The program's name.
const NAME: &str = "netcord";

/// Connect anything that has a Linux network namespace
///
/// netcord is a `docker network` for containers that were started with --network=none, for
/// processes and for namespaces made with `ip netns`. Every command does the steps that you would do
/// by hand with ip, nft and sysctl, can be repeated, and rolls back if it fails. There is no daemon.
#[derive(Debug, Parser)]
#[command(name = "netcord", version, max_term_width = 100, disable_help_subcommand = true, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// Flags of all verbs
    #[command(flatten)]
    global: Global,
    /// The verb
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
A TARGET is a process ID (1310, pid:1310), a name in /run/netns (web, netns:web), a container of a \
running docker or podman (web, docker:web, podman:web), or a namespace file (/proc/1310/ns/net, \
path:FILE).

Exit codes: 0 done, or nothing to do; 1 failed; 2 usage; 3 not found; 4 conflict; 5 permission; \
6 kernel feature or helper program missing; 7 timeout; 8 rollback incomplete; with `-- CMD` the \
exit code of CMD, or 125, 126, 127 as in docker; 130 and 143 interrupted, after rolling back.

Environment: DOCKER_HOST and CONTAINER_HOST (unix:// only) give the sockets of docker and podman; \
NO_COLOR turns colour off; NETCORD_STATE_DIR is the directory of the records [default: \
/run/netcord].

Files: /run/netcord/BOOT-HOST/ has the records of a host, /run/netns the names of namespaces.";

/// Flags of all verbs.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Print the steps as a shell script, and change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// Print each step and its reason on stderr as it is done
    #[arg(long, global = true)]
    explain: bool,
    /// Firewall for the rules; rules that are in the other firewall are moved
    #[arg(
        long,
        global = true,
        value_name = "FIREWALL",
        default_value = "auto",
        hide_default_value = true
    )]
    firewall: FirewallChoice,
    /// How to print results
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true,
        value_parser = among(&[Format::Table, Format::Json, Format::Jsonl])
    )]
    format: Format,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    color: Color,
    /// Print only errors, and no progress; ls and ps print only names
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print each command on stderr as it is run
    #[arg(short, long, global = true)]
    verbose: bool,
}

impl Global {
    fn style(&self) -> Style {
        Style {
            format: self.format,
            color: self.color,
            quiet: self.quiet,
            explain: self.explain,
            verbose: self.verbose,
        }
    }
}

impl Cli {
    /// Returns when to use colour.
    pub fn color(&self) -> Color {
        self.global.color
    }
}

/// Parses the command line. Help and clap's own errors end the process.
///
/// # Errors
/// If the verb is unknown.
pub fn parse() -> Result<Cli, Invalid> {
    Cli::try_parse().or_else(|error| match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => Err(no_verb(word)),
        _ => shown(error).exit(),
    })
}

/// Returns the command, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs a command line, and returns the exit code. `watch` is called before each step.
///
/// # Errors
/// Those of the verb.
pub fn run(cli: Cli, watch: &mut Watch<'_>) -> Result<u8> {
    // A network namespace belongs to a thread, so there is only one thread.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let output = Output::new(cli.global.style());
    match cli.verb {
        // It executes another program, and needs nothing of this one.
        Verb::Run(verbs::run::Args { start_barrier: Some(barrier), command, .. }) => {
            Err(child::at_start_barrier(barrier, &command))
        }
        Verb::Lab(args) if args.first_process => {
            runtime()?.block_on(verbs::lab::first_process(&args, &output))
        }
        // Only a process with one thread may enter a new user namespace.
        Verb::Lab(args) => verbs::lab::start(&args, &cli.global),
        Verb::Completions(args) => args.run(&output).map(|()| 0),
        Verb::Man(args) => args.run(&output).map(|()| 0),
        verb => {
            if verb.is_background() {
                agents::detach()?;
            }
            runtime()?.block_on(dispatch(verb, &cli.global, &output, watch))
        }
    }
}

async fn dispatch(
    verb: Verb,
    global: &Global,
    output: &Output,
    watch: &mut Watch<'_>,
) -> Result<u8> {
    let options = Options { dry_run: global.dry_run, firewall: global.firewall.firewall() };
    let terminal = Terminal { output, watch: RefCell::new(watch) };
    let _doing = output.doing(verb.doing().into(), None);
    let mut session = Session::open(options, &terminal)?;
    let done = verb.run(&mut session, output).await;
    session.close();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }
}
