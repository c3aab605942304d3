//! The N-th endpoint of a network.

use anyhow::{Context, Result};

use super::Line;
use crate::{
    contender::{Contender, Operation},
    host::Target,
    measure::time,
    verify,
};

/// Numbers of measured targets begin here, past all crowds.
const MEASURED: u16 = 2000;

/// Attach and detach of the N-th endpoint.
pub(crate) struct Endpoints {
    /// The numbers.
    pub(crate) sizes: Vec<u16>,
    /// A line for each contender.
    pub(crate) attach: Vec<Line>,
    /// A line for each contender.
    pub(crate) detach: Vec<Line>,
}

/// Fills the networks step by step, and attaches and detaches one more at each, in turns.
pub(crate) fn measure(
    contenders: &[&dyn Contender],
    sizes: &[u16],
    repeats: u16,
) -> Result<Endpoints> {
    let lines = || contenders.iter().map(|who| Line::new(who.name())).collect();
    let mut all = Endpoints { sizes: sizes.to_vec(), attach: lines(), detach: lines() };
    let mut first = MEASURED;
    let mut there = 0;
    for &size in sizes {
        // The first has a neighbour: some take the network away with its last endpoint.
        let neighbours = (size - 1).max(1);
        let mut targets = Vec::new();
        for who in contenders {
            let fresh = fill(*who, there, neighbours, first, repeats);
            targets.push(fresh.with_context(|| format!("{}, {size} endpoints", who.name()))?);
        }
        let mut times = vec![(Vec::new(), Vec::new()); contenders.len()];
        for repeat in 1..=usize::from(repeats) {
            for ((who, targets), (attach, detach)) in
                contenders.iter().zip(&targets).zip(&mut times)
            {
                let target = &targets[repeat];
                who.host().within(|| {
                    attach.push(time(|| who.perform(Operation::Attach, target))?);
                    detach.push(time(|| who.perform(Operation::Detach, target))?);
                    Ok(())
                })?;
            }
        }
        for (place, (attach, detach)) in times.into_iter().enumerate() {
            all.attach[place].add(size, attach)?;
            all.detach[place].add(size, detach)?;
        }
        there = neighbours;
        first += repeats + 1;
    }
    Ok(all)
}

/// Makes the crowd so big, makes fresh targets, and tries the first of them.
fn fill(
    who: &dyn Contender,
    there: u16,
    neighbours: u16,
    first: u16,
    repeats: u16,
) -> Result<Vec<Target>> {
    who.host().within(|| {
        let crowd = who.targets(there, neighbours - there)?;
        who.crowd(&crowd)?;
        let targets = who.targets(first, repeats + 1)?;
        who.perform(Operation::Attach, &targets[0])?;
        verify::attached(&targets[0], usize::from(neighbours), who.ends_without_ipv6())?;
        who.perform(Operation::Detach, &targets[0])?;
        verify::detached(&targets[0], usize::from(neighbours))?;
        Ok(targets)
    })
}
