//! The path of a real packet: the kernel reports each rule that it meets, in each namespace on its
//! expected path.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use super::{
    Live, Trace, verdict_of_rule,
    walk::{Walked, stage},
    world::World,
};
use crate::{
    error::{Error, Kind},
    kernel::{Event, Follower, probe::Answer},
    model::{
        ruleset::{Chain, Hook, Layer, Met, Point, Ruleset},
        trace_path::{Hop, Outcome, Stage, Verdict, Way},
    },
    ops::Events,
};

/// The interval at which to check for events.
const INTERVAL: Duration = Duration::from_millis(5);
/// The time to wait for events that should not occur.
const GRACE: Duration = Duration::from_millis(300);
/// The time to wait for a reply, in seconds.
const PATIENCE: u64 = 3;
/// The time to wait for another program's packet, in seconds.
const WAIT: u64 = 60;

const UDP: u8 = 17;

/// The events of the packet at one hook.
struct Seen {
    place: usize,
    point: Point,
    rules: Vec<Met>,
    /// Whether it passed.
    passed: bool,
    /// Whether the last rule dropped it.
    dropped: bool,
}

/// Sends the packet, or waits for it, and returns its path.
pub(super) async fn follow(
    events: &dyn Events,
    world: &World,
    walked: &Walked,
    args: &Trace,
    live: Live,
) -> Result<Way> {
    let mut listening: Vec<(usize, Follower, Vec<Event>)> = Vec::new();
    for (place, packet) in &walked.entries {
        if !listening.iter().any(|(there, ..)| there == place) {
            let follower = world.places[*place].netns.follow(packet)?;
            listening.push((*place, follower, Vec::new()));
        }
    }
    let patience = live.timeout.unwrap_or(if live.wait { WAIT } else { PATIENCE });
    let patience = Duration::from_secs(patience);
    let until = Instant::now() + patience;
    let what = if live.wait { "waiting for a packet" } else { "following the packet" };
    let text = format!("{what} from {} to {}", args.from, args.to);
    let _doing = events.doing_for(patience, text);
    let first = walked.entries.first();
    let (probe, protocol) = match first {
        Some((place, packet)) if !live.wait => {
            if walked.comes_in {
                return Err(Error::usage(format!(
                    "nothing can be sent from {}: it is not here",
                    args.from
                ))
                .hint("wait for a packet from there: `--wait`")
                .into());
            }
            (Some(world.places[*place].netns.probe(packet)?), packet.protocol)
        }
        Some((_, packet)) => (None, packet.protocol),
        // Without a route, no packet is sent.
        None => return Ok(walked.way.clone()),
    };
    let mut answer = Answer::None;
    let mut quiet_since: Option<Instant> = None;
    let seen = loop {
        if let Some(probe) = &probe
            && answer == Answer::None
        {
            answer = probe.answer()?;
        }
        for (_, follower, events) in &mut listening {
            events.extend(follower.events()?);
        }
        let seen = seen(world, walked, &listening)?;
        let is_dropped = seen.iter().any(|seen| seen.dropped);
        if is_dropped || answer != Answer::None || Instant::now() >= until {
            break seen;
        }
        // If the packet has come as far as expected, wait a moment whether it gets further.
        let is_there = passed(&seen).eq(walked.passed.iter().copied());
        let waits_for_answer = walked.reached.outcome != Outcome::Dies
            && walked.reached.outcome != Outcome::Leaves
            && probe.is_some()
            && protocol != UDP;
        if is_there && !waits_for_answer {
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= GRACE && !seen.is_empty() {
                break seen;
            }
        } else {
            quiet_since = None;
        }
        sleep(INTERVAL).await;
    };
    if seen.is_empty() && live.wait {
        return Err(Error::new(
            Kind::Timeout,
            format!("no such packet came in {} seconds", patience.as_secs()),
        )
        .into());
    }
    Ok(told(world, walked, &seen, answer, probe.is_some()))
}

/// Returns the hooks that it passed.
fn passed(seen: &[Seen]) -> impl Iterator<Item = (usize, Hook)> + '_ {
    let passed = |seen: &&Seen| seen.passed && seen.point.layer == Layer::Ip;
    seen.iter().filter(passed).map(|seen| (seen.place, seen.point.hook))
}

/// Returns the events of the first packet, by hook, in the order of its path.
fn seen(
    world: &World,
    walked: &Walked,
    followed: &[(usize, Follower, Vec<Event>)],
) -> Result<Vec<Seen>> {
    let mut all: Vec<Seen> = Vec::new();
    for (place, _, events) in followed {
        let ruleset = world.places[*place].ruleset()?;
        let mut here: Vec<Seen> = Vec::new();
        let mut came: Vec<Hook> = Vec::new();
        for event in events {
            let point = match event {
                Event::Comes(hook) if came.contains(hook) => break,
                Event::Comes(hook) => {
                    came.push(*hook);
                    Point::ip(*hook)
                }
                Event::Passed(hook) => Point::ip(*hook),
                Event::Meets { table, chain, .. } => {
                    let base = ruleset.chain(table, chain).and_then(Chain::point);
                    let last = here.last().map(|seen| seen.point);
                    let Some(point) = base.or(last) else { continue };
                    point
                }
            };
            let is_new = here.last().is_none_or(|last| last.point != point || last.passed);
            if is_new {
                let place = *place;
                here.push(Seen { place, point, rules: Vec::new(), passed: false, dropped: false });
            }
            let Some(last) = here.last_mut() else { continue };
            match event {
                Event::Comes(_) => {}
                Event::Passed(_) => last.passed = true,
                Event::Meets { drops, .. } => {
                    last.rules.extend(met(ruleset, event));
                    last.dropped |= drops;
                }
            }
        }
        all.extend(here);
    }
    // A hook that was met twice in one namespace: use the order of namespaces.
    let order = |place: usize| walked.entries.iter().position(|(entry, _)| *entry == place);
    all.sort_by_key(|seen| order(seen.place));
    Ok(all)
}

/// Returns the rule of an event; `None` for a policy that accepts.
fn met(ruleset: &Ruleset, event: &Event) -> Option<Met> {
    let Event::Meets { table, chain, handle, drops } = event else { return None };
    let found = ruleset.chain(table, chain);
    let rule = handle.and_then(|handle| found?.rules.iter().find(|rule| rule.handle == handle));
    if handle.is_none() && !drops {
        return None;
    }
    let text = match (rule, handle) {
        (Some(rule), _) => found.map(|chain| chain.text(rule, ruleset)).unwrap_or_default(),
        (None, Some(handle)) => format!("handle {handle}"),
        (None, None) => "policy drop".to_owned(),
    };
    let effect = if *drops { "drop" } else { "" };
    Some(Met {
        table: table.clone(),
        chain: chain.clone(),
        handle: *handle,
        rule: text,
        comment: rule.and_then(|rule| rule.comment.clone()),
        effect: effect.to_owned(),
        certain: true,
    })
}

/// Returns the observed path: the rules as the kernel reported them, and everything else as
/// computed.
fn told(world: &World, walked: &Walked, seen: &[Seen], answer: Answer, sent: bool) -> Way {
    let name = |place: usize| world.places[place].name.clone();
    let expected = &walked.reached;
    let as_expected = passed(seen).eq(walked.passed.iter().copied());
    let verdict = match seen.iter().find(|seen| seen.dropped) {
        Some(at) => {
            let verdict =
                verdict_of_rule(&name(at.place), stage(at.point), at.rules.last().cloned());
            let same = |met: &Met| {
                let rule = verdict.rule.as_ref();
                rule.is_some_and(|r| {
                    (&r.table, &r.chain, r.handle) == (&met.table, &met.chain, met.handle)
                })
            };
            if expected.rule.as_ref().is_some_and(same) { expected.clone() } else { verdict }
        }
        None => match (answer, expected.outcome) {
            (Answer::Taken, Outcome::Arrives | Outcome::Leaves)
            | (Answer::Refused, Outcome::Refused) => expected.clone(),
            (Answer::Taken, _) => arrived(expected, Outcome::Arrives, "somebody answers"),
            (Answer::Refused, _) => arrived(expected, Outcome::Refused, "it is refused"),
            // The reply may be missing for other reasons: the events decide.
            (Answer::None | Answer::Failed(_), outcome) if as_expected => {
                let is_answered = sent && walked.packet.protocol != UDP;
                match outcome {
                    // After the last rule, something unknown may follow.
                    Outcome::Leaves => walked.way.verdict.clone(),
                    Outcome::Arrives if is_answered => {
                        lost(&name, seen, expected, "it got there, and no answer came back")
                    }
                    _ => expected.clone(),
                }
            }
            (Answer::None | Answer::Failed(_), _) => lost(&name, seen, expected, "not seen again"),
        },
    };
    let is_expected = verdict == *expected || verdict == walked.way.verdict;
    let answer = if is_expected { walked.way.answer.clone() } else { Vec::new() };
    let unjudged =
        if verdict.outcome == Outcome::Unknown { walked.way.unjudged.clone() } else { Vec::new() };
    Way { hops: hops(world, walked, seen, as_expected), answer, unjudged, verdict }
}

fn arrived(expected: &Verdict, outcome: Outcome, why: &str) -> Verdict {
    let place = expected.place.clone();
    let text =
        format!("{}: {why}", if outcome == Outcome::Arrives { "arrives" } else { "refused" });
    Verdict { outcome, place, stage: Stage::Socket, rule: None, text }
}

fn lost(name: &impl Fn(usize) -> String, seen: &[Seen], expected: &Verdict, why: &str) -> Verdict {
    let last = seen.last();
    let place = last.map_or(expected.place.clone(), |last| name(last.place));
    let stage = last.map_or(expected.stage, |last| stage(last.point));
    let text = format!("dies after {stage} of {place}: {why}");
    Verdict { outcome: Outcome::Dies, place, stage, rule: None, text }
}

/// Returns the computed hops, with the observed rules instead of the computed ones, as far as the
/// packet came.
fn hops(world: &World, walked: &Walked, seen: &[Seen], as_expected: bool) -> Vec<Hop> {
    let mut hops = Vec::new();
    // The kernel reports rules of IP only; hops of other layers stay as computed.
    let mut left = seen.iter().filter(|seen| seen.point.layer == Layer::Ip).peekable();
    let hop_of = |seen: &Seen, what: &str| Hop {
        place: world.places[seen.place].name.clone(),
        stage: stage(seen.point),
        what: what.to_owned(),
        rules: seen.rules.clone(),
    };
    let result = |seen: &Seen| if seen.dropped { "dropped" } else { "passes" };
    let is_of_rules = |hop: &Hop| {
        [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]
            .iter()
            .any(|hook| stage(Point::ip(*hook)) == hop.stage)
    };
    for hop in &walked.way.hops {
        if !is_of_rules(hop) {
            hops.push(hop.clone());
            continue;
        }
        // Hooks without a rule are not shown, computed or observed.
        while left.peek().is_some_and(|s| {
            let at = (&world.places[s.place].name, stage(s.point));
            at != (&hop.place, hop.stage) && s.rules.is_empty() && s.passed
        }) {
            left.next();
        }
        let Some(at) = left.next() else { break };
        if (&world.places[at.place].name, stage(at.point)) != (&hop.place, hop.stage) {
            hops.push(hop_of(at, result(at)));
            break;
        }
        let is_same = at.dropped == (hop.what == "dropped" || hop.what == "rejected");
        hops.push(hop_of(at, if is_same { &hop.what } else { result(at) }));
        if at.dropped || !at.passed {
            break;
        }
    }
    if !as_expected {
        hops.extend(left.filter(|s| !s.rules.is_empty()).map(|s| hop_of(s, result(s))));
    }
    hops
}
