//! TCP connections from outside to a published port.
//!
//! The kernel answers for a socket that listens, so nobody is woken up for a connection, and its
//! time is that of the way: out, through the rules, and back.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::net::{listen, sockopt::set_socket_linger};

use crate::{contender::TARGET_PORT, host::Target, netns, process::words};

/// No connection takes longer that gets through.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first ones ask for neighbours.
const REHEARSALS: usize = 20;
/// More connections than ever wait in one socket, and no more than any kernel lets wait.
const BACKLOG: i32 = 1024;

/// Where callers are: a name in `/run/netns`.
const OUTSIDE: &str = "outside";
/// The address of the host that they call.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Joins the host that this program is on to somebody outside.
pub(crate) fn add_outside() -> Result<()> {
    words(&format!("ip netns add {OUTSIDE}"))?;
    words(&format!("ip link add out0 type veth peer name eth0 netns {OUTSIDE}"))?;
    words(&format!("ip addr add {HOST}/24 dev out0"))?;
    words("ip link set out0 up")?;
    words(&format!("ip -n {OUTSIDE} addr add 192.0.2.2/24 dev eth0"))?;
    words(&format!("ip -n {OUTSIDE} link set eth0 up"))?;
    words(&format!("ip -n {OUTSIDE} route add default via {HOST}")).map(drop)
}

/// How long so many connections take from outside to a target, by a port of the host that is
/// published for it, or straight by the host's routes.
pub(crate) fn latencies(target: &Target, port: Option<u16>, count: u16) -> Result<Vec<Duration>> {
    let _listening = netns::within(&target.name, || {
        let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT))?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    })?;
    let to = match port {
        Some(port) => SocketAddr::from((HOST, port)),
        None => SocketAddr::from((target.address, TARGET_PORT)),
    };
    netns::within(OUTSIDE, || {
        // A port that nobody gets through to must fail soon.
        end(&TcpStream::connect_timeout(&to, PATIENCE)
            .with_context(|| format!("cannot connect to {to}"))?)?;
        let mut times = Vec::with_capacity(usize::from(count) + REHEARSALS);
        for _ in 0..usize::from(count) + REHEARSALS {
            let start = Instant::now();
            let stream = TcpStream::connect(to);
            times.push(start.elapsed());
            end(&stream?)?;
        }
        Ok(times.split_off(REHEARSALS))
    })
}

/// A reset leaves no connection waiting: thousands of those would slow the next ones down.
fn end(stream: &TcpStream) -> Result<()> {
    Ok(set_socket_linger(stream, Some(Duration::ZERO))?)
}
