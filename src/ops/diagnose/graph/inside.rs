//! What the links of the host lead to: namespaces that have a name or a process, entered and read.

use std::collections::HashMap;

use crate::{
    kernel::LinkKind,
    model::{Endpoint, LinkName, Network, graph::Inside},
    ops::{
        Session,
        diagnose::view::{Entered, Names, View, enter_each},
    },
};

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
    session: &Session<'_>,
    host: &View,
    endpoints: impl Iterator<Item = (&'r Network, &'r Endpoint)>,
) -> Insides {
    let on_record: Vec<_> = endpoints.map(|(_, endpoint)| endpoint).collect();
    let host_ends = on_record.iter().filter_map(|e| Some((e.host_ifname()?.as_str(), *e)));
    let host_ends: HashMap<_, _> = host_ends.collect();
    let mut found: HashMap<String, Vec<(bool, Inside)>> = HashMap::new();
    let names = Names::new();
    let visit = async |handle, entered: Entered| {
        if entered.met(host).next().is_none() {
            return;
        }
        let Ok(entered) = entered.complete().await else { return };
        let cookie = entered.netns.cookie();
        let target = match on_record.iter().find(|endpoint| endpoint.cookie == cookie) {
            Some(endpoint) => endpoint.target.clone(),
            None => names.of(&handle, cookie).await,
        };
        let view = &entered.view;
        for (outer, link) in entered.met(host) {
            let inside = Inside {
                target: Some(target.clone()),
                cookie: Some(cookie),
                nsid: entered.between.there,
                attached: link.is_ours() || (outer.kind == LinkKind::Veth && outer.is_ours()),
                link: Some(link.name.clone()),
                mac: link.mac,
                addresses: view.addresses_of(link),
                gateways: view.gateways_of(link),
                published: Vec::new(),
            };
            let endpoint = host_ends.get(outer.name.as_str()).copied();
            let inside = known(inside, endpoint.filter(|e| e.cookie == cookie));
            found.entry(outer.name.clone()).or_default().push((link.is_running(), inside));
        }
    };
    let refused = enter_each(session, visit).await;
    Insides { found, refused }
}

/// With what only a record tells.
fn known(inside: Inside, endpoint: Option<&Endpoint>) -> Inside {
    let Some(endpoint) = endpoint else { return inside };
    Inside { attached: true, published: endpoint.ports.clone(), ..inside }
}
