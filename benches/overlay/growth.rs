//! What a host pays that joins a network of N others, and then for the change of one of them.

use std::{
    fs,
    net::IpAddr,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        route::{RouteAddress, RouteAttribute},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use crate::{
    hosts::{self, netcord, script},
    measure::{Series, time},
    netns::within,
    store::{self, Etcd, subnet},
};

pub(crate) const HOST: &str = "h1";
const NUMBERS: [u8; 2] = [1, 254];
/// How many hosts come one after another.
const CHANGES: u16 = 20;
/// `RTNLGRP_IPV4_ROUTE`.
const ROUTES: u32 = 7;
const PATIENCE: Duration = Duration::from_secs(20);

/// The figures of one size.
pub(crate) struct Point {
    /// The number of other hosts.
    pub(crate) hosts: u16,
    /// `netcord overlay`, until all is in the kernel.
    pub(crate) join: Series,
    /// `etcdctl get` of all keys.
    pub(crate) reading: Series,
    /// `netcord peers`.
    pub(crate) peers: Series,
    /// From etcd's answer to whoever writes one key, until the route is in the kernel.
    pub(crate) change: Series,
    /// Requests to etcd for a join.
    pub(crate) requests: u64,
    /// Requests to etcd for all changes.
    pub(crate) change_requests: u64,
    /// The agent's memory (RSS) and its peak, in KiB.
    pub(crate) memory: [u64; 2],
}

/// Measures a network of so many other hosts.
pub(crate) fn measure(count: u16, repeats: u16) -> Result<Point> {
    hosts::add(&NUMBERS)?;
    // Nobody is there, but somebody could be.
    script(Some(HOST), "ip route add 192.1.0.0/16 via 192.0.2.254")?;
    let etcd = Etcd::with_hosts(count)?;
    let (mut joins, mut reads, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    let mut requests = 0;
    for repeat in 0..repeats {
        if repeat > 0 {
            netcord(HOST, "rm pods")?;
            until("the agent ends", || Ok(agent().is_none()))?;
        }
        reads.push(time(|| etcd.read_all())?);
        let before = etcd.requests()?;
        let join = format!("overlay pods --store {} --wait 60", store::URL);
        joins.push(time(|| netcord(HOST, &join).map(drop))?);
        requests = etcd.requests()? - before;
        let routes = script(Some(HOST), "ip route show proto 110 type unicast | wc -l")?;
        ensure!(routes.trim() == count.to_string(), "{} routes for {count} hosts", routes.trim());
        lists.push(time(|| netcord(HOST, "peers pods").map(drop))?);
    }
    let before = etcd.requests()?;
    let change = changes(&etcd, count)?;
    // Each write is a request of our own, by a gateway that makes another of it.
    let change_requests = (etcd.requests()? - before).saturating_sub(u64::from(CHANGES));
    let memory = memory()?;
    netcord(HOST, "rm pods")?;
    until("the agent ends", || Ok(agent().is_none()))?;
    drop(etcd);
    hosts::remove(&NUMBERS)?;
    Ok(Point {
        hosts: count,
        join: Series::new(joins)?,
        reading: Series::new(reads)?,
        peers: Series::new(lists)?,
        change: Series::new(change)?,
        requests,
        change_requests,
        memory,
    })
}

fn changes(etcd: &Etcd, first: u16) -> Result<Vec<Duration>> {
    watched(ROUTES, first..first + CHANGES, |number| etcd.put_host(number), is_route_to)
}

/// Makes changes in the store, one after another. Returns how long after each its effect was in the kernel
/// of the host: a message of this group.
pub(crate) fn watched(
    group: u32,
    numbers: Range<u16>,
    change: impl Fn(u16) -> Result<()>,
    is_effect: impl Fn(&RouteNetlinkMessage, u16) -> bool,
) -> Result<Vec<Duration>> {
    let socket = within(HOST, || {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(group)?;
        Ok(socket)
    })?;
    let mut times = Vec::new();
    for number in numbers {
        change(number)?;
        let answered = Instant::now();
        let mut buffer = Vec::with_capacity(1 << 16);
        loop {
            buffer.clear();
            socket.recv(&mut buffer, 0)?;
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer)?;
            if let NetlinkPayload::InnerMessage(inner) = message.payload
                && is_effect(&inner, number)
            {
                break;
            }
        }
        times.push(answered.elapsed());
        // Changes that come together are made together.
        thread::sleep(Duration::from_millis(100));
    }
    Ok(times)
}

fn is_route_to(message: &RouteNetlinkMessage, number: u16) -> bool {
    let RouteNetlinkMessage::NewRoute(route) = message else { return false };
    let to = IpAddr::from(subnet(number));
    route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => IpAddr::V4(*v4) == to,
        _ => false,
    })
}

/// The only agent here: this program has process numbers of its own. One that has ended has no command
/// line.
pub(crate) fn agent() -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut names = processes.map(|process| process.file_name().to_string_lossy().into_owned());
    names.find(|pid| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split('\0').next().is_some_and(|program| program.ends_with("netcord-agent"))
    })
}

fn memory() -> Result<[u64; 2]> {
    let pid = agent().context("no agent runs")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |key: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).context("no memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok([of("VmRSS:")?, of("VmHWM:")?])
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < end, "{what}: it did not happen in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
