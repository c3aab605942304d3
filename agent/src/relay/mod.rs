//! The relay: carries the packets of an overlay network between a TUN device and UDP.
//!
//! It is a process of its own, so that the packets flow while netcord-agent is replaced. The routes
//! of the device say which host has which subnet (`routes`).
//!
//! - `outbound`, `inbound`: the two directions
//! - `device`, `socket`, `answers`: where packets come from and go to
//! - `packet`, `checksum`, `vnet`: their formats
//! - `segment`, `merge`: large packets of the kernel to packets of the network, and back
//! - `fragment`, `icmp`: what becomes of packets that do not fit or cannot go on
//! - `peers`: which host has which subnet

mod answers;
pub mod checksum;
mod counters;
mod device;
pub mod fragment;
pub mod icmp;
mod inbound;
pub mod merge;
mod outbound;
pub mod packet;
pub mod peers;
mod routes;
pub mod segment;
mod socket;
pub mod vnet;

use std::{
    cell::RefCell,
    env,
    ffi::OsString,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddrV4},
};

use anyhow::{Context, Result};
use clap::Parser;
use ipnetwork::Ipv4Network;
use netcord::error::Error;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use serde::Serialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    answers::Answers, counters::Counters, device::Device, peers::Peers, routes::Routes,
    socket::Socket,
};

/// The first word of the command line.
pub const WORD: &str = "relay";
/// Names what is not to be used, although the kernel has it: `tun`, `send`, `receive`, with commas.
const OFF: &str = "NETCORD_RELAY_OFF";

/// Carry the packets of an overlay network between a TUN device and UDP
#[derive(Debug, Parser)]
#[command(name = "netcord-agent relay", max_term_width = 100)]
struct Arguments {
    /// TUN device that exists and is up
    #[arg(long)]
    link: String,
    /// Address of this host
    #[arg(long)]
    host: Ipv4Addr,
    /// UDP port of all hosts
    #[arg(long)]
    port: u16,
    /// Subnet of this host
    #[arg(long)]
    subnet: Ipv4Network,
}

/// A relay at work.
#[derive(Debug)]
struct Relay {
    device: Device,
    socket: Socket,
    answers: Answers,
    peers: RefCell<Peers>,
    counters: Counters,
}

/// Runs the relay with these arguments until it is terminated or its device is deleted.
///
/// On stdout it says that it is ready, and with what. On SIGUSR1 and at its end it prints there what
/// it has counted.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let arguments = Arguments::parse_from(arguments);
    // Capabilities belong to a thread, so there is only one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(relay(&arguments))
}

async fn relay(arguments: &Arguments) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut count = signal(SignalKind::user_defined1())?;
    let uses = Uses::wanted()?;
    let device = Device::attach(&arguments.link, uses.tun)?;
    let own = SocketAddrV4::new(arguments.host, arguments.port);
    let socket = Socket::open(own, uses.send, uses.receive)?;
    let mut routes = Routes::follow(device.index(), arguments.subnet)?;
    let answers = Answers::open()?;
    renounce()?;
    let peers = RefCell::new(routes.read().await?);
    routes.carried().await?;
    let relay = Relay { device, socket, answers, peers, counters: Counters::default() };
    print(&relay.features());
    let follow = async {
        loop {
            routes.change().await?;
            match routes.read().await {
                Ok(peers) => drop(relay.peers.replace(peers)),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    let tell = async {
        while count.recv().await.is_some() {
            print(&relay.counters);
        }
    };
    let result = tokio::select! {
        result = outbound::run(&relay) => result,
        result = inbound::run(&relay) => result,
        result = follow => result,
        () = tell => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    print(&relay.counters);
    result
}

impl Relay {
    /// Returns what it uses.
    fn features(&self) -> serde_json::Value {
        let accepts = self.device.accepts();
        json!({
            "ready": true,
            "tun": match (accepts.headers, accepts.udp) {
                (false, _) => "off",
                (true, false) => "tso",
                (true, true) => "tso,uso",
            },
            "send": if self.socket.sends_series() { "segments" } else { "datagrams" },
            "receive": if self.socket.receives_series() { "gro" } else { "datagrams" },
        })
    }
}

/// What may be used if the kernel has it.
struct Uses {
    tun: bool,
    send: bool,
    receive: bool,
}

impl Uses {
    /// Returns all but what the environment switches off.
    fn wanted() -> Result<Self> {
        let mut uses = Self { tun: true, send: true, receive: true };
        let off = env::var(OFF).unwrap_or_default();
        for word in off.split(',').filter(|word| !word.is_empty()) {
            match word {
                "tun" => uses.tun = false,
                "send" => uses.send = false,
                "receive" => uses.receive = false,
                _ => {
                    let message = format!("{OFF}: `{word}` is not `tun`, `send` or `receive`");
                    return Err(Error::usage(message).into());
                }
            }
        }
        Ok(uses)
    }
}

/// Gives up all privileges: what needs them is open.
fn renounce() -> Result<()> {
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).context("cannot give up capabilities")
}

/// Returns whether a device does not exist any more.
fn is_gone(error: &anyhow::Error) -> bool {
    let error = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    error.is_some_and(|error| Errno::from_io_error(error) == Some(Errno::NODEV))
}

/// Prints a line of JSON. Nobody may read it.
fn print(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        drop(writeln!(io::stdout(), "{line}"));
    }
}

/// Prints a line about a change on stderr.
fn report(what: &str) {
    drop(writeln!(io::stderr(), "netcord-agent relay: {what}"));
}
