//! Chooses the kernel's firewall: the requested one, else that of the host's networks. Moves the
//! rules if that changes, and restores rules that were flushed.

use anyhow::Result;

use crate::{
    kernel::{Kernel, Published},
    model::{Endpoint, Filter, Firewall, Network, NetworkRecord, PublishedPort},
    ops::{
        Session,
        upkeep::{forward_accepts, removal},
    },
    plan::{self, BridgedFrames, Nft, Plan, Record, Resource, Step, once, reverse},
    state::State,
};

/// Returns the firewall for a new network.
pub(in crate::ops) fn of_host(host: &Session<'_>, state: &State) -> Firewall {
    host.firewall.unwrap_or_else(|| of_networks(&host.kernel, state))
}

/// Returns the firewall of the host's networks; for the first network, what the kernel has.
pub(in crate::ops) fn of_networks(kernel: &Kernel, state: &State) -> Firewall {
    let mut with_rules =
        state.networks().values().map(|r| &r.network).filter(|n| may_have_rules(n));
    with_rules.next().map_or_else(|| kernel.firewall(), |network| network.firewall)
}

/// Returns the firewall that contains rules of ours, if no record says; if none does, what the
/// kernel has.
pub(in crate::ops) fn of_marks(kernel: &Kernel) -> Firewall {
    let stands = Firewall::ALL.into_iter().find(|firewall| kernel.stands(*firewall));
    stands.unwrap_or_else(|| kernel.firewall())
}

fn may_have_rules(network: &Network) -> bool {
    network.driver.forwards()
}

/// Returns the ports in a firewall that no endpoint on record publishes, with the steps that delete
/// their rules.
pub(in crate::ops) fn stale_ports(
    host: &Session<'_>,
    state: &State,
    firewall: Firewall,
) -> Vec<(PublishedPort, Step)> {
    let mut found = Vec::new();
    for Published { owner, port, .. } in host.kernel.published(firewall).iter() {
        let has_it = |(record, e): (&NetworkRecord, &Endpoint)| {
            record.network.firewall == firewall
                && *owner == plan::owner(&record.network.name, &e.netns)
                && e.ports.iter().any(|p| p.is_as(port))
        };
        if !state.endpoints().any(has_it) {
            let rules = plan::port(firewall, owner, port);
            found.push((port.clone(), Step::delete("a published port without a record", rules)));
        }
    }
    found
}

/// Moves the rules of all networks to the requested firewall, and restores rules that are missing
/// in our table.
pub(in crate::ops) async fn settle(host: &mut Session<'_>, state: &mut State) -> Result<()> {
    if let Some(wanted) = host.firewall {
        move_over(host, state, wanted).await?;
    }
    mend(host, state).await
}

async fn move_over(host: &mut Session<'_>, state: &mut State, to: Firewall) -> Result<()> {
    let is_elsewhere = |r: &&NetworkRecord| may_have_rules(&r.network) && r.network.firewall != to;
    if !state.networks().values().any(|r| is_elsewhere(&r)) {
        return leave_nothing(host, state, to).await;
    }
    host.complete(state).await?;
    let moved: Vec<_> = state.networks().values().filter(is_elsewhere).cloned().collect();
    // Both firewalls have the rules for a moment, so never less is forbidden than before or after;
    // and the records are right whenever this is interrupted.
    let (mut plan, mut records, mut former) = (Plan::new(), Plan::new(), Plan::new());
    for record in moved {
        let network = Network { firewall: to, ..record.network.clone() };
        let network = forward_accepts::of_now(host, &network)?;
        records.push(Step::create(
            "record which firewall has the rules",
            Resource::Record(Record::Network(network.clone())),
        ));
        former.extend(rules(&record));
        let record = NetworkRecord { network, endpoints: record.endpoints };
        plan.extend(rules(&record));
        if host.dry_run {
            // Without the lock, nothing is written.
            state.adopt_network(record.network);
        }
    }
    plan.extend(records);
    plan.extend(reverse(&once(former), |_| false));
    let plan = once(plan);
    if host.dry_run {
        host.print(&plan).await?;
        host.printed = plan;
        return Ok(());
    }
    host.carry_out(&plan, state).await?;
    host.events.note(&format!("the rules of this host are in {to} now"));
    Ok(())
}

/// Removes what an interrupted move of rules left.
async fn leave_nothing(host: &mut Session<'_>, state: &mut State, to: Firewall) -> Result<()> {
    for left in Firewall::ALL.into_iter().filter(|firewall| *firewall != to) {
        let is_needed = state.networks().values().any(|r| removal::needs(r, left, None));
        if !host.dry_run && !is_needed && host.kernel.stands(left) {
            host.carry_out(&removal::leftover(state.networks(), left), state).await?;
        }
    }
    Ok(())
}

/// Restores our nftables table if another program flushed or changed it. If that fails, the
/// networks that need the table are set aside: commands for other networks go on.
async fn mend(host: &mut Session<'_>, state: &mut State) -> Result<()> {
    let may_be = |n: &Network| n.firewall == Firewall::Nftables && may_have_rules(n);
    if host.dry_run || !state.networks().values().any(|r| may_be(&r.network)) {
        return Ok(());
    }
    if !is_damaged(&host.kernel, state)? {
        return Ok(());
    }
    host.complete(state).await?;
    let plan = all_again(host, state)?;
    if plan.is_empty() {
        return Ok(());
    }
    let what = if host.kernel.has_table()? {
        "netcord's table was not as netcord made it"
    } else {
        "the table of netcord's rules was gone"
    };
    if let Err(error) = host.carry_out(&once(plan), state).await {
        for NetworkRecord { network, .. } in in_our_table(state) {
            let what = format!("cannot be protected: {what}, and cannot be made again");
            host.set_aside(&network.name, &what, &error, "netcord repair")?;
        }
        return Ok(());
    }
    host.mended = true;
    host.events.warn(&format!("{what}, and was made again"));
    Ok(())
}

/// Returns whether our table differs from what the networks on record need. Published ports are not
/// checked: there may be many, and `publish` restores them.
fn is_damaged(kernel: &Kernel, state: &State) -> Result<bool> {
    for record in state.networks().values().filter(|r| r.network.firewall == Firewall::Nftables) {
        for step in rules(record) {
            let Some(resource) = step.change.resource() else { continue };
            let is_looked_at = matches!(resource, Resource::Nft(Nft::Table | Nft::Network(_)));
            if is_looked_at && !kernel.damage(resource)?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Returns the networks with rules in our nftables table.
fn in_our_table(state: &State) -> impl Iterator<Item = &NetworkRecord> {
    state.networks().values().filter(|r| removal::needs(r, Firewall::Nftables, None))
}

/// Returns the plan of everything on record that belongs into our nftables table.
fn all_again(host: &Session<'_>, state: &State) -> Result<Plan> {
    let mut plan = Plan::new();
    for record in in_our_table(state) {
        // A flush of all tables also removes netcord's accept rules in other firewalls.
        let (network, closing) = forward_accepts::renewed(host, &record.network)?;
        plan.extend(closing);
        plan.push(forward_accepts::remember(&network));
        plan.extend(rules(&NetworkRecord { network, endpoints: record.endpoints.clone() }));
    }
    Ok(plan)
}

/// Returns a network with the accept rules that it needs now, and the plan that restores its rules,
/// ours and those in other firewalls.
pub(in crate::ops) fn again(host: &Session<'_>, network: &Network) -> Result<(Network, Plan)> {
    let (network, mut plan) = forward_accepts::renewed(host, network)?;
    plan.push(forward_accepts::remember(&network));
    if network.firewall == Firewall::Iptables {
        // Our own table is complete by now; iptables' chains may have been flushed.
        plan.extend(of_network(&network));
    }
    if network.driver.filter() == Filter::Traffic {
        plan.extend(plan::install_accepts(&network));
    }
    Ok((network, plan))
}

/// Returns the rules of a network of ours.
fn of_network(network: &Network) -> Plan {
    rules(&NetworkRecord { network: network.clone(), endpoints: Vec::new() })
}

/// Returns the rules of a network and its published ports.
pub(in crate::ops) fn rules(record: &NetworkRecord) -> Plan {
    let NetworkRecord { network, endpoints } = record;
    let mut plan = plan::create(network, &plan::Uplinks::default());
    plan.extend(ports(network, endpoints));
    plan.retain(|step| step.change.facts().firewall().is_some());
    plan
}

/// Returns the rules of a network's published ports.
pub(in crate::ops) fn ports(network: &Network, endpoints: &[Endpoint]) -> Plan {
    let of_endpoint = |e: &Endpoint| plan::publish(network, e, &e.ports, BridgedFrames::PassBy);
    // No rule leads to a stopped container.
    let living = endpoints.iter().filter(|e| !e.is_stopped());
    let mut plan: Plan = once(living.flat_map(of_endpoint).collect());
    plan.retain(|step| step.change.facts().firewall().is_some());
    plan
}
