//! The calls of an IPAM driver: pools of addresses, and addresses of them.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    pools::{self, Lock, Pool, PoolId},
    protocol::{OfPool, ReleaseAddress, RequestAddress, RequestPool, nothing, read},
    socket::Process,
};
use crate::{
    error::Error,
    model::{Family, Subnet},
    ops::{
        Session,
        attach::{Unattached, unattached},
        driver::free_subnet,
    },
};

/// Carries out a call; returns `None` if there is no such one.
pub(super) async fn call(
    host: &Session<'_>,
    name: &str,
    body: &[u8],
    caller: Option<&Process>,
) -> Result<Option<Value>> {
    let answer = match name {
        // docker then requests its pools and addresses again when it starts.
        "GetCapabilities" => json!({"RequiresMACAddress": false, "RequiresRequestReplay": true}),
        "GetDefaultAddressSpaces" => json!({
            "LocalDefaultAddressSpace": "netcord",
            "GlobalDefaultAddressSpace": "netcord-global",
        }),
        "RequestPool" => request_pool(host, &read(body)?, caller).await?,
        "ReleasePool" => release_pool(&read(body)?).await?,
        "RequestAddress" => request_address(host, &read(body)?).await?,
        "ReleaseAddress" => release_address(&read(body)?).await?,
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

async fn request_pool(
    host: &Session<'_>,
    request: &RequestPool,
    caller: Option<&Process>,
) -> Result<Value> {
    if let Some((key, value)) = request.options.iter().next() {
        let message = format!("--ipam-opt {key}={value}: netcord's IPAM has no options");
        return Err(Error::usage(message).into());
    }
    let _lock = Lock::wait().await?;
    let id = match (request.pool, request.range) {
        (Some(pool), range) => PoolId(Subnet::new(pool, None, range)?.cidr),
        (None, Some(range)) => {
            return Err(Error::usage(format!("--ip-range {range} without a subnet"))
                .hint("add the subnet with `--subnet`")
                .into());
        }
        (None, None) => {
            let taken: Vec<_> = pools::in_use(caller)?.iter().map(|pool| pool.id.0).collect();
            let family = if request.ipv6 { Family::V6 } else { Family::V4 };
            PoolId(free_subnet(host, family, &taken).await?)
        }
    };
    pools::check_free(id, caller)?;
    if let Err(error) = Pool::new(id, request.range, caller.cloned()).write() {
        // docker releases nothing that it did not get.
        pools::remove(id)?;
        return Err(error);
    }
    Ok(json!({"PoolID": id.to_string(), "Pool": id.to_string(), "Data": {}}))
}

async fn release_pool(request: &OfPool) -> Result<Value> {
    let _lock = Lock::wait().await?;
    pools::remove(request.pool_id)?;
    Ok(nothing())
}

async fn request_address(host: &Session<'_>, request: &RequestAddress) -> Result<Value> {
    let _lock = Lock::wait().await?;
    let mut pool = pools::read(request.pool_id)?;
    let wanted = Unattached {
        subnet: pool.id.0,
        range: pool.range,
        ip: request.address,
        is_gateway: request.is_of_gateway(),
        taken: &pool.assigned,
    };
    let address = unattached(host, &wanted).await?;
    pool.assigned.insert(address.ip());
    if let Err(error) = pool.write() {
        // docker releases nothing that it did not get.
        pool.assigned.remove(&address.ip());
        pool.write()?;
        return Err(error);
    }
    Ok(json!({"Address": address.to_string(), "Data": {}}))
}

async fn release_address(request: &ReleaseAddress) -> Result<Value> {
    let _lock = Lock::wait().await?;
    // A pool that is not on record has no addresses.
    if let Ok(mut pool) = pools::read(request.pool_id)
        && pool.assigned.remove(&request.address)
    {
        pool.write()?;
    }
    Ok(nothing())
}
