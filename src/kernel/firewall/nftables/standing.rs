//! The current content of our table, and its differences from the plan: missing or additional
//! rules.
//!
//! Rules are compared as values, since the kernel reports a rule in another form than it was sent.
//! Sets need no check: a set that a rule refers to cannot be deleted.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, SetElementAttribute,
};

use super::{
    data, dump,
    expression::expressions,
    read,
    request::{self, Request, empty, inet, of_set},
};
use crate::{
    kernel::nfnetlink::Socket,
    model::{
        LinkName,
        ruleset::{Base, Hook, Rule as Found},
    },
    plan::nft::{
        BRIDGES, Chain, ElementData, FROM_OPEN, Hook as Load, NetworkRules, OPEN, Point, Set,
        TABLE, Value, chains,
    },
};

/// Our table in the kernel, without published ports.
#[derive(Debug)]
pub(in crate::kernel::firewall) struct Standing {
    chains: Vec<dump::Used>,
    bridges: Vec<LinkName>,
    open: Vec<LinkName>,
}

impl Standing {
    /// Reads the table; returns `None` if there is none.
    pub(super) fn read(socket: &mut Socket) -> io::Result<Option<Self>> {
        let chains = dump::of_table(socket, TABLE)?;
        if chains.is_empty() && !read::has_table(socket)? {
            return Ok(None);
        }
        let mut standing = Self { chains, bridges: links(socket, &BRIDGES)?, open: Vec::new() };
        // Only open networks jump to this chain.
        if standing.is_led_to(FROM_OPEN) {
            standing.open = links(socket, &OPEN)?;
        }
        Ok(Some(standing))
    }

    /// Returns how the part that all networks share differs from the plan, a line for each
    /// difference.
    pub(super) fn damage_of_table(&self) -> Vec<String> {
        let of_ours = chains().into_iter().flat_map(|chain| self.damage_of(&chain));
        let strange = self.strange().map(|name| format!("not netcord's: chain {}", path(name)));
        of_ours.chain(strange).collect()
    }

    /// Returns how a network's chains differ from the plan, a line for each difference.
    pub(super) fn damage_of_network(&self, rules: &NetworkRules) -> Vec<String> {
        let mut lines: Vec<_> =
            rules.chains().flat_map(|(_, chain)| self.damage_of(&chain)).collect();
        for (set, element) in rules.elements() {
            let is_there = match &element.data {
                ElementData::Jump(chain) => self.is_led_to(chain),
                _ if set.name == OPEN.name => self.open.contains(&rules.network),
                _ => self.bridges.contains(&rules.network),
            };
            if !is_there {
                lines.push(format!("not there: element {} {{ {element} }}", path(set.name)));
            }
        }
        lines
    }

    /// Returns the requests that repair what all networks share, and leave the networks' own parts
    /// alone.
    pub(super) fn made_whole(&self) -> Vec<Request> {
        let ours = chains();
        let there = |chain: &&Chain| self.find(&chain.name).is_some();
        let mut requests: Vec<_> = ours.iter().filter(there).map(|c| emptied(&c.name)).collect();
        let changed = ours.iter().filter(there).filter(|chain| !self.is_based(chain));
        for name in changed.map(|chain| &*chain.name).chain(self.strange()) {
            requests.extend([emptied(name), deleted(name)]);
        }
        requests.extend(request::table(NLM_F_CREATE));
        requests
    }

    fn find(&self, name: &str) -> Option<&dump::Used> {
        self.chains.iter().find(|(chain, _)| chain.name == name)
    }

    /// Returns base chains that are not in the plan; packets pass them too.
    fn strange(&self) -> impl Iterator<Item = &str> {
        let ours = chains();
        let is_strange = move |name: &str| ours.iter().all(|own| own.name != name);
        let based = self.chains.iter().filter(|(chain, _)| chain.base.is_some());
        based.map(|(chain, _)| chain.name.as_str()).filter(move |name| is_strange(name))
    }

    /// Returns whether map elements or rules lead to a chain of this name.
    fn is_led_to(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(chain, uses)| *uses as usize > chain.rules.len())
    }

    /// Returns whether a base chain has the hook of the plan.
    fn is_based(&self, chain: &Chain) -> bool {
        let found = self.find(&chain.name);
        found.is_some_and(|(found, _)| found.base == chain.hook.as_ref().map(base))
    }

    fn damage_of(&self, chain: &Chain) -> Vec<String> {
        let name = &chain.name;
        let Some((found, _)) = self.find(name) else {
            return vec![format!("not there: chain {}", path(name))];
        };
        let mut lines = Vec::new();
        if !self.is_based(chain) {
            let hook = chain.hook.as_ref().map(|hook| format!(" {{ {hook} }}"));
            let hook = hook.unwrap_or_default();
            lines.push(format!("not as it was made: chain {}{hook}", path(name)));
        }
        lines.extend(differences(chain, &found.rules));
        lines
    }
}

/// Returns the rules that a chain lacks, and additional ones.
fn differences(chain: &Chain, found: &[Found]) -> Vec<String> {
    let wanted: Vec<_> =
        chain.rules.iter().map(|rule| (rule, dump::read_back(expressions(rule)))).collect();
    let is_same = wanted.len() == found.len()
        && wanted.iter().zip(found).all(|((_, wanted), found)| *wanted == found.expressions);
    if is_same {
        return Vec::new();
    }
    let place = path(&chain.name);
    let (mut lines, mut rest) = (Vec::new(), found.iter().collect::<Vec<_>>());
    for (rule, expressions) in &wanted {
        match rest.iter().position(|found| found.expressions == *expressions) {
            Some(at) => drop(rest.remove(at)),
            None => lines.push(format!("not there: rule {place} {rule}")),
        }
    }
    lines.extend(rest.iter().map(|found| format!("not netcord's: rule {place} {}", found.words())));
    if lines.is_empty() {
        lines.push(format!("in another order: the rules of chain {place}"));
    }
    lines
}

/// Returns the links that are keys of a set or map; none if it is missing.
pub(super) fn links(socket: &mut Socket, set: &Set) -> io::Result<Vec<LinkName>> {
    let get = inet(NfTablesMessage::GetSetElement(of_set(set)));
    let found = socket.dump(&get, NLM_F_DUMP, |m| Some(read::elements(m)));
    let found = read::or_none(found.map(Some))?.unwrap_or_default();
    let name = |attribute: &SetElementAttribute| match data::read_key(set, attribute)?.pop()? {
        Value::Link(name) => Some(name),
        _ => None,
    };
    Ok(found.iter().flatten().flatten().filter_map(name).collect())
}

fn base(hook: &Load) -> Base {
    Base {
        hook: match hook.point {
            Point::Prerouting => Hook::Prerouting,
            Point::Forward => Hook::Forward,
            Point::Output => Hook::Output,
            Point::Postrouting => Hook::Postrouting,
        },
        devices: Vec::new(),
        priority: hook.priority,
        translates: hook.kind == "nat",
        drops: false,
    }
}

fn path(name: &str) -> String {
    format!("inet {TABLE} {name}")
}

fn emptied(name: &str) -> Request {
    Request { message: empty(name), flags: 0 }
}

fn deleted(name: &str) -> Request {
    let attributes =
        vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(name.to_owned())];
    Request { message: NfTablesMessage::DeleteChain(ChainMessage { attributes }), flags: 0 }
}
