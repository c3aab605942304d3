//! What each verb does, a file each: arguments, then a value of the model, then its plan, then
//! [`crate::apply`], then output. What several verbs share:
//!
//! - `resolve`: a target as typed, found and opened
//! - `find`: a network by name, ours or a foreign bridge
//! - `firewall`: which of the kernel's firewalls, and what is missing there
//! - `gates`: what firewalls of others drop
//! - `namespaces`: what has a network namespace on this machine
//! - `managers`: who else manages a link
//! - `removal`: reverse plans, and what others still need
//! - `succession`: default routes that took the place of others
//! - `clean`: what died since the last command
//! - `aside`: networks that verbs go on without
//! - `plug`: the bridge that a port has to be in
//! - `differences`: what is there and not as was asked for
//! - `subnets`: subnets as typed, and as they are there
//! - `parent`: the host's link by which a network is in the physical one
//! - `ssh`: the connections that a command was typed by, and which link they need
//! - `liveness`: whether an endpoint without a host end lives
//! - `keeper`: the processes that keep leases
//! - `adopt`: what carries our mark in the kernel and is on no record
//! - `rebuild`: parts of records from such marks

mod adopt;
mod aside;
mod attach;
mod attendant;
mod bridge;
mod clean;
mod confirm;
mod container;
mod create;
mod detach;
mod differences;
mod doctor;
mod export;
mod find;
mod firewall;
mod gates;
mod graph;
mod inspect;
mod keep_lease;
mod keeper;
mod lab;
mod liveness;
mod ls;
mod macvlan;
mod managers;
mod namespaces;
mod none;
mod packaging;
mod parent;
mod plug;
mod port;
mod prune;
mod ps;
mod publish;
mod rebuild;
mod removal;
mod repair;
mod reset;
mod resolve;
mod resolver;
mod rm;
mod run;
mod ssh;
mod subnets;
mod succession;
mod trace;
mod underlay;
mod unpublish;
mod wait;
mod watchdog;

use std::{cell::Cell, collections::BTreeMap, ffi::OsString};

use anyhow::Result;
use serde::Serialize;

use crate::{
    agents,
    apply::{self, Told, Watch},
    cli::{self, Cli, FirewallChoice, Global, Verb},
    error::{self, Error, Kind},
    kernel::Kernel,
    model::LinkName,
    output::{Output, SCHEMA_VERSION},
    plan::{Plan, Step},
    process::{self, child},
    state::State,
};

/// Runs a command line; `watch` is told of every step before it is done. Returns the exit code.
pub fn run(cli: Cli, watch: &mut Watch<'_>) -> Result<u8> {
    // A namespace is a thread's: with one thread there is no doubt where one is.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let output = Output::new(&cli.global);
    match cli.verb {
        // It becomes another program, and needs nothing of this one.
        Verb::Run(cli::Run { gate: Some(gate), command, .. }) => {
            Err(child::at_gate(gate, &command))
        }
        Verb::Lab(args) if args.first_process => {
            runtime()?.block_on(lab::first_process(&args, &output, watch))
        }
        // A new user namespace is for programs of one thread only.
        Verb::Lab(args) => lab::start(&args, &cli.global),
        Verb::Completions(args) => packaging::completions(&args, &output).map(|()| 0),
        Verb::Man(args) => packaging::man(&args, &output).map(|()| 0),
        verb => {
            if matches!(verb, Verb::KeepLease(_) | Verb::Watchdog(_) | Verb::Attendant(_)) {
                agents::detach()?;
            }
            runtime()?.block_on(dispatch(verb, &cli.global, output, watch))
        }
    }
}

async fn dispatch(
    verb: Verb,
    global: &Global,
    output: Output,
    watch: &mut Watch<'_>,
) -> Result<u8> {
    let Global { dry_run, firewall, .. } = *global;
    let _doing = output.doing(doing(&verb));
    let mut host = Host {
        kernel: Kernel::open()?,
        output,
        dry_run,
        firewall,
        printed: Plan::new(),
        mended: false,
        aside: BTreeMap::new(),
        watch,
    };
    let done = carry_out(verb, &mut host).await;
    host.warn_of_aside();
    done
}

async fn carry_out(verb: Verb, host: &mut Host<'_, '_>) -> Result<u8> {
    let done = match verb {
        Verb::None(args) => none::run(host, args).await,
        Verb::Host(args) => container::host(host, &args.command.command),
        Verb::Container(args) => container::run(host, args).await,
        Verb::Bridge(args) => bridge::run(host, args).await,
        Verb::Macvlan(args) => macvlan::run(host, args).await,
        Verb::Underlay(args) => underlay::run(host, args).await,
        Verb::Confirm(args) => confirm::run(host, args).await,
        Verb::Watchdog(args) => watchdog::run(host, args).await,
        Verb::Create(args) => create::run(host, args).await,
        Verb::Attach(args) => attach::run(host, args).await,
        Verb::Detach(args) => detach::run(host, args).await,
        Verb::Wait(args) => wait::run(host, args).await,
        Verb::Publish(args) => publish::run(host, args).await,
        Verb::Unpublish(args) => unpublish::run(host, args).await,
        Verb::Port(args) => port::run(host, args).await,
        Verb::Ls(args) => ls::run(host, args).await,
        Verb::Ps(args) => ps::run(host, args).await,
        Verb::Inspect(args) => inspect::run(host, args).await,
        Verb::Graph(args) => graph::run(host, args).await,
        // Those that are asked may say "no" without having failed.
        Verb::Doctor(args) => return doctor::run(host, args).await,
        Verb::Trace(args) => return trace::run(host, args).await,
        Verb::Rm(args) => rm::run(host, args).await,
        Verb::Prune => prune::run(host).await,
        Verb::Export => export::run(host).await,
        Verb::Reset(args) => reset::run(host, args).await,
        Verb::KeepLease(args) => keep_lease::run(host, args).await,
        Verb::Attendant(args) => attendant::run(host, args).await,
        Verb::Repair(args) => return repair::run(host, args).await,
        Verb::Run(args) => return run::run(host, args).await,
        Verb::Lab(_) | Verb::Completions(_) | Verb::Man(_) => Ok(()),
    };
    done.map(|()| 0)
}

/// What a verb does, for who has to wait for it.
fn doing(verb: &Verb) -> &'static str {
    match verb {
        Verb::None(_) | Verb::Host(_) | Verb::Container(_) => "finding the namespace",
        Verb::Run(_) => "preparing the command's namespace",
        Verb::Bridge(_) | Verb::Macvlan(_) | Verb::Create(_) => "making the network",
        Verb::Underlay(_) | Verb::Confirm(_) => "moving what is the parent's",
        Verb::Attach(_) => "attaching",
        Verb::Detach(_) => "detaching",
        Verb::Publish(_) => "publishing",
        Verb::Unpublish(_) => "taking published ports away",
        Verb::Wait(_) => "waiting",
        Verb::Port(_) | Verb::Ls(_) | Verb::Ps(_) | Verb::Inspect(_) | Verb::Export => {
            "reading what is there"
        }
        Verb::Graph(_) | Verb::Doctor(_) => "looking at the host",
        Verb::Trace(_) => "working out the way",
        Verb::Rm(_) => "removing networks",
        Verb::Prune => "removing what is dead",
        Verb::Reset(_) => "removing all that is ours",
        Verb::Repair(_) => "looking for what is not as it was asked for",
        Verb::Lab(_)
        | Verb::Completions(_)
        | Verb::Man(_)
        | Verb::KeepLease(_)
        | Verb::Watchdog(_)
        | Verb::Attendant(_) => "working",
    }
}

/// Who keeps us from the records.
fn waiting_for_records(cookie: u64) -> String {
    let other = State::holder(cookie).filter(|holder| *holder != std::process::id());
    match other.map(|pid| (pid, process::name(pid))) {
        Some((pid, Some(name))) => {
            format!("waiting for process {pid} (`{name}`), which has locked the records")
        }
        Some((pid, None)) => format!("waiting for process {pid}, which has locked the records"),
        None => "waiting for the records".to_owned(),
    }
}

/// From here on a plan is long.
const MANY_STEPS: usize = 20;

fn step_of(plan: &Plan, number: usize, step: &Step) -> String {
    match plan.len() {
        ..MANY_STEPS => step.why.to_owned(),
        many => format!("step {} of {many}: {}", number + 1, step.why),
    }
}

/// The host that a verb works on.
struct Host<'w, 'f> {
    kernel: Kernel,
    output: Output,
    dry_run: bool,
    firewall: FirewallChoice,
    /// In a dry run, what the script does before.
    printed: Plan,
    /// Something was mended before the verb's own plan.
    mended: bool,
    /// Networks that something failed for before, and why.
    aside: BTreeMap<LinkName, Error>,
    watch: &'w mut Watch<'f>,
}

impl Host<'_, '_> {
    /// Prints a plan, or carries it out; tells whether anything changed. `None`: it was a dry run,
    /// and there is no result to print.
    async fn carry_out(&mut self, plan: &Plan, state: &mut State) -> Result<Option<bool>> {
        if self.dry_run {
            self.print(plan).await?;
            return Ok(None);
        }
        let (output, watch) = (&self.output, &mut *self.watch);
        let doing = output.doing("changing what has to be changed");
        // Of changes that travel together the first is told of.
        let is_next = Cell::new(true);
        let changed = apply::carry_out(
            plan,
            &mut self.kernel,
            state,
            &mut |number, step| {
                if is_next.replace(false) {
                    doing.say(|| step_of(plan, number, step));
                }
                watch(number, step)
            },
            &mut |told| match told {
                Told::Done(step, changed) => {
                    is_next.set(true);
                    output.step(step, changed);
                }
                Told::Undoing(left) => {
                    doing.say(|| format!("undoing what was done: {left} to go"));
                }
            },
        )
        .await?;
        Ok(Some(changed | std::mem::take(&mut self.mended)))
    }
}

impl Host<'_, '_> {
    /// Prints a plan as a script, with what is so already as comments: run now, the script makes
    /// what is missing.
    async fn print(&self, plan: &Plan) -> Result<()> {
        let mut so = Vec::with_capacity(plan.len());
        for step in plan {
            let is_printed = self.printed.iter().any(|before| before.change == step.change);
            so.push(is_printed || self.kernel.is_so(&step.change).await);
        }
        self.output.script(plan, |i| so[i])
    }
}

/// The JSON of a changing verb: whether anything changed, and what is there now.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the fields are the JSON's keys")]
struct Changed<T> {
    schema_version: u32,
    changed: bool,
    #[serde(flatten)]
    now: T,
}

impl<T> Changed<T> {
    fn new(changed: bool, now: T) -> Self {
        Self { schema_version: SCHEMA_VERSION, changed, now }
    }
}

/// A failure of netcord itself, where `-- CMD`'s own exit codes are expected: docker's 125.
fn before_command<T>(result: Result<T>, command: &[OsString]) -> Result<T> {
    if command.is_empty() {
        return result;
    }
    result.map_err(|error| {
        if error::is_interruption(&error) {
            return error;
        }
        let mut own = Error::new(Kind::CommandSetup, format!("{error:#}"));
        own.hint = error::hint(&error);
        own.commands = error::commands(&error).to_vec();
        own.into()
    })
}
