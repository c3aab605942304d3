//! What the links of the host lead to: namespaces that have a name or a process, entered and read.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::ops::lookup::namespaces::{self, Handle};
use crate::{
    engine::{self, Answer},
    error::Kind,
    kernel::{Kernel, Link, LinkKind, Netns, global_addresses},
    model::natural_order,
    model::{Endpoint, LinkName, Network, graph::Inside},
    process,
};

/// How long engines are asked for names of containers, all together.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is inside, by the host's link that leads to it, each with whether it is up.
pub(super) struct Insides {
    found: HashMap<String, Vec<(bool, Inside)>>,
    /// How many namespaces may not be entered.
    pub(super) refused: usize,
}

impl Insides {
    /// What a link of the host's leads to.
    pub(super) fn take(&mut self, link: &str) -> Vec<(bool, Inside)> {
        self.found.remove(link).unwrap_or_default()
    }

    /// The link of a macvlan endpoint. Its name may be another by now, or its MAC.
    pub(super) fn take_macvlan(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
    ) -> Option<(bool, Inside)> {
        let parent = network.driver.parent().map(|p| LinkName::as_str(&p.link))?;
        let found = self.found.get_mut(parent)?;
        let is_it = |inside: &Inside| {
            inside.cookie == Some(endpoint.cookie)
                && (inside.link.as_deref() == Some(endpoint.ifname.as_str())
                    || inside.mac == Some(endpoint.mac))
        };
        let at = found.iter().position(|(_, inside)| is_it(inside))?;
        let (up, inside) = found.remove(at);
        Some((
            up,
            Inside { target: Some(endpoint.target.clone()), ..known(inside, Some(endpoint)) },
        ))
    }
}

/// Enters every namespace that has a name or a process. One that ends meanwhile is not there.
pub(super) async fn read<'r>(
    kernel: &Kernel,
    links: &[Link],
    endpoints: impl Iterator<Item = (&'r Network, &'r Endpoint)>,
) -> Result<Insides> {
    let on_record: Vec<_> = endpoints.collect();
    let target_of = |cookie| {
        let of_it = on_record.iter().find(|(_, e)| e.cookie == cookie);
        of_it.map(|(_, endpoint)| endpoint.target.clone())
    };
    let mut reading = Reading {
        kernel,
        links: links.iter().map(|link| (link.name.as_str(), link)).collect(),
        on_record: on_record
            .iter()
            .filter_map(|(_, endpoint)| Some((endpoint.host_ifname()?.as_str(), *endpoint)))
            .collect(),
        insides: Insides { found: HashMap::new(), refused: 0 },
    };
    let until = Instant::now() + PATIENCE;
    for found in namespaces::all(kernel) {
        let (handle, netns) = match found {
            Ok(found) => found,
            Err(error) => {
                let is_refused = Kind::of(&error) == Kind::Permission;
                reading.insides.refused += usize::from(is_refused);
                continue;
            }
        };
        let target = target_of(netns.cookie());
        reading
            .enter(&netns, async || match (&target, &handle) {
                (Some(target), _) => target.clone(),
                (None, Handle::Name(name)) => name.to_string(),
                (None, Handle::Process(pid)) => process_name(*pid, netns.cookie(), until).await,
            })
            .await;
    }
    Ok(reading.insides)
}

struct Reading<'a> {
    kernel: &'a Kernel,
    links: BTreeMap<&'a str, &'a Link>,
    on_record: HashMap<&'a str, &'a Endpoint>,
    insides: Insides,
}

impl Reading<'_> {
    /// Notes what the host's links lead to in a namespace; `target` is asked for its name where they
    /// do.
    async fn enter(&mut self, netns: &Netns, target: impl AsyncFn() -> String) {
        let Ok(inner) = netns.links().await else { return };
        let Ok(between) = self.kernel.between(netns).await else { return };
        let mut met: Vec<_> = inner
            .values()
            .filter(|link| link.leads_into().is_some())
            .filter_map(|link| {
                let mut outer = self.links.values();
                let outer = outer.find(|o| between.is_pair(o, link) || between.is_on(link, o))?;
                Some((*outer, link))
            })
            .collect();
        if met.is_empty() {
            return;
        }
        let (Ok(addresses), Ok(routes)) = (netns.all_addresses().await, netns.routes().await)
        else {
            return;
        };
        let target = target().await;
        met.sort_by(|(_, a), (_, b)| natural_order(&a.name, &b.name));
        for (outer, link) in met {
            let inside = Inside {
                target: Some(target.clone()),
                cookie: Some(netns.cookie()),
                nsid: between.there,
                attached: link.is_ours() || (outer.kind == LinkKind::Veth && outer.is_ours()),
                link: Some(link.name.clone()),
                mac: link.mac,
                addresses: global_addresses(&addresses, link),
                gateways: super::gateways(&routes, link),
                published: Vec::new(),
            };
            let endpoint = self.on_record.get(outer.name.as_str()).copied();
            let inside = known(inside, endpoint.filter(|e| e.cookie == netns.cookie()));
            let there = self.insides.found.entry(outer.name.clone()).or_default();
            there.push((link.is_running(), inside));
        }
    }
}

/// With what only a record tells.
fn known(inside: Inside, endpoint: Option<&Endpoint>) -> Inside {
    let Some(endpoint) = endpoint else { return inside };
    Inside { attached: true, published: endpoint.ports.clone(), ..inside }
}

/// What to call a namespace by a process in it: its container's name, if an engine knows it, or the
/// process's.
pub(in crate::ops::diagnose) async fn process_name(
    pid: u32,
    cookie: u64,
    until: Instant,
) -> String {
    if let Some(id) = process::container_id(pid) {
        let patience = until.saturating_duration_since(Instant::now());
        for (_, answer) in engine::find_anywhere(&id, patience).await {
            // What an engine says is not believed: its process has to be in there.
            if let Answer::Found(container) = answer
                && let Some(first) = container.pid
                && Netns::of_process(first).is_ok_and(|netns| netns.cookie() == cookie)
            {
                return container.name;
            }
        }
    }
    format!("{} ({pid})", process::name(pid).unwrap_or_else(|| "process".into()))
}
