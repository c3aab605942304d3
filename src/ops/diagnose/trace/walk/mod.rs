//! Computes the path of a packet and of its reply from the kernel's answers, without sending one.
//!
//! - `packet`: routing decisions, and delivery to sockets
//! - `neighbour`: the destination MAC
//! - `frame`: from link to link, and through bridges
//! - `tunnel`: into VXLAN tunnels and out of them
//! - `hooks`: rules and filters, and which of them are not judged

mod frame;
mod hooks;
mod neighbour;
mod packet;
mod tunnel;

use std::{collections::HashMap, net::IpAddr};

use anyhow::Result;

use self::tunnel::Inner;
pub(super) use self::{
    hooks::stage,
    neighbour::{Neighbour, Question},
};
use super::world::{HOST, LinkAt, World};
use crate::{
    kernel::Link,
    model::{
        Mac,
        ruleset::{Connection, Hook, Packet},
        trace_path::{Hop, Outcome, Stage, Unjudged, Verdict, Way},
    },
};

/// The limit on the number of hops, for routing loops.
const LONGEST: usize = 64;

/// The position of a packet.
enum At {
    /// A socket sends it.
    Sent { place: usize },
    /// The routing decision is made, and it is about to leave.
    Out { place: usize, came: Option<u32>, link: u32, next: IpAddr },
    /// A link sends a frame to a neighbour.
    Frame { place: usize, link: u32, next: IpAddr },
    /// A link has received a frame.
    Came { place: usize, link: u32 },
    /// The IP stack has received a packet; or it was sent to an address of its own host.
    In { place: usize, link: u32, looped: bool },
    /// It is for this host.
    Here { place: usize, link: u32 },
    /// A request for a MAC is answered on its way, by a link that knows who is behind it.
    Answered { mac: Mac },
    /// The end.
    End(Verdict),
}

/// The result of a walk, besides the path.
pub(in crate::ops::diagnose) struct Walked {
    pub(in crate::ops::diagnose) way: Way,
    /// The verdict if everything that was not judged lets it pass.
    pub(super) reached: Verdict,
    /// The packet as it entered each namespace, in order.
    pub(super) entries: Vec<(usize, Packet)>,
    /// The hooks that it passed.
    pub(super) passed: Vec<(usize, Hook)>,
    /// The packet at its end.
    pub(super) packet: Packet,
    /// Whether it came from outside of this machine.
    pub(super) comes_in: bool,
}

/// The beginning of a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::ops::diagnose) enum Start {
    /// A socket in this namespace sends it.
    Socket(usize),
    /// A link of the host receives it.
    Link(u32),
}

/// The end of a packet's path.
#[derive(Clone, Copy)]
enum End {
    /// A socket in this namespace received it.
    Socket(usize),
    /// It left by this link.
    Link(LinkAt),
}

/// Follows a packet to its end, and its reply back.
pub(in crate::ops::diagnose) async fn walk(
    world: &mut World,
    packet: Packet,
    start: Start,
) -> Result<Walked> {
    let mut walk = Walk::new(world, packet, start);
    let at = match start {
        Start::Socket(place) => At::Sent { place },
        Start::Link(link) => walk.comes_in(link),
    };
    let mut reached = walk.follow(at).await?;
    let packet = walk.packet.clone();
    let hops = std::mem::take(&mut walk.hops);
    let sent = walk.entries.first().map(|(_, packet)| packet.clone());
    if reached.outcome.is_good()
        && let (Some(end), Some(sent)) = (walk.end.take(), sent)
    {
        reached = walk.answered(reached, end, sent).await?;
    }
    let neighbours = std::mem::take(&mut walk.neighbours);
    walk.world.neighbours.extend(neighbours);
    Ok(walk.ended(reached, packet, hops))
}

#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
struct Walk<'w> {
    world: &'w mut World,
    packet: Packet,
    start: Start,
    /// Whether the user gave the sender's address.
    sender_is_set: bool,
    hops: Vec<Hop>,
    entries: Vec<(usize, Packet)>,
    passed: Vec<(usize, Hook)>,
    unjudged: Vec<Unjudged>,
    /// Whether the last hook might have had another result.
    ends_in_doubt: bool,
    /// The next hop.
    next: IpAddr,
    /// The sender of the last frame, and how its MAC was known.
    sender: (usize, String),
    /// The ports by which bridges learned MACs on the path.
    learned: HashMap<(LinkAt, Mac), u32>,
    /// The neighbours that answered.
    neighbours: Vec<(Question, Neighbour)>,
    /// The connections that each namespace tracks because of it.
    connections: HashMap<usize, Vec<Connection>>,
    /// Whether it returned to its sender.
    settled: bool,
    /// Whether it passed prerouting as a bridged frame.
    is_prerouted: bool,
    /// The first packet as it was sent, while its reply is being followed.
    answers: Option<Packet>,
    /// Whether it is ARP or neighbour discovery, and not a packet of the connection.
    asks: bool,
    /// The packet that it carries, if it is one of a tunnel.
    inner: Option<Box<Inner>>,
    end: Option<End>,
}

impl<'w> Walk<'w> {
    fn new(world: &'w mut World, packet: Packet, start: Start) -> Self {
        Self {
            world,
            sender_is_set: !packet.source.is_unspecified(),
            next: packet.destination,
            packet,
            start,
            hops: Vec::new(),
            entries: Vec::new(),
            passed: Vec::new(),
            unjudged: Vec::new(),
            ends_in_doubt: false,
            sender: (HOST, String::new()),
            learned: HashMap::new(),
            neighbours: Vec::new(),
            connections: HashMap::new(),
            settled: false,
            is_prerouted: false,
            answers: None,
            asks: false,
            inner: None,
            end: None,
        }
    }

    async fn follow(&mut self, mut at: At) -> Result<Verdict> {
        for _ in 0..LONGEST {
            at = match at {
                At::Sent { place } => self.sent(place).await?,
                At::Out { place, came, link, next } => self.out(place, came, link, next).await?,
                At::Frame { place, link, next } => self.frame(place, link, next).await?,
                At::Came { place, link } => self.came(place, link).await?,
                At::In { place, link, looped } => self.comes(place, link, looped).await?,
                At::Here { place, link } => self.here(place, link).await?,
                At::Answered { .. } => {
                    let why = "an answer came, and nobody has asked";
                    return Ok(self.verdict(Outcome::Dies, HOST, Stage::Neighbour, why));
                }
                At::End(verdict) => return Ok(verdict),
            };
        }
        Ok(self.verdict(Outcome::Dies, HOST, Stage::Route, "it goes round in circles"))
    }

    /// Follows the reply; the verdict is about both.
    async fn answered(&mut self, there: Verdict, end: End, sent: Packet) -> Result<Verdict> {
        let frame = self.packet.frame;
        self.answers = Some(sent);
        let outer = self.packet.clone();
        self.packet = outer.answer();
        if let Some(inner) = self.inner.take() {
            self.answer_in_tunnel(*inner, &outer);
        }
        self.sender_is_set = true;
        self.settled = false;
        let at = match end {
            End::Socket(place) => At::Sent { place },
            End::Link((place, link)) => {
                (self.packet.frame.source, self.packet.frame.destination) = (None, frame.source);
                self.next = self.packet.destination;
                self.sender = (place, "known outside".to_owned());
                At::Came { place, link }
            }
        };
        let back = self.follow(at).await?;
        if back.outcome.is_good() {
            return Ok(there);
        }
        let begins = there.text.split(' ').next().unwrap_or_default().trim_end_matches(':');
        let text = format!("{begins}, but the answer {}", back.text);
        Ok(Verdict { text, ..back })
    }

    fn ended(self, reached: Verdict, packet: Packet, hops: Vec<Hop>) -> Walked {
        // A packet that is dropped for another reason is dropped, whatever else is unknown.
        let is_open = reached.outcome != Outcome::Dies || self.ends_in_doubt;
        let mut verdict = reached.clone();
        if is_open && !self.unjudged.is_empty() {
            let list: Vec<_> = self.unjudged.iter().map(Unjudged::to_string).collect();
            let list = list.join(", ");
            verdict.text = format!("{}, as far as was judged; not judged: {list}", reached.text);
            verdict.outcome = Outcome::Unknown;
        }
        let comes_in = matches!(self.start, Start::Link(_));
        let way = Way { hops, answer: self.hops, unjudged: self.unjudged, verdict };
        let (entries, passed) = (self.entries, self.passed);
        Walked { way, reached, entries, passed, packet, comes_in }
    }

    /// Returns whether it is the first packet of the connection itself, on its way there.
    fn is_the_first(&self) -> bool {
        !self.asks && self.answers.is_none() && self.inner.is_none()
    }

    fn name(&self, place: usize) -> &str {
        &self.world.places[place].name
    }

    fn link(&self, place: usize, index: u32) -> Option<&Link> {
        self.world.places[place].view.at(index)
    }

    fn link_name(&self, place: usize, index: u32) -> String {
        self.world.places[place].link_name(index).to_owned()
    }

    fn hop(&mut self, place: usize, stage: Stage, what: impl Into<String>) {
        let place = self.name(place).to_owned();
        self.hops.push(Hop { place, stage, what: what.into(), rules: Vec::new() });
    }

    fn verdict(&self, outcome: Outcome, place: usize, stage: Stage, why: &str) -> Verdict {
        let place = self.name(place).to_owned();
        let text = match outcome {
            Outcome::Dies => format!("dies at {stage} of {place}: {why}"),
            Outcome::Refused => format!("refused by {place}: {why}"),
            Outcome::Leaves => format!("leaves {place}: {why}"),
            Outcome::Arrives => format!("arrives: {why}"),
            Outcome::Unknown => format!("unknown: {why}"),
        };
        Verdict { outcome, place, stage, rule: None, text }
    }

    /// The packet is dropped; the last hop says why.
    fn dies(&mut self, place: usize, stage: Stage, why: impl Into<String>) -> At {
        let why = why.into();
        self.hop(place, stage, why.clone());
        At::End(self.verdict(Outcome::Dies, place, stage, &why))
    }

    /// It leaves the visible part; the reply comes back by the same link.
    fn leaves(&mut self, place: usize, link: u32, why: impl Into<String>) -> At {
        let why = why.into();
        self.hop(place, Stage::Link, why.clone());
        self.end = Some(End::Link((place, link)));
        if let Some(first) = &self.answers {
            if matches!(self.start, Start::Socket(_)) && !self.asks {
                let what = format!(
                    "what is outside, where the answer goes by {}",
                    self.link_name(place, link)
                );
                self.not_judged(place, Stage::Link, what);
            } else if self.packet.source != first.destination && !self.asks {
                let why = self.comes_from_another(first);
                return self.dies(place, Stage::Link, why);
            }
        }
        At::End(self.verdict(Outcome::Leaves, place, Stage::Link, &why))
    }

    /// A reply from another address belongs to no connection.
    fn comes_from_another(&self, first: &Packet) -> String {
        format!("it comes from {}, not from {}", self.packet.source, first.destination)
    }

    /// It comes from outside, by a link of the host.
    fn comes_in(&mut self, link: u32) -> At {
        let text = format!("comes from outside by {}", self.link_name(HOST, link));
        self.hop(HOST, Stage::Link, text);
        self.packet.frame.destination = self.link(HOST, link).and_then(|link| link.mac);
        self.sender = (HOST, "known outside".to_owned());
        At::Came { place: HOST, link }
    }

    /// Adds something that is not judged.
    fn not_judged(&mut self, place: usize, stage: Stage, what: impl Into<String>) {
        let (place, what) = (self.name(place).to_owned(), what.into());
        let unjudged = Unjudged { place, stage, what };
        if !self.unjudged.contains(&unjudged) {
            self.unjudged.push(unjudged);
        }
    }
}
