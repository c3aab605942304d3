//! The command line, over [`ops`](crate::ops): words, flags and help; what is printed.
//!
//! Words and flags are docker's where the meaning is docker's. What is here is a contract: it only
//! ever gains.

mod complete;
mod mistakes;
mod netcord_agent;
mod reference;
mod terminal;
mod values;
mod verbs;

use std::{cell::RefCell, env, ffi::OsString};

use anyhow::Result;
use clap::{Args, CommandFactory, FromArgMatches, Parser, error::ErrorKind};

pub use self::netcord_agent::AgentArguments;
use self::{
    terminal::Terminal,
    values::{FirewallChoice, OrTemplate, among},
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
#[command(name = "netcord", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// Flags of all verbs
    #[command(flatten)]
    global: Global,
    /// The verb
    #[command(subcommand)]
    verb: Verb,
}

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
    /// How to print results: table, json, jsonl, or a Go template such as '{{.Name}}'
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true,
        value_parser = OrTemplate(among(&[Format::Table, Format::Json, Format::Jsonl]))
    )]
    format: Format,
    /// As --format json
    #[arg(short, long, global = true)]
    json: bool,
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

impl Cli {
    /// Returns when to use colour.
    pub fn color(&self) -> Color {
        self.global.color
    }

    /// Returns whether results, and so errors, are JSON.
    pub fn is_json(&self) -> bool {
        matches!(self.format(), Format::Json | Format::Jsonl)
    }

    /// Returns the format of results: some verbs have formats of their own.
    fn format(&self) -> Format {
        let own = match &self.verb {
            Verb::Graph(args) => &args.format,
            Verb::Inspect(args) => &args.format,
            _ => &self.global.format,
        };
        if self.global.json { Format::Json } else { own.clone() }
    }

    fn style(&self) -> Style {
        let Global { color, quiet, explain, verbose, .. } = self.global;
        Style { format: self.format(), color, quiet, explain, verbose }
    }
}

/// Parses the command line. Help ends the process.
///
/// # Errors
/// If the command line is wrong.
pub fn parse() -> Result<Cli, Invalid> {
    let cli = parsed(&env::args_os().collect::<Vec<_>>())?;
    match &cli.verb {
        Verb::Help(args) => parsed(&args.as_flag()),
        _ => Ok(cli),
    }
}

fn parsed(words: &[OsString]) -> Result<Cli, Invalid> {
    // The text of help costs as much as the rest of the definition: it is made when it is needed.
    let matches = whole_command().try_get_matches_from(words);
    let matches = matches.or_else(|_| command().try_get_matches_from(words));
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => mistakes::explained(&error, words),
        }
    })
}

/// Returns whether the words of the command line ask for JSON, also if they are wrong.
pub fn is_json_typed() -> bool {
    let words = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let words = words.take_while(|word| word != "--").collect::<Vec<_>>();
    let is_short = |word: &str| {
        let letters = word.strip_prefix('-').unwrap_or_default();
        letters.contains('j') && letters.chars().all(|c| "jqv".contains(c))
    };
    let is_value = |word: &str| ["json", "jsonl"].contains(&word);
    words.iter().any(|word| {
        word == "--json" || is_short(word) || word.strip_prefix("--format=").is_some_and(is_value)
    }) || words.windows(2).any(|pair| pair[0] == "--format" && is_value(&pair[1]))
}

/// Returns the command, for help and errors.
fn command() -> clap::Command {
    reference::command()
}

/// Returns the command for completions.
pub fn completed_command() -> clap::Command {
    reference::completed()
}

/// Returns the command with the global flags in each verb, for parsing and manual pages.
fn whole_command() -> clap::Command {
    Cli::command()
}

/// Runs a command line, and returns the exit code. `watch` is called before each step.
///
/// # Errors
/// Those of the verb.
pub fn run(cli: Cli, watch: &mut Watch<'_>) -> Result<u8> {
    // A network namespace belongs to a thread, so there is only one thread.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let output = Output::new(cli.style());
    output.check_format()?;
    match cli.verb {
        // It executes another program, and needs nothing of this one.
        Verb::Run(verbs::run::Args { start_barrier: Some(barrier), command, .. }) => {
            Err(child::at_start_barrier(barrier, &command))
        }
        Verb::Lab(args) if args.first_process => {
            runtime()?.block_on(verbs::lab::first_process(&args, &output))
        }
        // Only a process with one thread may enter a new user namespace.
        Verb::Lab(args) if args.check.is_none() => verbs::lab::start(&args, &cli.global),
        Verb::Completions(args) => args.run(&output).map(|()| 0),
        Verb::Man(args) => args.run(&output).map(|()| 0),
        Verb::Version(_) => verbs::version::Args::run(&output).map(|()| 0),
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
