//! Carries out a plan step by step, and collects the inverse of each step.
//!
//! After a failure, SIGINT or SIGTERM, it applies the inverses, newest first. An object that has
//! gone meanwhile, with its link or its namespace, counts as undone. The deletion of a link cannot
//! be undone, so after one the rest of the plan is carried out as far as possible.

use anyhow::{Context, Result, anyhow};

use crate::{
    error::{Error, Kind},
    kernel::{Kernel, Outcome},
    model::Firewall,
    plan::{Change, Class, Plan, Scope, Step, command},
    process::signal::Held,
    state::State,
};

/// Called before each step, with the step's number. An error that it returns fails the step.
pub type Watch<'a> = dyn FnMut(usize, &Step) -> Result<()> + 'a;

/// Called with the progress of a plan.
pub type Tell<'a> = dyn FnMut(Told<'_>) + 'a;

/// The progress of a plan.
#[derive(Debug)]
pub enum Told<'a> {
    /// A step is done; whether it changed anything.
    Done(&'a Step, bool),
    /// It has failed, and this many changes are still to be undone.
    Undoing(usize),
}

/// Carries out a plan; returns whether anything changed.
///
/// # Errors
/// The first failure, after a rollback. [`Kind::NotRolledBack`] lists what remains to be
/// done as commands.
pub async fn carry_out(
    plan: &Plan,
    kernel: &mut Kernel,
    state: &mut State,
    watch: &mut Watch<'_>,
    tell: &mut Tell<'_>,
) -> Result<bool> {
    let held = Held::new().context("cannot hold signals back")?;
    let mut run = Run { kernel, state, inverses: Vec::new(), changed: false, undoable: true };
    let mut left: Vec<Left> = Vec::new();
    let mut next = 0;
    while next < plan.len() {
        let group = together(plan[next..].iter().map(|s| &s.change));
        // Keep the record of what is not done, so that a later run can finish it.
        if !left.is_empty() && forgets(&plan[next].change) {
            next += group;
            continue;
        }
        let steps = &plan[next..next + group];
        let result = match held.came() {
            Some(kind) if run.undoable => {
                Err(Error::new(kind, "interrupted: everything is as it was before").into())
            }
            _ if run.undoable && run.state.is_locked() => match run.state.check_lock() {
                Ok(()) => run.steps(steps, next, watch, tell).await,
                lost => lost,
            },
            _ => run.steps(steps, next, watch, tell).await,
        };
        next += group;
        if let Err(error) = result {
            if run.undoable {
                return Err(run.roll_back(error, tell).await);
            }
            left.push((steps.iter().map(|s| s.change.clone()).collect(), error));
        }
    }
    // Reporting "interrupted" promises that nothing changed, so roll back even though every step
    // succeeded.
    if let Some(kind) = held.came().filter(|_| run.undoable && run.changed) {
        let error = Error::new(kind, "interrupted: everything is as it was before");
        return Err(run.roll_back(error.into(), tell).await);
    }
    // Another process may have taken the lock meanwhile, and chosen the same address.
    if run.undoable
        && run.changed
        && let Err(error) = run.state.check_lock()
    {
        return Err(run.roll_back(error, tell).await);
    }
    if let Some(pid) = run.kernel.ended().filter(|_| run.undoable) {
        let error = Error::not_found(format!("process {pid} ended meanwhile"));
        return Err(run.roll_back(error.into(), tell).await);
    }
    if left.is_empty() { Ok(run.changed) } else { Err(not_finished(&left)) }
}

/// Changes that remain, and the error that prevented them.
type Left = (Vec<Change>, anyhow::Error);

/// The error of a plan that could neither be completed nor rolled back.
fn not_finished(left: &[Left]) -> anyhow::Error {
    let message = format!("it could not be finished: {}", reasons(left));
    let again = "what is left stays on record: do it again";
    let commands = commands(left);
    let error = Error::new(Kind::NotRolledBack, message);
    if commands.is_empty() {
        return error.hint(again).into();
    }
    error.hint(format!("{again}, or finish by hand with")).commands(commands).into()
}

fn reasons(left: &[Left]) -> String {
    left.iter().map(|(_, error)| format!("{error:#}")).collect::<Vec<_>>().join("; ")
}

/// Returns what remains as shell commands; records have none.
fn commands(left: &[Left]) -> Vec<String> {
    let changes = left.iter().flat_map(|(changes, _)| changes);
    changes
        .filter_map(|change| command(&Step { why: "", change: change.clone(), scope: Scope::Own }))
        .collect()
}

fn forgets(change: &Change) -> bool {
    matches!((change, change.facts().class), (Change::Delete(_), Class::Record(_)))
}

/// Adjacent changes that are carried out together, all or none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group<'a> {
    /// One write of a network's file, or of the file of names.
    Record(Option<&'a str>),
    /// One transaction, or one restore.
    Firewall(Firewall),
    /// One netlink message that moves settings.
    Moved,
    /// Routes, neighbours and FDB entries of the host, sent together. In another namespace each is a
    /// change of its own, so that the rollback knows which were made when the connection breaks.
    Entries,
    /// One netlink message that deletes links.
    Cut,
    /// One pass over connection tracking.
    Flows,
}

fn group(change: &Change) -> Option<Group<'_>> {
    let facts = change.facts();
    match facts.class {
        Class::Record(record) => Some(Group::Record(record.file())),
        Class::Firewall(element) => Some(Group::Firewall(element.firewall)),
        Class::Moved(_) => Some(Group::Moved),
        Class::Entry(_) => facts.place.is_none().then_some(Group::Entries),
        Class::Flows => Some(Group::Flows),
        Class::Link { .. } => match change {
            Change::DeleteLink(link) => link.is_batched().then_some(Group::Cut),
            Change::Create(_) | Change::Delete(_) => None,
        },
        Class::Name | Class::Other => None,
    }
}

/// Returns how many changes from the first on belong to one group.
fn together<'a>(changes: impl Iterator<Item = &'a Change>) -> usize {
    let mut groups = changes.map(group);
    match groups.next().flatten() {
        Some(first) => 1 + groups.take_while(|g| *g == Some(first)).count(),
        None => 1,
    }
}

struct Run<'a> {
    kernel: &'a mut Kernel,
    state: &'a mut State,
    inverses: Vec<Change>,
    changed: bool,
    undoable: bool,
}

impl Run<'_> {
    async fn steps(
        &mut self,
        steps: &[Step],
        first: usize,
        watch: &mut Watch<'_>,
        tell: &mut Tell<'_>,
    ) -> Result<()> {
        for (i, step) in steps.iter().enumerate() {
            watch(first + i, step)?;
        }
        let changes: Vec<_> = steps.iter().map(|s| &s.change).collect();
        for (step, outcome) in steps.iter().zip(self.apply(&changes).await?) {
            tell(Told::Done(step, outcome != Outcome::Unchanged));
            match outcome {
                Outcome::Unchanged => continue,
                Outcome::Done(inverse) => self.inverses.push(inverse),
                Outcome::Final => self.undoable = false,
                Outcome::Mended => {}
            }
            self.changed = true;
        }
        Ok(())
    }

    async fn apply(&mut self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        match changes.first().and_then(|c| group(c)) {
            Some(Group::Firewall(_)) => return self.apply_firewall(changes),
            Some(Group::Moved) => return self.kernel.apply_moved(changes).await,
            Some(Group::Entries) => return self.kernel.apply_entries(changes).await,
            Some(Group::Cut) => return self.kernel.delete_veths(changes).await,
            Some(Group::Flows) => return self.kernel.forget_flows(changes),
            Some(Group::Record(_)) => {
                let inverses = self.state.apply(changes)?;
                let outcome = |i: Option<Change>| i.map_or(Outcome::Unchanged, Outcome::Done);
                return Ok(inverses.into_iter().map(outcome).collect());
            }
            None => {}
        }
        let [one] = changes else { return Ok(Vec::new()) };
        Ok(vec![self.kernel.apply(one).await?])
    }

    fn apply_firewall(&mut self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        self.kernel.apply_firewall(changes, self.state.lock()?)
    }

    /// Applies the inverses, newest first, and returns the error to report.
    async fn roll_back(&mut self, failure: anyhow::Error, tell: &mut Tell<'_>) -> anyhow::Error {
        let mut left = Vec::new();
        // If this fails, the first inverse reports why.
        drop(self.kernel.reconnect());
        let mut inverses = std::mem::take(&mut self.inverses);
        inverses.reverse();
        let mut rest = inverses.as_slice();
        while !rest.is_empty() {
            tell(Told::Undoing(rest.len()));
            let (group, later) = rest.split_at(together(rest.iter()));
            rest = later;
            // Keep the record of what could not be undone, so that a later run can finish it.
            if !left.is_empty() && group.iter().all(forgets) {
                continue;
            }
            if let Err(error) = self.undo(group).await {
                left.push((group.to_vec(), error));
            }
        }
        if left.is_empty() {
            return failure;
        }
        let message = format!("{failure:#}; and it could not be undone whole: {}", reasons(&left));
        let mut error = Error::new(Kind::NotRolledBack, message);
        let commands = commands(&left);
        if !commands.is_empty() {
            error = error.hint("finish by hand with").commands(commands);
        }
        anyhow!(error)
    }

    /// Applies the inverses of one group. An object that has gone meanwhile counts as undone.
    async fn undo(&mut self, group: &[Change]) -> Result<()> {
        let all: Vec<_> = group.iter().collect();
        let Err(error) = self.apply(&all).await else { return Ok(()) };
        let mut there = Vec::new();
        for change in group {
            if !self.kernel.has_fallen(change).await {
                there.push(change);
            }
        }
        match there.len() {
            0 => Ok(()),
            some if some < group.len() => self.apply(&there).await.map(drop),
            _ => Err(error),
        }
    }
}
