//! An underlay network: as it is asked for, found by its marks, compared and repaired.

use anyhow::Result;

use super::{
    request::Underlay,
    uplink::{Lost, put_back},
};
use crate::{
    error::Error,
    kernel::{Kernel, Link},
    model::{self, Driver, Firewall, Flags, LinkName, Network, Parent, Subnet},
    ops::{
        driver::{
            foreign, marks,
            parent::{self, Found},
        },
        request::{differences::Differences, subnets::Asked, words::Words},
    },
    plan::{self, BridgedFrames, Mark, Plan, Uplinks},
};

pub(super) async fn new_network(
    kernel: &Kernel,
    args: &Underlay,
    asked: &Asked<'_>,
    found: &Found,
) -> Result<Network> {
    let parent = Parent { link: args.parent.clone(), vlan: found.vlan.clone() };
    let mut network = of_link(kernel, &args.name, &found.lower, parent).await?;
    network.subnets = subnets(kernel, &args.parent, found.link.as_ref(), asked).await?;
    network.flags = args.flags;
    network.labels = args.label.iter().cloned().collect();
    Ok(network)
}

/// An underlay network as far as its bridge tells, when its record is lost. Which addresses were
/// ours to give it does not tell.
pub(in crate::ops::driver) async fn rebuilt(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
    parent: LinkName,
) -> Result<Network> {
    let filtered = kernel.bridged_frames()? == BridgedFrames::MeetIptables;
    let asked = Asked::new(&[], &[], &[])?;
    let subnets = subnets(kernel, &parent, Some(bridge), &asked).await?;
    let mark = bridge.alias.as_deref().and_then(Mark::read);
    let flags = Flags::of(|flag| mark.is_some_and(|mark| mark.says(flag.word())));
    let parent = Parent { link: parent, vlan: None };
    let looks = of_link(kernel, name, bridge, parent.clone()).await?;
    let driver = Driver::Underlay(model::Underlay { parent, filtered, moving: None });
    let mut network = Network { driver, subnets, flags, ..looks };
    if let Some(mark) = mark {
        marks::add_ranges(&mut network, mark);
    }
    Ok(network)
}

/// A network whose bridge looks like this link.
async fn of_link(kernel: &Kernel, name: &LinkName, link: &Link, parent: Parent) -> Result<Network> {
    let looks = foreign::network(kernel, name, link, Firewall::Iptables).await?;
    let driver = Driver::Underlay(model::Underlay { parent, filtered: false, moving: None });
    Ok(Network { driver, ..looks })
}

/// The subnets of the link's addresses; of a link that has none there are none.
async fn subnets(
    kernel: &Kernel,
    parent: &LinkName,
    link: Option<&Link>,
    asked: &Asked<'_>,
) -> Result<Vec<Subnet>> {
    let own = match link {
        Some(link) => kernel.addresses_of(link).await?,
        None => Vec::new(),
    };
    if own.is_empty() && asked.is_empty() {
        return Ok(Vec::new());
    }
    parent::subnets(kernel, parent, link, asked).await
}

/// A network that is there must be as was asked for: nothing is changed to fit.
pub(super) fn check_same(args: &Underlay, asked: &Asked<'_>, there: &Network) -> Result<()> {
    let mut differences = Differences::of_mode("underlay", there);
    let cidrs: Vec<_> = there.subnets.iter().map(|s| s.cidr).collect();
    asked.compare(&asked.of(&cidrs, Subnet::physical)?, there, &mut differences);
    if let Some(parent) = there.driver.uplink() {
        differences.compare("parent", &args.parent, &parent.link);
    }
    differences.flags(args.flags, there);
    differences.labels(&args.label, there);
    differences.refuse_network(there)
}

/// What an underlay network has besides its bridge.
pub(super) fn driver_of(network: &Network) -> Result<&model::Underlay> {
    network.driver.underlay().ok_or_else(|| {
        Error::conflict(format!("network `{}` is not an underlay", network.name)).into()
    })
}

/// The plan that repairs a network, and what became of its parent if that cannot simply be put back.
pub(in crate::ops::driver) async fn repair(
    kernel: &Kernel,
    network: &Network,
    driver: &model::Underlay,
) -> Result<(Plan, Option<Lost>)> {
    if driver.moving.is_some() {
        // One that is not settled is for its watchdog to undo.
        return Ok((Plan::new(), None));
    }
    let mut plan = plan::create(network, &Uplinks::default());
    let (back, lost) = put_back(kernel, network, &driver.parent.link).await?;
    plan.extend(back);
    Ok((plan, lost))
}

/// The command that makes a network.
pub(in crate::ops::driver) fn command(network: &Network, driver: &model::Underlay) -> Words {
    Words::new(["underlay", network.name.as_str()])
        .flag("--parent", &driver.parent.link)
        .switch("--takeover", true)
        .switch("--no-confirm", true)
        .rest_of(network)
}
