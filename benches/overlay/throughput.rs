//! TCP between endpoints on two hosts: netcord's network, and the same made with `ip` and `bridge` on
//! two other hosts of the same wire, in turns.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::{
    hosts::{self, netcord, script},
    netns::within,
};

/// netcord's two hosts, and those that are made by hand.
const NUMBERS: [u8; 4] = [1, 2, 3, 4];
const PORT: u16 = 5001;
const BLOCK: usize = 128 << 10;
/// A connection is at full speed after this time, and then measured for this long.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_millis(800);

/// The figures of one way.
pub(crate) struct Throughput {
    /// The backend.
    pub(crate) backend: &'static str,
    /// Whether the hosts' links segment.
    pub(crate) offload: bool,
    /// Medians in Gbit/s: netcord's, and that of the network made by hand.
    pub(crate) gbits: [f64; 2],
    /// The median of the ratios of each pair of turns.
    pub(crate) ratio: f64,
}

/// Measures both backends, with and without segmentation offload below them.
pub(crate) fn measure(repeats: u16) -> Result<Vec<Throughput>> {
    let mut all = Vec::new();
    for backend in ["vxlan", "host-gw"] {
        hosts::add(&NUMBERS)?;
        let words = format!("--subnet 10.5.0.0/16 --backend {backend}");
        for (own, other) in [(1, 2), (2, 1)] {
            let host = format!("h{own}");
            netcord(
                &host,
                &format!(
                    "overlay pods {words} --host-subnet 10.5.{own}.0/24 \
                     --peer 10.5.{other}.0/24=192.0.2.{other}"
                ),
            )?;
            script(None, &format!("ip netns add c{own}"))?;
            netcord(&host, &format!("attach pods c{own} --ip 10.5.{own}.2"))?;
            by_hand(backend, own + 2, other + 2)?;
        }
        for offload in [true, false] {
            // The largest packet has one segment: the kernel segments in software, before the link.
            let segments = if offload { 65535 } else { 1 };
            for number in NUMBERS {
                let line = format!("ip link set dev eth0 gso_max_segs {segments}");
                script(Some(&format!("h{number}")), &line)?;
            }
            all.push(in_turns(backend, offload, repeats)?);
        }
        hosts::remove(&NUMBERS)?;
        script(None, "for i in 1 2 3 4; do ip netns del c$i; done")?;
    }
    Ok(all)
}

/// Makes a host's network and its endpoint as a person would.
pub(crate) fn by_hand(backend: &str, own: u8, other: u8) -> Result<()> {
    let mtu = match backend {
        "vxlan" => 1450,
        "host-gw" => 1500,
        _ => 1472,
    };
    let bridge = format!(
        "ip netns add c{own}
         ip link add pods mtu {mtu} type bridge; ip addr add 10.5.{own}.1/24 dev pods
         ip link set pods up
         ip link add c0 mtu {mtu} master pods type veth peer name eth0 mtu {mtu} netns c{own}
         ip link set c0 up; ip -n c{own} link set eth0 up
         ip -n c{own} addr add 10.5.{own}.2/24 dev eth0
         ip -n c{own} route add default via 10.5.{own}.1
         sysctl -qw net.ipv4.ip_forward=1\n"
    );
    let mac = |host: u8| format!("02:76:c0:00:02:{host:02x}");
    let way = match backend {
        "vxlan" => format!(
            "ip link add vx0 mtu {mtu} address {} type vxlan id 1 dstport 8472 local 192.0.2.{own} dev eth0 nolearning
             ip addr add 10.5.{own}.0/32 dev vx0; ip link set vx0 up
             ip neigh add 10.5.{other}.0 lladdr {there} dev vx0 nud permanent
             bridge fdb add {there} dev vx0 dst 192.0.2.{other} self permanent
             ip route add 10.5.{other}.0/24 via 10.5.{other}.0 dev vx0 onlink",
            mac(own),
            there = mac(other)
        ),
        "host-gw" => format!("ip route add 10.5.{other}.0/24 via 192.0.2.{other} dev eth0"),
        _ => format!(
            "ip tuntap add dev tun0 mode tun; ip link set tun0 mtu {mtu} up
             ip addr add 10.5.{own}.0/32 dev tun0
             ip route add 10.5.{other}.0/24 via 192.0.2.{other} dev tun0 onlink"
        ),
    };
    script(Some(&format!("h{own}")), &(bridge + &way)).map(drop)
}

fn in_turns(backend: &'static str, offload: bool, repeats: u16) -> Result<Throughput> {
    let (mut own, mut hand) = (Vec::new(), Vec::new());
    for turn in 0..repeats {
        // Whoever is second may find a faster machine.
        if turn % 2 == 0 {
            own.push(gbits(1, 2)?);
            hand.push(gbits(3, 4)?);
        } else {
            hand.push(gbits(3, 4)?);
            own.push(gbits(1, 2)?);
        }
    }
    let ratio = median(own.iter().zip(&hand).map(|(own, hand)| own / hand).collect());
    Ok(Throughput { backend, offload, gbits: [median(own), median(hand)], ratio })
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The speed of one connection from the endpoint on one host to that on another.
fn gbits(from: u8, to: u8) -> Result<f64> {
    let address = SocketAddr::from((Ipv4Addr::new(10, 5, to, 2), PORT));
    let listener = within(&format!("c{to}"), || Ok(TcpListener::bind(address)?))?;
    let mut sender = within(&format!("c{from}"), || Ok(TcpStream::connect(address)?))?;
    let (mut receiver, _) = listener.accept()?;
    let sending = thread::spawn(move || {
        let block = vec![0; BLOCK];
        // Until the other end has heard enough.
        while sender.write_all(&block).is_ok() {}
    });
    let mut buffer = vec![0; 2 * BLOCK];
    let mut read_for = |limit: Duration| -> Result<f64> {
        let (start, mut bytes) = (Instant::now(), 0_u64);
        while start.elapsed() < limit {
            bytes += u64::try_from(receiver.read(&mut buffer)?)?;
        }
        let bits = 8.0 * f64::from(u32::try_from(bytes >> 10)?) * 1024.0;
        Ok(bits / start.elapsed().as_secs_f64() / 1e9)
    };
    read_for(WARM_UP)?;
    let speed = read_for(MEASURED)?;
    drop(receiver);
    sending.join().map_err(|_| anyhow!("the sender panicked"))?;
    Ok(speed)
}
