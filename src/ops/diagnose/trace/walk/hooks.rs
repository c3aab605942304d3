//! Evaluates rules, `tc` filters and programs on the path.

use std::net::IpAddr;

use anyhow::Result;

use super::{super::place::Place, At, Walk};
use crate::{
    kernel::{
        Link,
        route::{Query, Way as Route},
    },
    model::{
        bpf,
        ruleset::{Connection, Ending, Hook, Layer, Packet, Point, Side, Surroundings},
        trace_path::{Hop, Stage},
    },
};

// TC_ACT_OK, SHOT, UNSPEC
const PASS: u32 = 0;
const DROP: u32 = 2;
const NEXT: u32 = u32::MAX;
/// Qdiscs that drop nothing as long as there is space.
const HARMLESS: [&str; 11] =
    ["", "noqueue", "pfifo_fast", "pfifo", "bfifo", "mq", "fq", "fq_codel", "codel", "sfq", "cake"];
/// `ETH_P_ALL`
const ALL: u16 = 3;

impl Walk<'_> {
    /// Takes the packet through the rules of a hook; returns `Some` if it does not pass.
    pub(super) async fn rules(
        &mut self,
        place: usize,
        point: Point,
        came: Option<u32>,
        goes: Option<u32>,
    ) -> Result<Option<At>> {
        let is_new = self.world.places[place].ruleset()?.has(point);
        let tables = self.world.places[place].legacy(point.layer, &self.packet)?;
        if !tables.is_empty() {
            let what = format!("rules of legacy {}", tables.join(", "));
            self.not_judged(place, stage(point), what);
        }
        if !is_new && point.layer != Layer::Ip {
            self.ends_in_doubt = false;
            return Ok(None);
        }
        let reverse = if is_new { self.reverse(place, came).await? } else { None };
        let here = &self.world.places[place];
        let side = |index: u32| Side { name: here.link_name(index).to_owned(), index };
        let own = goes.or(came).and_then(|link| own_address(here, link, self.next));
        let port = came.or(goes).and_then(|index| here.view.at(index));
        let bridge = port.and_then(|port| here.view.at(port.master?));
        let around = Surroundings {
            incoming: came.map(side),
            outgoing: goes.map(side),
            is_partial: false,
            local: &here.local,
            own,
            settled: self.settled,
            bridge: bridge.map(|bridge| bridge.name.as_str()),
            connections: self.connections.get(&place).map_or(&[], Vec::as_slice),
            reverse,
        };
        let before = self.packet.clone();
        let judged = here.ruleset()?.meet(point, &mut self.packet, &around);
        let name = here.name.clone();
        let stage = stage(point);
        let what = match judged.ending {
            Ending::Dropped => "dropped".to_owned(),
            Ending::Rejected => "rejected".to_owned(),
            Ending::Passes => change(&before, &self.packet),
        };
        if is_new {
            let rules = judged.met.clone();
            self.hops.push(Hop { place: name.clone(), stage, what, rules });
        }
        self.ends_in_doubt = judged.doubt.is_some();
        if let Some(met) = &judged.doubt {
            self.not_judged(place, stage, format!("`{}`", crate::picture::trace_path::rule(met)));
        }
        if judged.ending != Ending::Passes {
            let rule = judged.met.into_iter().next_back();
            return Ok(Some(At::End(super::super::verdict_of_rule(&name, stage, rule))));
        }
        if point.layer == Layer::Ip && self.is_the_first() {
            self.passed.push((place, point.hook));
            if matches!(point.hook, Hook::Input | Hook::Postrouting) {
                let known = Connection::confirmed(&self.packet);
                self.connections.entry(place).or_default().extend(known);
            }
        }
        Ok(None)
    }

    /// Returns the link that leads back to the sender, if a rule needs that.
    async fn reverse(&self, place: usize, came: Option<u32>) -> Result<Option<u32>> {
        let here = &self.world.places[place];
        if came.is_none() || !here.needs_reverse()? {
            return Ok(None);
        }
        Ok(match here.way(Query::to(self.packet.source)).await? {
            Route::By { index, .. } => Some(index),
            Route::Here { .. } | Route::None(_) => None,
        })
    }

    /// Evaluates the filters on a received frame in the kernel's order: XDP, `tc`, rules.
    pub(super) async fn received(&mut self, place: usize, link: &Link) -> Result<Option<At>> {
        if link.xdp {
            let what = format!("XDP program at {}", link.name);
            self.not_judged(place, Stage::Ingress, what);
        }
        if let Some(end) = self.filters(place, link, true).await? {
            return Ok(Some(end));
        }
        self.rules(place, Point::link(Hook::Ingress), Some(link.index()), None).await
    }

    /// Evaluates the filters on a frame that is sent: rules, then `tc`.
    pub(super) async fn leaving(&mut self, place: usize, link: &Link) -> Result<Option<At>> {
        let rules = self.rules(place, Point::link(Hook::Egress), None, Some(link.index())).await?;
        if rules.is_some() {
            return Ok(rules);
        }
        if !HARMLESS.contains(&link.qdisc.as_str()) {
            let what = format!("queue ({}) at {}", link.qdisc, link.name);
            self.not_judged(place, Stage::Egress, what);
        }
        self.filters(place, link, false).await
    }

    /// Runs programs of classic BPF, such as those of `--no-spoof`.
    async fn filters(&mut self, place: usize, link: &Link, receives: bool) -> Result<Option<At>> {
        let stage = if receives { Stage::Ingress } else { Stage::Egress };
        for filter in self.world.places[place].filters(link, receives).await?.iter() {
            if filter.protocol != ALL && filter.protocol != self.packet.ether_type() {
                continue;
            }
            let program = filter.program.as_deref();
            let result = program.and_then(|program| bpf::run(program, &self.packet.bytes()));
            match result {
                Some(NEXT) => {}
                Some(PASS) => break,
                Some(DROP) => {
                    let (kind, preference) = (&filter.kind, filter.preference);
                    let why =
                        format!("tc filter (pref {preference} {kind}) at {} drops it", link.name);
                    return Ok(Some(self.dies(place, stage, why)));
                }
                _ => {
                    let what = format!("tc filter ({}) at {}", filter.kind, link.name);
                    self.not_judged(place, stage, what);
                }
            }
        }
        Ok(None)
    }
}

/// Describes what rules changed.
fn change(before: &Packet, after: &Packet) -> String {
    if before.source != after.source {
        return format!("from {} from here on", after.source);
    }
    if (before.destination, before.port) == (after.destination, after.port) {
        return "passes".to_owned();
    }
    let port = after.port.map(|port| format!(" port {port}")).unwrap_or_default();
    format!("to {}{port} from here on", after.destination)
}

/// Returns the address for masquerading by a link: one in the subnet of the next hop, or the first.
fn own_address(place: &Place, link: u32, to: IpAddr) -> Option<IpAddr> {
    let of_family = || place.addresses_of(link).filter(|a| a.is_ipv4() == to.is_ipv4());
    let near = of_family().find(|address| address.contains(to));
    near.or_else(|| of_family().next()).map(|address| address.ip())
}

/// Returns the stage of a hook.
pub(in crate::ops::diagnose::trace) fn stage(point: Point) -> Stage {
    match (point.layer, point.hook) {
        (Layer::Arp, _) => Stage::Neighbour,
        (Layer::Bridge, _) => Stage::Bridge,
        (_, Hook::Ingress) => Stage::Ingress,
        (_, Hook::Egress) => Stage::Egress,
        (_, Hook::Prerouting) => Stage::Prerouting,
        (_, Hook::Input) => Stage::Input,
        (_, Hook::Forward) => Stage::Forward,
        (_, Hook::Output) => Stage::Output,
        (_, Hook::Postrouting) => Stage::Postrouting,
    }
}
