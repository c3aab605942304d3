//! Whose turn it is: every contender once, then all of them again.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{
    contender::Contender,
    host::Host,
    measure::{self, Series, time},
    verify,
};

/// All that was measured in one run.
pub(crate) struct Results {
    /// How often.
    pub(crate) repeats: usize,
    /// In the order of the table.
    pub(crate) pairs: Vec<Pair>,
    /// The start and the end of a process that does nothing.
    pub(crate) process: Series,
}

/// What one contender took.
pub(crate) struct Pair {
    /// Whose times these are.
    pub(crate) who: Contender,
    /// Of attaching a fresh target.
    pub(crate) attach: Series,
    /// Of detaching it again.
    pub(crate) detach: Series,
}

impl Results {
    /// The times of one contender, if it took part.
    pub(crate) fn of(&self, who: Contender) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.who == who)
    }
}

/// Prepares, rehearses once with a look at the results, and measures.
pub(crate) fn all(host: &Host, repeats: usize, with_netcord: bool) -> Result<Results> {
    let mut who = vec![Contender::Script, Contender::Floor];
    if with_netcord {
        who.insert(0, Contender::Netcord);
    }
    for &who in &who {
        prepare(who, host, repeats)?;
    }
    for &who in &who {
        rehearse(who, host).with_context(|| format!("{} does not do the work", who.name()))?;
    }

    let mut times = vec![(Vec::new(), Vec::new()); who.len()];
    let mut process = Vec::new();
    for repeat in 1..=repeats {
        for (&who, (attach, detach)) in who.iter().zip(&mut times) {
            let target = target(who, repeat);
            host.new_links_have_ipv6(who.starts_with_ipv6())?;
            attach.push(time(who.attach(&target)?)?);
            detach.push(time(who.detach(&target)?)?);
        }
        process.push(time(Command::new("true"))?);
    }

    let pairs = who.iter().zip(times).map(|(&who, (attach, detach))| {
        Ok(Pair { who, attach: Series::new(attach)?, detach: Series::new(detach)? })
    });
    Ok(Results { repeats, pairs: pairs.collect::<Result<_>>()?, process: Series::new(process)? })
}

/// Makes the targets of all repeats, and of the rehearsal, which has number 0.
fn prepare(who: Contender, host: &Host, repeats: usize) -> Result<()> {
    if let Some(command) = who.prepare(host)? {
        measure::rehearse(command)?;
    }
    for repeat in 0..=repeats {
        host.add_target(&target(who, repeat), who.starts_with_ipv6())?;
    }
    Ok(())
}

fn rehearse(who: Contender, host: &Host) -> Result<()> {
    let target = target(who, 0);
    host.new_links_have_ipv6(who.starts_with_ipv6())?;
    measure::rehearse(who.attach(&target)?)?;
    verify::attached(who, &target).context("after attach")?;
    measure::rehearse(who.detach(&target)?)?;
    verify::detached(who, &target).context("after detach")
}

fn target(who: Contender, repeat: usize) -> String {
    format!("{}{repeat}", who.name())
}
