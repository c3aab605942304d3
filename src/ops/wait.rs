//! `wait`: waits until a target's network can be used.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::{
    select,
    time::{Instant, sleep_until},
};

use super::{Session, lookup::resolve::resolve};
use crate::{
    error::{Error, Kind},
    kernel::{Link, Netns, NetnsWatch},
    model::{Condition, Target, is_link_local},
};

/// What to wait for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// The target, which need not exist yet.
    pub target: Target,
    /// The condition that one of its links must meet.
    pub condition: Condition,
    /// The time limit in seconds; 0 checks once.
    pub timeout: u64,
}

/// The link that meets the condition.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// The target, as requested.
    pub target: String,
    /// The link's name.
    pub link: String,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// Waits until a target's network can be used.
///
/// # Errors If the target ends, or the time is over ([`Kind::Timeout`]).
pub async fn wait(host: &Session<'_>, args: &Wait) -> Result<Ready> {
    let Wait { target, condition, timeout } = args;
    let (condition, timeout) = (*condition, *timeout);
    let patience = Duration::from_secs(timeout);
    let deadline = Instant::now() + patience;
    let doing = host.events.doing_for(patience, format!("waiting for `{target}`"));
    let netns = match target {
        Target::Host => Netns::own()?,
        target => resolve(&host.kernel, host.events, target, Some(timeout)).await?.netns,
    };
    // Receive notifications before the first check, so that no change is missed.
    let mut watch = NetnsWatch::new(&netns)?;
    loop {
        let seen = look(&netns, condition).await?;
        let missing = match seen {
            Seen::Ready { link, addresses } => {
                return Ok(Ready { target: target.to_string(), link, addresses });
            }
            Seen::Missing(missing) => missing,
        };
        doing.update(&|| format!("waiting for `{target}`: {missing}"));
        select! {
            changed = watch.change() => changed?,
            ended = netns.end() => {
                ended?;
                let message = format!("target `{target}` ended while it was waited for");
                return Err(Error::not_found(message).into());
            }
            () = sleep_until(deadline) => {
                let message =
                    format!("target `{target}` was not ready in {timeout} seconds: {missing}");
                let hint = format!("see its links and addresses: `netcord container {target} -- ip addr`");
                return Err(Error::new(Kind::Timeout, message).hint(hint).into());
            }
        }
    }
}

/// The result of a check.
enum Seen {
    Ready { link: String, addresses: Vec<String> },
    Missing(String),
}

/// Returns the link that meets a condition; or the condition that the closest one does not meet.
async fn look(netns: &Netns, wanted: Condition) -> Result<Seen> {
    let mut links: Vec<_> = netns.links().await?.into_values().collect();
    links.retain(|link| link.name != "lo");
    links.sort_by(|a, b| a.name.cmp(&b.name));
    let addresses = netns.all_addresses().await?;
    let routes = netns.routes().await?;
    let addresses_of = |link: &Link| -> Vec<String> {
        let own = addresses.iter().filter(|a| link.has(a) && a.usable);
        let mut ips: Vec<_> = own.map(|a| a.address.ip()).collect();
        ips.retain(|ip| !is_link_local(*ip));
        ips.sort_unstable();
        ips.iter().map(ToString::to_string).collect()
    };
    let is_default = |link: &Link| {
        routes.iter().any(|route| link.carries(route) && route.destination.prefix() == 0)
    };
    // The first condition that a link does not meet.
    let lacks = |link: &Link| {
        let met = [
            (Condition::Up, link.up),
            (Condition::Carrier, link.carrier),
            (Condition::Addr, !addresses_of(link).is_empty()),
            (Condition::Route, is_default(link)),
        ];
        met.into_iter().filter(|(c, _)| *c <= wanted).find(|(_, met)| !met).map(|(c, _)| c)
    };
    if let Some(ready) = links.iter().find(|link| lacks(link).is_none()) {
        let addresses = addresses_of(ready);
        return Ok(Seen::Ready { link: ready.name.clone(), addresses });
    }
    let closest = links.iter().filter_map(|link| Some((lacks(link)?, link))).rev();
    Ok(Seen::Missing(match closest.max_by_key(|(lacking, _)| *lacking) {
        None => "it has no link besides lo".to_owned(),
        Some((lacking, link)) => {
            let what = match lacking {
                Condition::Up => "is down",
                Condition::Carrier => "has no carrier",
                Condition::Addr => "has no address that can be used",
                Condition::Route => "has no default route",
            };
            format!("`{}` {what}", link.name)
        }
    }))
}
