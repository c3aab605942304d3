//! The N-th published port of a host: what it costs to make, and to go through.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Line;
use crate::{
    connect::latencies,
    contender::{Contender, Operation, Publisher},
    host::Target,
    measure::time,
};

/// The first of all ports; the last is below those that connections come from.
const FIRST_PORT: u16 = 20_000;
/// How many connections go through the port each time that it was made.
const CONNECTIONS: u16 = 200;

/// The line of connections without a published port.
pub(crate) const DIRECT: &str = "no published port";

/// Set-up of the N-th port, and connections through it.
pub(crate) struct Ports {
    /// The numbers.
    pub(crate) sizes: Vec<u16>,
    /// A line for each publisher.
    pub(crate) publish: Vec<Line>,
    /// A line for each publisher, and [`DIRECT`].
    pub(crate) connect: Vec<Line>,
    /// What each publisher does.
    pub(crate) is: Vec<(&'static str, &'static str)>,
}

/// A publisher with a target that the N-th port leads to, and one that all others lead to.
struct Stand<'a> {
    who: &'a dyn Publisher,
    target: Target,
    crowd: Target,
}

/// Fills the hosts step by step, and publishes one more at each, in turns; `plain` is a host without
/// any rule.
pub(crate) fn measure(
    publishers: &[&dyn Publisher],
    plain: &dyn Contender,
    sizes: &[u16],
    repeats: u16,
) -> Result<Ports> {
    let lines = || publishers.iter().map(|who| Line::new(who.publisher())).collect::<Vec<_>>();
    let mut all = Ports {
        sizes: sizes.to_vec(),
        publish: lines(),
        connect: lines(),
        is: publishers.iter().map(|who| (who.publisher(), who.publish_is())).collect(),
    };
    let mut direct = Line::new(DIRECT);
    let straight_to = plain.host().within(|| {
        let target = plain.targets(0, 1)?.remove(0);
        plain.perform(Operation::Attach, &target)?;
        Ok(target)
    })?;
    let stands: Vec<_> = publishers.iter().map(|who| prepare(*who)).collect::<Result<_>>()?;
    let mut there = FIRST_PORT;
    for &size in sizes {
        let port = FIRST_PORT + size - 1;
        let others: Vec<_> = (there..port).collect();
        for (stand, line) in stands.iter().zip(&mut all.publish) {
            fill(stand, line, &others)?;
        }
        let mut times = vec![(Vec::new(), Vec::new()); stands.len()];
        let mut straight = Vec::new();
        for _ in 0..repeats {
            for ((stand, line), (publish, connect)) in
                stands.iter().zip(&all.publish).zip(&mut times)
            {
                if line.stopped.is_none() {
                    turn(stand, port, publish, connect)
                        .with_context(|| format!("{}, {size} ports", line.name))?;
                }
            }
            straight.extend(plain.host().within(|| latencies(&straight_to, None, CONNECTIONS))?);
        }
        for (place, (publish, connect)) in times.into_iter().enumerate() {
            all.connect[place].stopped.clone_from(&all.publish[place].stopped);
            all.publish[place].add(size, publish)?;
            all.connect[place].add(size, connect)?;
        }
        direct.add(size, straight)?;
        there = port;
    }
    all.connect.push(direct);
    Ok(all)
}

/// Attaches both targets and tries the first port.
fn prepare(who: &dyn Publisher) -> Result<Stand<'_>> {
    who.host().within(|| {
        let crowd = who.targets(0, 1)?.remove(0);
        let target = who.targets(1, 1)?.remove(0);
        who.crowd(std::slice::from_ref(&crowd))?;
        who.perform(Operation::Attach, &target)?;
        who.publish(&target, FIRST_PORT)?;
        latencies(&target, Some(FIRST_PORT), 1)?;
        who.unpublish(&target, FIRST_PORT)?;
        Ok(Stand { who, target, crowd })
    })
}

/// Who does not get there in a reasonable time drops out, and the line says why.
fn fill(stand: &Stand<'_>, line: &mut Line, ports: &[u16]) -> Result<()> {
    if line.stopped.is_none() {
        let filled = stand.who.host().within(|| Ok(stand.who.fill(&stand.crowd, ports)))?;
        line.stopped = filled.err().map(|error| format!("{error:#}"));
    }
    Ok(())
}

fn turn(
    Stand { who, target, .. }: &Stand<'_>,
    port: u16,
    publish: &mut Vec<Duration>,
    connect: &mut Vec<Duration>,
) -> Result<()> {
    who.host().within(|| {
        publish.push(time(|| who.publish(target, port))?);
        connect.extend(latencies(target, Some(port), CONNECTIONS)?);
        who.unpublish(target, port)
    })
}
