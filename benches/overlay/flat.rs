//! What a flat network costs a host, with the endpoints of many others in the store.

use std::{fmt::Write as _, net::IpAddr};

use anyhow::{Result, ensure};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute},
};

use crate::{
    growth::{HOST, agent, until, watched},
    hosts::{self, netcord, script},
    measure::{Series, time},
    store::{self, Etcd},
};

const NUMBERS: [u8; 2] = [1, 254];
/// The other hosts, and the endpoints on all of them.
const HOSTS: u16 = 50;
pub(crate) const ENDPOINTS: u16 = 1000;
/// How many endpoints come, one after another.
const CHANGES: u16 = 20;
/// `RTNLGRP_NEIGH`.
const NEIGHBOURS: u32 = 3;
const CONFIG: &str = r#"{"Network":"10.5.0.0/16","Gateways":["10.5.0.1"],"Backend":{"Type":"netcord-flat","VNI":4096,"Port":8472}}"#;

/// The figures.
pub(crate) struct Flat {
    /// `netcord overlay`, until the entries of all endpoints are in the kernel.
    pub(crate) join: Series,
    /// `etcdctl get` of all keys.
    pub(crate) reading: Series,
    /// `netcord attach` to a bridge network of this host.
    pub(crate) bridge: Series,
    /// `netcord attach` to the flat network.
    pub(crate) attach: Series,
    /// One write to the store, as an attach makes.
    pub(crate) write: Series,
    /// From etcd's answer to whoever writes one key, until the entry is in the kernel.
    pub(crate) change: Series,
}

/// Measures it so many times.
pub(crate) fn measure(repeats: u16) -> Result<Flat> {
    hosts::add(&NUMBERS)?;
    script(Some(HOST), "ip route add 192.1.0.0/16 via 192.0.2.254")?;
    let etcd = Etcd::with(CONFIG, (0..HOSTS).map(node).chain((0..ENDPOINTS).map(endpoint)))?;
    let (mut joins, mut reads) = (Vec::new(), Vec::new());
    for repeat in 0..repeats {
        if repeat > 0 {
            netcord(HOST, "rm pods")?;
            until("the agent ends", || Ok(agent().is_none()))?;
        }
        reads.push(time(|| etcd.read_all())?);
        let join = format!("overlay pods --store {} --wait 60", store::URL);
        joins.push(time(|| netcord(HOST, &join).map(drop))?);
        let entries = script(Some(HOST), "ip neigh show dev vx-pods nud permanent | wc -l")?;
        ensure!(entries.trim() == ENDPOINTS.to_string(), "{} entries", entries.trim());
    }
    netcord(HOST, "bridge lab0 --subnet 10.200.0.0/16")?;
    let (mut bridge, mut attach, mut write) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..repeats.max(5) * 3 {
        for (network, times) in [("lab0", &mut bridge), ("pods", &mut attach)] {
            let target = format!("{network}-{number}");
            script(Some(HOST), &format!("ip netns add {target}"))?;
            times.push(time(|| netcord(HOST, &format!("attach {network} {target}")).map(drop))?);
        }
        let (key, value) = endpoint(ENDPOINTS + 1000 + number);
        write.push(time(|| etcd.put(&key, &value))?);
    }
    let put = |number| {
        let (key, value) = endpoint(number);
        etcd.put(&key, &value)
    };
    let change = watched(NEIGHBOURS, ENDPOINTS..ENDPOINTS + CHANGES, put, is_neighbour)?;
    Ok(Flat {
        join: Series::new(joins)?,
        reading: Series::new(reads)?,
        bridge: Series::new(bridge)?,
        attach: Series::new(attach)?,
        write: Series::new(write)?,
        change: Series::new(change)?,
    })
}

/// The figures as text.
pub(crate) fn text(flat: &Flat) -> String {
    let mut text = format!(
        "a flat network of {ENDPOINTS} endpoints on {HOSTS} other hosts, medians in milliseconds:\n"
    );
    let added = flat.attach.median().as_secs_f64() - flat.bridge.median().as_secs_f64();
    for (what, seconds) in [
        ("join, until all entries are in the kernel", flat.join.median().as_secs_f64()),
        ("  of this, reading the keys takes", flat.reading.median().as_secs_f64()),
        ("attach to a bridge of this host", flat.bridge.median().as_secs_f64()),
        ("attach to the flat network", flat.attach.median().as_secs_f64()),
        ("  more than on a bridge", added),
        ("  one write to the store takes", flat.write.median().as_secs_f64()),
        ("a change in the store, until it is in the kernel", flat.change.median().as_secs_f64()),
    ] {
        _ = writeln!(text, "  {what:<50} {:>8.2}", seconds * 1e3);
    }
    text
}

fn is_neighbour(message: &RouteNetlinkMessage, number: u16) -> bool {
    let RouteNetlinkMessage::NewNeighbour(entry) = message else { return false };
    entry.attributes.iter().any(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
            IpAddr::V4(*v4) == address(number)
        }
        _ => false,
    })
}

/// The key and the value of a host.
fn node(number: u16) -> (String, String) {
    let value = format!(r#"{{"id":"{number:016x}","name":"other-{number}"}}"#);
    (format!("x-netcord/nodes/192.1.0.{}", number + 1), value)
}

fn address(number: u16) -> IpAddr {
    let [high, low] = (number + 256).to_be_bytes();
    IpAddr::from([10, 5, high + 100, low])
}

/// The key and the value of an endpoint's address.
fn endpoint(number: u16) -> (String, String) {
    let (node, [high, low]) = (number % HOSTS, number.to_be_bytes());
    let value = format!(
        r#"{{"host":"192.1.0.{}","node":"{node:016x}","mac":"02:42:05:00:{high:02x}:{low:02x}","name":"n{number}"}}"#,
        node + 1
    );
    (format!("x-netcord/endpoints/{}", address(number)), value)
}
