//! The calls of a network driver. Each can come twice, and calls that should have come before may be
//! missing: docker does not repeat one that failed, and forgets what it called when it is killed.

use std::path::{Component, PathBuf};

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use super::{
    options::{Kind, Publisher, Settings},
    protocol::{
        CreateEndpoint, CreateNetwork, Interface, Join, OfEndpoint, OfNetwork, Program, nothing,
        read,
    },
    prune::prune,
    store,
};
use crate::{
    error::{self, Error},
    model::{Address, Endpoint, Interface as Engine, Network, Owner, Removable, Route},
    ops::{
        Session,
        hand_over::{self, HandOver},
        owned,
        rm::{Rm, rm},
    },
};

/// Carries out a call; returns `None` if there is no such one.
pub(super) async fn call(host: &mut Session<'_>, name: &str, body: &[u8]) -> Result<Option<Value>> {
    let answer = match name {
        "GetCapabilities" => json!({"Scope": "local", "ConnectivityScope": "local"}),
        "CreateNetwork" => create_network(host, &read(body)?).await?,
        "DeleteNetwork" => delete_network(host, &read(body)?).await?,
        "CreateEndpoint" => create_endpoint(host, &read(body)?).await?,
        "Join" => join(host, &read(body)?).await?,
        "ProgramExternalConnectivity" => publish(host, &read(body)?).await?,
        "RevokeExternalConnectivity" => {
            hand_over::unpublish(host, &owner(&read(body)?)).await?;
            nothing()
        }
        "Leave" | "DeleteEndpoint" => {
            owned::release_of(host, &owner(&read(body)?)).await?;
            nothing()
        }
        "EndpointOperInfo" => {
            hand_over::learn_name(host, &owner(&read(body)?)).await?;
            json!({"Value": {}})
        }
        "DiscoverNew" | "DiscoverDelete" => nothing(),
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

/// Whose an endpoint is.
fn owner(of: &OfEndpoint) -> Owner {
    Owner {
        interface: Engine::Docker,
        network: of.network_id.to_string(),
        id: of.endpoint_id.to_string(),
        name: None,
    }
}

async fn create_network(host: &mut Session<'_>, request: &CreateNetwork) -> Result<Value> {
    let settings = Settings::read(request)?;
    // First: a call that is killed later leaves a network that docker can remove.
    store::write(request.clone())?;
    let made = match ensure(host, &settings).await {
        // What a killed call left may be in the way: docker makes another one, with another ID.
        Err(error) if is_conflict(&error) && removes_any(host).await => {
            ensure(host, &settings).await
        }
        made => made,
    };
    let failure = match made {
        Ok(network) => match check_pools(&settings, &network) {
            Ok(()) => return Ok(nothing()),
            Err(error) => {
                remove_network(host, &settings).await?;
                error
            }
        },
        Err(error) => error,
    };
    // docker asks for no removal of what it did not get.
    store::remove(&request.network_id)?;
    Err(failure)
}

/// Removes what docker has forgotten; returns whether there was anything.
async fn removes_any(host: &mut Session<'_>) -> bool {
    prune(host).await.is_ok_and(|pruned| !pruned.is_empty())
}

fn is_conflict(error: &anyhow::Error) -> bool {
    error::Kind::of(error) == error::Kind::Conflict
}

/// Makes the network that docker asked for, unless it is there.
async fn ensure(host: &mut Session<'_>, settings: &Settings) -> Result<Network> {
    match &settings.kind {
        Kind::Existing(name) => hand_over::network(host, name).await,
        Kind::Made(wanted) => wanted.ensure(host).await,
    }
}

/// Checks that docker assigns addresses of the network.
fn check_pools(settings: &Settings, network: &Network) -> Result<()> {
    let has = |pool: &&IpNetwork| network.subnets.iter().any(|subnet| subnet.cidr == **pool);
    let Some(other) = settings.pools.iter().find(|pool| !has(pool)) else { return Ok(()) };
    let subnets: Vec<_> = network.subnets.iter().map(|s| s.cidr.to_string()).collect();
    let (name, subnets) = (&network.name, subnets.join(", "));
    let hint = match network.subnet_of(other.ip()) {
        Some(all) => format!("create it with `--subnet {} --ip-range {other}`", all.cidr),
        None => format!("create it with `--subnet {subnets}`"),
    };
    Err(Error::conflict(format!(
        "docker assigns addresses of {other}, and network `{name}` has {subnets}"
    ))
    .hint(hint)
    .into())
}

async fn delete_network(host: &mut Session<'_>, request: &OfNetwork) -> Result<Value> {
    let id = &request.network_id;
    owned::release_others(host, Engine::Docker, id.as_str(), &[]).await?;
    if let Ok(known) = store::read(id) {
        remove_network(host, &Settings::read(&known)?).await?;
    }
    // Last: a call that is killed, or fails, can be made again.
    store::remove(id)?;
    Ok(nothing())
}

pub(super) async fn remove_network(host: &mut Session<'_>, settings: &Settings) -> Result<()> {
    let Kind::Made(wanted) = &settings.kind else { return Ok(()) };
    let names = vec![Removable::Network(wanted.name().clone())];
    let (_, failure) = rm(host, &Rm { names }).await?;
    failure.map_or(Ok(()), Err)
}

async fn create_endpoint(host: &mut Session<'_>, request: &CreateEndpoint) -> Result<Value> {
    let settings = Settings::read(&store::read(&request.of.network_id)?)?;
    let Interface { address, ipv6, mac } = &request.interface;
    let given = [address, ipv6].into_iter().flatten();
    let wanted = HandOver {
        network: settings.network().clone(),
        owner: owner(&request.of),
        ip: given.map(|a| Address { ip: a.ip(), length: Some(a.prefix()) }).collect(),
        mac: if mac.is_empty() { None } else { Some(mac.parse()?) },
        gateway: settings.publisher == Publisher::Netcord,
    };
    let done = match hand_over::hand_over(host, &wanted).await {
        // After a reboot.
        Err(error) if error::is_absent(&error) => {
            ensure(host, &settings).await?;
            hand_over::hand_over(host, &wanted).await?
        }
        done => done?,
    };
    let Some(endpoint) = done.map(|done| done.now) else { return Ok(nothing()) };
    // Only what docker has not chosen itself.
    let mut chosen = serde_json::Map::new();
    for (key, given, is_ipv4) in [("Address", address, true), ("AddressIPv6", ipv6, false)] {
        let assigned = endpoint.addresses.iter().find(|a| a.is_ipv4() == is_ipv4);
        if let (None, Some(assigned)) = (given, assigned) {
            chosen.insert(key.into(), json!(assigned.to_string()));
        }
    }
    if mac.is_empty() {
        chosen.insert("MacAddress".into(), json!(endpoint.mac.to_string()));
    }
    Ok(json!({"Interface": chosen}))
}

async fn join(host: &mut Session<'_>, request: &Join) -> Result<Value> {
    let settings = Settings::read(&store::read(&request.of.network_id)?)?;
    let sandbox = PathBuf::from(&request.sandbox);
    if !sandbox.is_absolute() || sandbox.components().any(|c| c == Component::ParentDir) {
        return Err(Error::usage("the sandbox key is no absolute path").into());
    }
    let endpoint = hand_over::name(host, &owner(&request.of), sandbox).await?;
    Ok(joined(&settings, &endpoint))
}

/// Without a gateway, docker connects the container to its own `docker_gwbridge` too.
fn joined(settings: &Settings, endpoint: &Endpoint) -> Value {
    let gateway = |is_ipv4: bool| {
        let mut all = endpoint.gateways.iter();
        all.find(|g| g.is_ipv4() == is_ipv4).map(ToString::to_string).unwrap_or_default()
    };
    json!({
        "InterfaceName": {"SrcName": endpoint.handed_over, "DstPrefix": settings.prefix},
        "Gateway": gateway(true),
        "GatewayIPv6": gateway(false),
        "StaticRoutes": endpoint.routes.iter().map(route).collect::<Vec<_>>(),
        "DisableGatewayService": settings.internal || settings.publisher == Publisher::Netcord,
    })
}

fn route(route: &Route) -> Value {
    match route.gateway {
        Some(gateway) => json!({
            "Destination": route.destination.to_string(),
            "RouteType": 0,
            "NextHop": gateway.to_string(),
        }),
        None => json!({"Destination": route.destination.to_string(), "RouteType": 1}),
    }
}

async fn publish(host: &mut Session<'_>, request: &Program) -> Result<Value> {
    let settings = Settings::read(&store::read(&request.of.network_id)?)?;
    if settings.publisher == Publisher::Netcord && !request.options.ports.is_empty() {
        let ports = request.options.ports.iter().map(|port| port.spec(settings.binding));
        let ports = ports.collect::<Result<Vec<_>>>()?;
        hand_over::publish(host, &owner(&request.of), &ports).await?;
    }
    Ok(nothing())
}
