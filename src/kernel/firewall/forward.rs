//! What firewalls of others drop of what the host forwards, and where they take an accept.
//!
//! A base chain's accept says nothing to the next one, and a drop is final: a chain of our own
//! cannot undo it. One dump of the chains of `nf_tables` tells whether there is anything to look at;
//! the rules of iptables are listed only where its chain FORWARD has some.

use std::fs;

use anyhow::Result;

use super::{
    chains::{self, Chain},
    iptables,
};
use crate::{
    model::{AcceptPoint, Family, Firewall, ForwardAccept, ruleset::Listing},
    plan::Table,
};

/// What stands in the way of what is forwarded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ForwardBlockers {
    /// Where an accept goes.
    pub forward_accepts: Vec<ForwardAccept>,
    /// Chains whose policy is to drop, and whose owner leaves no place for others: `TABLE CHAIN`.
    pub others: Vec<String>,
}

/// The comment of the jump to our rules where nothing is in the way.
const OWN_JUMP: &str = "\"netcord: FORWARD to NETCORD-FORWARD\"";

/// Looks what is in the way of these families, where our own rules are in this firewall.
pub(in crate::kernel) fn obstacles(
    firewall: Firewall,
    families: &[Family],
) -> Result<ForwardBlockers> {
    let chains = chains::all()?;
    let mut found = ForwardBlockers::default();
    let mut listed = Vec::new();
    for family in families {
        // A table that iptables cannot list was not made by it.
        if meets_iptables(*family, &chains)
            && let Ok(text) = iptables::list(*family, Table::Filter)
        {
            listed.push(nft_name(*family));
            found.forward_accepts.extend(gate(firewall, *family, &Listing::parse(*family, &text)));
        }
    }
    if chains.iter().any(|c| c.is("inet", "firewalld", "filter_FORWARD")) {
        found.forward_accepts.push(AcceptPoint::FirewalldZone.before(None));
    }
    let families = families.iter().map(|family| nft_name(*family));
    let concerned: Vec<_> = families.chain(["inet"]).collect();
    let is_listed = |c: &Chain| listed.iter().any(|family| c.is(family, "filter", "FORWARD"));
    let others = chains
        .iter()
        .filter(|c| c.drops_forwarded && concerned.contains(&c.family) && !is_listed(c));
    found.others.extend(others.map(|c| format!("{} {} {}", c.family, c.table, c.name)));
    Ok(found)
}

/// A family as `nft` calls it.
fn nft_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Whether iptables' chain FORWARD of this family is more than an empty one that lets by.
fn meets_iptables(family: Family, chains: &[Chain]) -> bool {
    let legacy = match family {
        Family::V4 => "/proc/net/ip_tables_names",
        Family::V6 => "/proc/net/ip6_tables_names",
    };
    let is_it = |c: &Chain| c.is(nft_name(family), "filter", "FORWARD");
    chains.iter().any(|c| is_it(c) && (c.drops_forwarded || c.uses > 0))
        || fs::read_to_string(legacy).is_ok_and(|tables| tables.lines().any(|t| t == "filter"))
}

/// The gate of iptables' table `filter`, if it needs one.
fn gate(firewall: Firewall, family: Family, listing: &Listing<'_>) -> Option<ForwardAccept> {
    let of_all = listing.of_all("FORWARD");
    // A rule that drops everything, or returns everything to a policy that does.
    let wall = of_all.number.filter(|_| of_all.drops);
    let is_in_front = |number| wall.is_none_or(|wall| number < wall);
    let has_own_jump =
        || listing.rules("FORWARD").any(|(n, rule)| is_in_front(n) && rule.contains(OWN_JUMP));
    let is_open = match firewall {
        // Our chain is met behind all rules, and accepts before the policy drops.
        Firewall::Iptables => wall.is_none() || has_own_jump(),
        Firewall::Nftables => wall.is_none() && !listing.drops(),
    };
    if is_open {
        return None;
    }
    Some(if listing.jump("FORWARD", "DOCKER-USER").is_some_and(is_in_front) {
        AcceptPoint::DockerUser { family }.before(listing.of_all("DOCKER-USER").number)
    } else {
        AcceptPoint::Forward { family }.before(wall)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(firewall: Firewall, listing: &str) -> Option<ForwardAccept> {
        gate(firewall, Family::V4, &Listing::parse(Family::V4, listing))
    }

    #[track_caller]
    fn assert_gate(listing: &str, place: AcceptPoint, before: Option<u32>) {
        for firewall in Firewall::ALL {
            let gate = found(firewall, listing).expect("a gate is needed");
            assert_eq!((gate.place, gate.before), (place, before), "{listing}");
        }
    }

    const FORWARD: AcceptPoint = AcceptPoint::Forward { family: Family::V4 };
    const DOCKER_USER: AcceptPoint = AcceptPoint::DockerUser { family: Family::V4 };

    #[test]
    fn a_policy_and_what_is_for_some_only_leave_our_own_jump_in_reach() {
        for listing in [
            "",
            "-P FORWARD DROP",
            "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN",
            "-A FORWARD -s 192.0.2.0/24 -j DROP",
            "-A FORWARD -j LOG --log-prefix x",
            "-A FORWARD -j ACCEPT\n-A FORWARD -j DROP",
            "-A FORWARD -j mine\n-A mine -p tcp -j DROP\n-A mine -j RETURN\n-A mine -j DROP",
            "-A FORWARD -j a\n-A a -j a",
        ] {
            assert_eq!(found(Firewall::Iptables, listing), None, "{listing}");
        }
    }

    #[test]
    fn a_table_of_our_own_needs_a_gate_where_a_policy_drops() {
        let gate = |listing| found(Firewall::Nftables, listing).map(|g| (g.place, g.before));
        assert_eq!(gate("-P FORWARD ACCEPT\n-A FORWARD -s 192.0.2.0/24 -j DROP"), None);
        assert_eq!(gate("-P FORWARD DROP\n-A FORWARD -i lo -j ACCEPT"), Some((FORWARD, None)));
        let docker = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN";
        assert_eq!(gate(docker), Some((DOCKER_USER, Some(1))));
    }

    #[test]
    fn a_rule_that_drops_everything_is_met_in_whatever_chain_it_is() {
        let last = "-A FORWARD -i lo -j ACCEPT\n-A FORWARD -j REJECT --reject-with x";
        assert_gate(last, FORWARD, Some(2));
        let commented = "-A FORWARD -m comment --comment \"so it is\" -j DROP";
        assert_gate(commented, FORWARD, Some(1));
        let of_ufw = "-A FORWARD -j ufw-before-forward\n-A FORWARD -j ufw-reject-forward\n\
                      -A ufw-before-forward -p icmp -j ACCEPT\n-A ufw-reject-forward -j REJECT";
        assert_gate(of_ufw, FORWARD, Some(2));
        let gone_to = "-A FORWARD -j zones\n-A zones -g public\n-A public -j DROP";
        assert_gate(gone_to, FORWARD, Some(1));
    }

    #[test]
    fn our_own_jump_is_not_in_reach_behind_a_rule_that_returns_everything() {
        let returned = "-P FORWARD DROP\n-A FORWARD -j RETURN";
        assert_gate(returned, FORWARD, Some(1));
        assert_eq!(found(Firewall::Nftables, "-A FORWARD -j RETURN"), None);
    }

    #[test]
    fn docker_leaves_a_place_before_its_own_last_word() {
        let rules = "-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j DROP\n";
        assert_gate(rules, DOCKER_USER, None);
        let with_return =
            format!("{rules}-A DOCKER-USER -s 192.0.2.9/32 -j DROP\n-A DOCKER-USER -j RETURN");
        assert_gate(&with_return, DOCKER_USER, Some(2));
        let behind = "-N DOCKER-USER\n-A FORWARD -j DROP\n-A FORWARD -j DOCKER-USER";
        assert_gate(behind, FORWARD, Some(1));
    }

    #[test]
    fn what_is_in_reach_needs_no_gate_and_a_gate_that_is_there_stays() {
        let jump =
            |comment: &str| format!("-A FORWARD -m comment --comment {comment} -j NETCORD-FORWARD");
        let own = format!("{}\n-A FORWARD -j DROP", jump(OWN_JUMP));
        assert_eq!(found(Firewall::Iptables, &own), None);
        let jump_to_ours = crate::plan::jumps(Family::V4).pop().unwrap();
        let Some(crate::plan::Resource::Rule(rule)) = jump_to_ours.change.resource() else {
            panic!("{jump_to_ours:?}")
        };
        let opened = format!(
            "{}\n-A FORWARD -j DROP\n{}",
            jump(&format!("\"{}\"", rule.comment)),
            jump(OWN_JUMP)
        );
        let gate = found(Firewall::Iptables, &opened).unwrap();
        assert_eq!((gate.place, gate.before), (FORWARD, Some(2)));
    }
}
