//! What each verb does, a file each: a function from a request to an outcome. It decides, makes a
//! plan, and has it carried out by [`crate::apply`]. What it reports meanwhile goes to the
//! [`Events`] of its [`Session`]. What several verbs share:
//!
//! - `resolve`: a target as typed, found and opened
//! - `find`: a network by name, ours or a foreign bridge
//! - `firewall`: which of the kernel's firewalls, and what is missing there
//! - `forward_accepts`: what firewalls of others drop
//! - `namespaces`: what has a network namespace on this machine
//! - `managers`: who else manages a link
//! - `removal`: reverse plans, and what others still need
//! - `default_routes`: default routes that took the place of others
//! - `clean`: what died since the last command
//! - `aside`: networks that verbs go on without
//! - `plug`: the bridge that a port has to be in
//! - `differences`: what is there and not as was asked for
//! - `subnets`: subnets as typed, and as they are there
//! - `driver`: what is different for each driver of networks
//! - `words`: the words of a netcord command
//! - `ssh`: the connections that a command was typed by, and which link they need
//! - `liveness`: whether an endpoint without a host end lives
//! - `lease_renewer`: the processes that keep leases
//! - `adopt`: what carries our mark in the kernel and is on no record
//! - `rebuild`: parts of records from such marks

mod adopt;
mod aside;
pub mod attach;
mod clean;
pub mod confirm;
pub mod container;
mod default_routes;
pub mod detach;
mod differences;
pub mod doctor;
pub mod driver;
mod events;
pub mod export;
mod find;
mod firewall;
mod forward_accepts;
pub mod graph;
pub mod inspect;
pub mod lease_renewer;
mod liveness;
pub mod ls;
mod managers;
mod namespaces;
pub mod none;
mod plug;
pub mod port;
pub mod prune;
pub mod ps;
pub mod publish;
mod rebuild;
mod removal;
pub mod repair;
pub mod reset;
mod resolve;
mod resolver;
pub mod rm;
pub mod run;
pub mod run_supervisor;
mod ssh;
mod subnets;
pub mod trace;
pub mod unpublish;
pub mod wait;
pub mod watchdog;
mod wiring;
mod words;

use std::{cell::Cell, collections::BTreeMap, ffi::OsString};

use anyhow::Result;
use serde::Serialize;

pub use self::events::{Events, Progress, Silent};
use crate::{
    apply::{self, Told},
    error::{self, Error, Kind},
    kernel::Kernel,
    model::{Firewall, LinkName},
    plan::{Plan, Step},
    process,
    state::State,
};

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

/// How verbs work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Plans are reported ([`Events::plan`]) and not carried out.
    pub dry_run: bool,
    /// The firewall that the rules are to be in; `None`: that of the host's networks.
    pub firewall: Option<Firewall>,
}

/// The host that verbs work on, and the receiver of what they report.
pub struct Session<'e> {
    kernel: Kernel,
    events: &'e dyn Events,
    dry_run: bool,
    firewall: Option<Firewall>,
    /// In a dry run, what the script does before.
    printed: Plan,
    /// Something was mended before the verb's own plan.
    mended: bool,
    /// Networks that something failed for before, and why.
    aside: BTreeMap<LinkName, Error>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

impl<'e> Session<'e> {
    /// Opens the host whose network namespace the calling thread is in. A verb moves that thread
    /// between namespaces, so it belongs on a runtime of one thread.
    ///
    /// # Errors
    /// If the kernel lacks netlink.
    pub fn open(options: Options, events: &'e dyn Events) -> Result<Self> {
        Ok(Self {
            kernel: Kernel::open()?,
            events,
            dry_run: options.dry_run,
            firewall: options.firewall,
            printed: Plan::new(),
            mended: false,
            aside: BTreeMap::new(),
        })
    }

    /// Warns of networks that a verb went on without.
    pub fn close(self) {
        self.warn_of_aside();
    }

    /// Whether plans are only reported.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Carries a plan out, or reports it; tells whether anything changed. `None`: it was a dry run,
    /// and there is no result to print.
    async fn carry_out(&mut self, plan: &Plan, state: &mut State) -> Result<Option<bool>> {
        if self.dry_run {
            self.print(plan).await?;
            return Ok(None);
        }
        let events = self.events;
        let doing = events.doing("changing what has to be changed");
        // Of changes that travel together the first is told of.
        let is_next = Cell::new(true);
        let changed = apply::carry_out(
            plan,
            &mut self.kernel,
            state,
            &mut |number, step| {
                if is_next.replace(false) {
                    doing.update(&|| step_of(plan, number, step));
                }
                events.before(number, step)
            },
            &mut |told| match told {
                Told::Done(step, changed) => {
                    is_next.set(true);
                    events.step(step, changed);
                }
                Told::Undoing(left) => {
                    doing.update(&|| format!("undoing what was done: {left} to go"));
                }
            },
        )
        .await?;
        Ok(Some(changed | std::mem::take(&mut self.mended)))
    }

    /// Reports a plan, and which of its steps have nothing to do.
    async fn print(&self, plan: &Plan) -> Result<()> {
        let mut is_there = Vec::with_capacity(plan.len());
        for step in plan {
            let is_printed = self.printed.iter().any(|before| before.change == step.change);
            is_there.push(is_printed || self.kernel.holds(&step.change).await);
        }
        self.events.plan(plan, &is_there)
    }
}

/// The outcome of a changing verb: whether anything changed, and what is there now.
#[derive(Debug, Serialize)]
pub struct Changed<T> {
    /// Whether anything changed.
    pub changed: bool,
    /// What is there now.
    #[serde(flatten)]
    pub now: T,
}

/// The outcome of a verb that goes on although a part of it failed, with the first failure.
pub type WithFailure<T> = (T, Option<anyhow::Error>);

impl<T> Changed<T> {
    fn new(changed: bool, now: T) -> Self {
        Self { changed, now }
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
