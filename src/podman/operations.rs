//! `create`, `setup`, `teardown` and `firewall-reload`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    net::IpAddr,
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use ipnetwork::IpNetwork;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    command_line::{Call, Verb},
    create::Create,
    definition::Definition,
    log::Log,
    names::{self, Entry, Names},
    options::Container,
    plugin,
    request::{self, LABEL, Place, Wanted},
};
use crate::{
    error::Error,
    model::{Endpoint, Interface, LinkName, Network, Owner, PortSpec, Target},
    ops::{
        Events, Options, Session,
        attach::Attach,
        driver::macvlan::macvlan,
        hand_over,
        owned::{self, Held},
        repair,
    },
};

/// The longest configuration that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// Carries a call out; returns its output.
pub(super) fn run(call: &Call, log: &Log) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &call.verb {
            Verb::Create => create(call, log).await,
            Verb::Setup { netns } => setup(call, netns, log).await,
            Verb::Teardown { netns } => teardown(call, netns, log).await,
            _ => reload(call, log).await,
        }
    })
}

fn session<'l>(call: &Call, log: &'l Log) -> Result<Session<'l>> {
    Session::open(Options { firewall: call.firewall, ..Options::default() }, log)
}

/// Reads the configuration.
fn input<T: DeserializeOwned>(call: &Call, what: &str) -> Result<T> {
    let read = |source: &mut dyn Read| {
        let mut text = Vec::new();
        source.take(LONGEST).read_to_end(&mut text).map(|_| text)
    };
    let text = match &call.file {
        Some(path) => File::open(path).and_then(|mut file| read(&mut file)),
        None => read(&mut io::stdin().lock()),
    };
    let text = text.map_err(|e| anyhow!("IO error: {e}"));
    let parsed = text.and_then(|text| Ok(serde_json::from_slice(&text)?));
    parsed.with_context(|| format!("failed to load {what}"))
}

/// Reads the configuration of a container.
fn container(call: &Call) -> Result<Container> {
    const WHAT: &str = "network options";
    if call.is_plugin {
        return input::<plugin::Attachment>(call, WHAT).map(plugin::Attachment::container);
    }
    input(call, WHAT)
}

async fn create(call: &Call, log: &Log) -> Result<String> {
    let session = session(call, log)?;
    let create: Create = if call.is_plugin {
        let used = owned::used_subnets(&session).await?;
        plugin::create(&input(call, "network")?, &used)?
    } else {
        input(call, "network create")?
    };
    log.of(&create.network.name);
    let network = create.completed(&owned::host_links(&session)?)?;
    Ok(serde_json::to_string(&network)?)
}

/// Restores missing rules, and whatever else is missing.
async fn reload(call: &Call, log: &Log) -> Result<String> {
    let mut session = session(call, log)?;
    let (_, failure) = repair::repair(&mut session).await?;
    session.close();
    failure.map_or_else(|| Ok(String::new()), Err)
}

/// The status of a network, for podman.
#[derive(Serialize)]
struct Status {
    dns_search_domains: Vec<String>,
    dns_server_ips: Vec<IpAddr>,
    interfaces: BTreeMap<String, Value>,
}

impl Status {
    fn of(endpoint: &Endpoint, wanted: &Wanted<'_>) -> Self {
        let subnets = endpoint.addresses.iter().map(|address| {
            let mut subnets = wanted.definition.subnets().iter();
            let subnet = subnets.find(|s| s.subnet.contains(address.ip()));
            json!({"ipnet": address, "gateway": subnet.and_then(|s| s.gateway)})
        });
        let interface = json!({
            "mac_address": endpoint.mac,
            "subnets": subnets.collect::<Vec<_>>(),
        });
        let interfaces = [(endpoint.ifname.to_string(), interface)].into();
        Self { dns_search_domains: Vec::new(), dns_server_ips: Vec::new(), interfaces }
    }
}

/// Attaches a container to its networks. The same again has the same result.
async fn setup(call: &Call, netns: &Path, log: &Log) -> Result<String> {
    fs::metadata(netns).map_err(|e| anyhow!("invalid namespace path: IO error: {e}"))?;
    let container = container(call)?;
    log.of(&container.id);
    // A plugin has no names to give.
    let names = if call.is_plugin { None } else { Some(Names::of(call)?) };
    let mut wanted = Vec::new();
    // What is wrong is found before anything is changed.
    for network in container.networks() {
        let (endpoint, definition) = network?;
        wanted.push(Wanted::read(&container, endpoint, definition)?);
    }
    let session = session(call, log)?;
    let there = owned::of_container(&session, Interface::Podman, &container.id).await?;
    publish_on_one(&mut wanted, container.ports()?, &there, log);
    name_host_ends(&session, &mut wanted, &there).await?;
    let mut setup = Setup { session, netns, container: &container, made: Vec::new(), log };
    let done = setup.all(&wanted, names.as_ref()).await;
    if done.is_err() {
        setup.undo().await;
    }
    setup.session.close();
    let statuses = done?;
    if call.is_plugin {
        return Ok(serde_json::to_string(&plugin::status(statuses))?);
    }
    Ok(serde_json::to_string(&statuses)?)
}

/// Chooses the network with which the ports of a container are published. netavark publishes them on each,
/// of which one has an effect.
fn publish_on_one(
    wanted: &mut [Wanted<'_>],
    ports: Vec<PortSpec>,
    there: &[(Network, Endpoint)],
    log: &Log,
) {
    let is_elsewhere = |(_, e): &&(Network, Endpoint)| {
        let is_here = |owner: &Owner| wanted.iter().any(|one| one.owner.is(owner));
        !e.ports.is_empty() && !e.owner.as_deref().is_some_and(is_here)
    };
    if ports.is_empty() || there.iter().any(|one| is_elsewhere(&one)) {
        return;
    }
    match wanted.iter_mut().find(|one| one.is_published_on()) {
        Some(one) => one.wiring.publish = ports,
        None => log.note("no bridge network that leads outside: no ports are published"),
    }
}

/// Names the host ends as netavark's are named, for those who look for them: `vethN`, the lowest free.
async fn name_host_ends(
    session: &Session<'_>,
    wanted: &mut [Wanted<'_>],
    there: &[(Network, Endpoint)],
) -> Result<()> {
    let is_open = |one: &Wanted<'_>| one.has_host_end() && one.wiring.host_ifname.is_none();
    for one in wanted.iter_mut().filter(|one| is_open(one)) {
        let is_it = |e: &&Endpoint| {
            e.owner.as_ref().is_some_and(|owner| owner.is(&one.owner))
                && Some(&e.ifname) == one.wiring.ifname.as_ref()
        };
        let known = there.iter().map(|(_, endpoint)| endpoint).find(is_it);
        one.wiring.host_ifname = known.and_then(Endpoint::host_ifname).cloned();
    }
    let mut open: Vec<_> = wanted.iter_mut().filter(|one| is_open(one)).collect();
    if open.is_empty() {
        return Ok(());
    }
    let mut taken = owned::host_ends(session).await?;
    for one in &mut open {
        // One of these is free: there is one more of them than there are names in use.
        let mut names = (0..=taken.len()).map(|n| format!("veth{n}"));
        if let Some(free) = names.find(|name| !taken.contains(name)) {
            one.wiring.host_ifname = Some(free.parse()?);
            taken.insert(free);
        }
    }
    Ok(())
}

/// The networks of one container, as they are set up.
struct Setup<'s, 'l> {
    session: Session<'l>,
    netns: &'s Path,
    container: &'s Container,
    /// What this call attached.
    made: Vec<(request::Made, Definition)>,
    log: &'s Log,
}

impl Setup<'_, '_> {
    async fn all(
        &mut self,
        wanted: &[Wanted<'_>],
        names: Option<&Names<'_>>,
    ) -> Result<BTreeMap<String, Status>> {
        let (mut statuses, mut entries) = (BTreeMap::new(), Vec::new());
        for one in wanted {
            let (network, endpoint) = self.attach(one).await?;
            let mut status = Status::of(&endpoint, one);
            if one.definition.dns_enabled {
                let entry = self.entry(one, &network, &endpoint)?;
                status.dns_server_ips.clone_from(&entry.listen);
                status.dns_search_domains.push(names::SEARCH.to_owned());
                entries.push(entry);
            } else {
                status.dns_server_ips = self.container.dns_servers.clone().unwrap_or_default();
            }
            statuses.insert(one.definition.name.clone(), status);
        }
        let Some(names) = names.filter(|_| !entries.is_empty()) else { return Ok(statuses) };
        if names.can_be_served() {
            names.add(&entries).context("error while applying dns entries")?;
        } else {
            self.log.note("names are not served: there is no aardvark-dns");
        }
        Ok(statuses)
    }

    /// Attaches the container to one network, which is made if it is missing.
    async fn attach(&mut self, wanted: &Wanted<'_>) -> Result<(Network, Endpoint)> {
        let network = self.network(wanted).await?;
        let mut request =
            Attach::new(network.name.clone().into(), vec![Target::Path(self.netns.into())]);
        request.wiring = wanted.wiring.clone();
        // A container that started again has another namespace, and the name of the former one may be left.
        let id = format!("{}/{}", self.container.id, self.netns.display());
        request.wiring.name = owned::netns_name(Interface::Podman, Some(self.netns), &id);
        let done = owned::hold(&mut self.session, &request).await;
        let made = request::Made {
            owner: wanted.owner.clone(),
            ifname: wanted.endpoint.interface_name.parse()?,
        };
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                // The network may have been made for this endpoint.
                remove_unused(&mut self.session, wanted.definition).await?;
                return Err(error);
            }
        };
        if done.changed {
            self.made.push((made, wanted.definition.clone()));
        }
        Ok((network, done.now))
    }

    async fn network(&mut self, wanted: &Wanted<'_>) -> Result<Network> {
        let session = &mut self.session;
        match &wanted.network {
            Place::Bridge { bridge, said } => owned::network(session, bridge, *said).await,
            Place::Unmanaged(name) => {
                let found = owned::existing(session, name).await?;
                found.ok_or_else(|| {
                    Error::not_found(
                        "in unmanaged mode, the bridge must already exist on the host: Netlink \
                         error: No such device (os error 19)",
                    )
                    .into()
                })
            }
            Place::Macvlan { name, parent, options } => {
                let parent = match parent {
                    Some(parent) => parent.clone(),
                    None => owned::default_link(session).await?,
                };
                let request = options.network(wanted.definition, name, parent)?;
                let made = macvlan(session, &request).await?;
                let made = made.ok_or_else(|| Error::usage("a plugin has no dry run"))?;
                Ok(made.now.network)
            }
        }
    }

    /// Returns the names of the container on a network.
    fn entry(&self, wanted: &Wanted<'_>, network: &Network, endpoint: &Endpoint) -> Result<Entry> {
        let definition = wanted.definition;
        let listen: Vec<IpAddr> = match wanted.network {
            // The gateway need not be on this host.
            Place::Unmanaged(_) => network.subnets.iter().filter_map(|s| s.gateway).collect(),
            Place::Bridge { .. } | Place::Macvlan { .. } => definition.gateways().collect(),
        };
        if listen.is_empty() {
            return Err(Error::usage(format!(
                "bridge '{}' in unmanaged mode has no usable IP addresses. Aardvark-dns requires at \
                 least one address (should not be an IPv6 link-local address) to bind to. Please \
                 add an IP address or disable DNS for this network (--disable-dns).",
                network.name
            ))
            .into());
        }
        let name = [self.container.name.as_str()].into_iter();
        Ok(Entry {
            network: definition.name.clone(),
            is_internal: definition.internal,
            listen,
            upstreams: definition.upstreams().to_vec(),
            own_upstreams: self.container.dns_servers.clone().unwrap_or_default(),
            container: self.container.id.clone(),
            addresses: endpoint.addresses.iter().map(IpNetwork::ip).collect(),
            names: names::valid(name.chain(wanted.endpoint.aliases()), self.log),
        })
    }

    /// Detaches what this call attached.
    async fn undo(&mut self) {
        for (made, definition) in std::mem::take(&mut self.made) {
            if let Err(error) = release(&mut self.session, &made, &definition).await {
                let network = &definition.name;
                self.log.warn(&format!("network {network} could not be detached again: {error:#}"));
            }
        }
    }
}

/// Detaches a container from a network, and removes the network if it was made for podman and nothing else
/// is attached to it.
async fn release(
    session: &mut Session<'_>,
    made: &request::Made,
    definition: &Definition,
) -> Result<()> {
    let held = Held { owner: &made.owner, ifname: &made.ifname };
    owned::release(session, held).await?;
    remove_unused(session, definition).await
}

async fn remove_unused(session: &mut Session<'_>, definition: &Definition) -> Result<()> {
    let name: LinkName = request::name(definition)?;
    owned::remove_unused(session, &name, (LABEL, &definition.id)).await
}

/// Detaches a container from networks, which need not exist any more. After a failure it goes on with the
/// other networks.
async fn teardown(call: &Call, netns: &Path, log: &Log) -> Result<String> {
    let container = container(call)?;
    log.of(&container.id);
    let names = if call.is_plugin { None } else { Some(Names::of(call)?) };
    if !netns.exists() {
        log.note(&format!("container netns not found: {}", netns.display()));
    }
    let mut failures: Vec<anyhow::Error> = Vec::new();
    let mut session = session(call, log)?;
    for network in container.networks() {
        let (endpoint, definition) = match network {
            Ok(network) => network,
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        if let Some(names) = names.as_ref().filter(|_| definition.dns_enabled) {
            // Before the address goes at which they are served.
            failures.extend(names.remove(&definition.name, &container.id).err());
        }
        let made = endpoint
            .interface_name
            .parse()
            .map(|ifname| request::Made { owner: request::owner(&container, definition), ifname });
        let released = match made {
            Ok(made) => release(&mut session, &made, definition).await,
            Err(error) => Err(error.into()),
        };
        failures.extend(released.err());
    }
    failures.extend(publish_on_another(&mut session, &container).await.err());
    session.close();
    match failures.as_slice() {
        [] => Ok(String::new()),
        [_] => Err(failures.remove(0)),
        many => {
            let all: Vec<_> = many.iter().map(|error| format!("{error:#}")).collect();
            Err(anyhow!(all.join("; ")))
        }
    }
}

/// Publishes the ports of a container that left the network with which they were published.
async fn publish_on_another(session: &mut Session<'_>, container: &Container) -> Result<()> {
    let ports: Vec<PortSpec> = container.ports()?;
    if ports.is_empty() {
        return Ok(());
    }
    let left = owned::of_container(session, Interface::Podman, &container.id).await?;
    if left.iter().any(|(_, endpoint)| !endpoint.ports.is_empty()) {
        return Ok(());
    }
    let can = |network: &Network| {
        network.driver.is_gateway() && network.is_routed() && !network.subnets.is_empty()
    };
    let next = left.iter().find(|(network, _)| can(network)).and_then(|(_, e)| e.owner.as_deref());
    if let Some(owner) = next {
        hand_over::publish(session, owner, &ports).await?;
    }
    Ok(())
}
