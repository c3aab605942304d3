//! `wait`: until a target's network can be used.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::{
    select,
    time::{Instant, sleep_until},
};

use super::{Host, resolve::resolve};
use crate::{
    cli::{self, Condition},
    error::{Error, Kind},
    kernel::{Link, Netns, NetnsWatch},
    model::{Target, is_link_local},
    output::SCHEMA_VERSION,
};

#[derive(Serialize)]
struct Ready {
    schema_version: u32,
    target: String,
    /// The link that is as was waited for.
    link: String,
    /// What it can be called by.
    addresses: Vec<String>,
}

pub(super) async fn run(host: &Host<'_, '_>, args: cli::Wait) -> Result<()> {
    let cli::Wait { target, condition, timeout } = args;
    let patience = Duration::from_secs(timeout);
    let deadline = Instant::now() + patience;
    let doing = host.output.doing_for(patience, format!("waiting for `{target}`"));
    let netns = match &target {
        Target::Host => Netns::own()?,
        target => resolve(&host.kernel, &host.output, target, Some(timeout)).await?.netns,
    };
    // Who listens first misses nothing between a look and the next.
    let mut watch = NetnsWatch::new(&netns)?;
    loop {
        let seen = look(&netns, condition).await?;
        let missing = match seen {
            Seen::Ready { link, addresses } => {
                let lines = match addresses.as_slice() {
                    [] => vec![link.clone()],
                    addresses => addresses.to_vec(),
                };
                let (schema_version, target) = (SCHEMA_VERSION, target.to_string());
                let ready = Ready { schema_version, target, link, addresses };
                return host.output.result(&ready, &lines);
            }
            Seen::Missing(missing) => missing,
        };
        doing.say(|| format!("waiting for `{target}`: {missing}"));
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
                let hint = format!("see what is there: `netcord container {target} -- ip addr`");
                return Err(Error::new(Kind::Timeout, message).hint(hint).into());
            }
        }
    }
}

/// What a look came to.
enum Seen {
    Ready { link: String, addresses: Vec<String> },
    Missing(String),
}

/// The link that meets a condition; or what the one lacks that comes closest.
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
