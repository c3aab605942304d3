//! One endpoint more: every contender once, then all of them again, so that a noisy machine is
//! noisy for all of them.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    connect,
    contender::{Contender, Operation, PORT, Work},
    host::Target,
    measure::{Series, time},
    process::run,
    verify,
};

/// All that was measured in turns.
pub(crate) struct Turns {
    /// A row for each operation of each contender, operations first.
    pub(crate) rows: Vec<Row>,
    /// The start and the end of a process that does nothing.
    pub(crate) process: Series,
}

/// One operation of one contender.
pub(crate) struct Row {
    /// What.
    pub(crate) operation: Operation,
    /// Whose.
    pub(crate) name: &'static str,
    /// What it consists of.
    pub(crate) is: &'static str,
    /// Its times, or why there are none.
    pub(crate) times: Result<Series, &'static str>,
}

impl Turns {
    /// Notes that somebody did not take part, and why.
    pub(crate) fn leave_out(&mut self, name: &'static str, why: &'static str) {
        let row = |operation| Row { operation, name, is: "", times: Err(why) };
        self.rows.extend(Operation::ALL.map(row));
        self.rows.sort_by_key(|row| row.operation as usize);
    }

    /// The times of an operation of a contender, if it has it.
    pub(crate) fn times(&self, operation: Operation, name: &str) -> Option<&Series> {
        self.rows
            .iter()
            .find(|row| row.operation == operation && row.name == name)
            .and_then(|row| row.times.as_ref().ok())
    }
}

/// Operations that belong together: the second undoes the first.
const PAIRS: [[Operation; 2]; 2] = [
    [Operation::Attach, Operation::Detach],
    [Operation::AttachPublish, Operation::DetachPublished],
];

/// Endpoints that every network has from the beginning.
const NEIGHBOURS: u16 = 1;

/// Rehearses once, and measures; looks at the results each time, outside the time.
pub(crate) fn all(contenders: &[&dyn Contender], repeats: u16) -> Result<Turns> {
    let mut targets = Vec::new();
    for who in contenders {
        let mine = prepare(*who, repeats)
            .with_context(|| format!("{} does not do the work", who.name()))?;
        targets.push(mine);
    }
    let mut times = vec![[const { Vec::new() }; Operation::ALL.len()]; contenders.len()];
    let mut process = Vec::new();
    for repeat in 0..usize::from(repeats) {
        for ((who, targets), times) in contenders.iter().zip(&targets).zip(&mut times) {
            turn(*who, &targets[repeat * PAIRS.len()..], times)?;
        }
        process.push(time(|| run(&mut Command::new("true")).map(drop))?);
    }
    let mut rows = Vec::new();
    for (place, operation) in Operation::ALL.into_iter().enumerate() {
        for (who, times) in contenders.iter().zip(&mut times) {
            let (is, times) = match who.work(operation) {
                Work::Is(what) => (what, Ok(Series::new(std::mem::take(&mut times[place]))?)),
                Work::No(why) => ("", Err(why)),
            };
            rows.push(Row { operation, name: who.name(), is, times });
        }
    }
    Ok(Turns { rows, process: Series::new(process)? })
}

fn turn(
    who: &dyn Contender,
    targets: &[Target],
    times: &mut [Vec<Duration>; Operation::ALL.len()],
) -> Result<()> {
    for ([there, back], target) in PAIRS.into_iter().zip(targets) {
        let Work::Is(_) = who.work(there) else { continue };
        who.host().within(|| {
            times[there as usize].push(time(|| who.perform(there, target))?);
            look(who, there, target)?;
            times[back as usize].push(time(|| who.perform(back, target))?);
            verify::detached(target, usize::from(NEIGHBOURS))
        })?;
    }
    Ok(())
}

/// Makes the targets of all repeats, and tries everything once.
fn prepare(who: &dyn Contender, repeats: u16) -> Result<Vec<Target>> {
    who.host().within(|| {
        let neighbours = who.targets(0, NEIGHBOURS)?;
        who.crowd(&neighbours)?;
        for target in who.targets(NEIGHBOURS, 1)? {
            for pair in PAIRS {
                rehearse(who, pair, &target)?;
            }
        }
        let pairs = u16::try_from(PAIRS.len())?;
        who.targets(NEIGHBOURS + 1, repeats * pairs)
    })
}

fn rehearse(who: &dyn Contender, [there, back]: [Operation; 2], target: &Target) -> Result<()> {
    let Work::Is(_) = who.work(there) else { return Ok(()) };
    ensure!(look(who, there, target).is_err(), "the look at the results sees what is not there");
    who.perform(there, target)?;
    look(who, there, target).with_context(|| format!("after {}", there.name()))?;
    who.perform(back, target)?;
    verify::detached(target, usize::from(NEIGHBOURS))
        .with_context(|| format!("after {}", back.name()))
}

/// Fails unless the target is attached, and reached by its port where it has one.
fn look(who: &dyn Contender, done: Operation, target: &Target) -> Result<()> {
    verify::attached(target, usize::from(NEIGHBOURS), who.ends_without_ipv6())?;
    if done == Operation::AttachPublish {
        connect::latencies(target, Some(PORT), 1).context("the published port")?;
    }
    Ok(())
}
