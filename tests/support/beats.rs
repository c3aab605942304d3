//! A datagram each millisecond, there and back, to count those that something loses.

#![allow(
    clippy::disallowed_types,
    clippy::zombie_processes,
    reason = "it is a program of its own, and a mirror ends with its host"
)]

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read},
    net::UdpSocket,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::Lab;

/// The time between two datagrams.
const BEAT: Duration = Duration::from_millis(1);
/// Longer than a busy machine keeps a program waiting.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many may be on their way: fewer than the buffers of the sockets hold.
const ON_THE_WAY: usize = 100;

/// Datagrams between two places, until this is asked for what was lost.
#[derive(Debug)]
pub(crate) struct Beats(Child);

impl Beats {
    /// Ends it; returns the numbers of datagrams that were sent, and that did not come back.
    #[track_caller]
    pub(crate) fn sent_and_lost(mut self) -> (usize, usize) {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let (_, counts) = said.split_once("sent and lost: ").unwrap_or_else(|| panic!("{said}"));
        let mut counts = counts.split_whitespace().map(|count| count.parse().unwrap());
        (counts.next().unwrap(), counts.next().unwrap())
    }
}

impl Lab {
    /// Sends back what comes to this address of a namespace.
    #[track_caller]
    pub(crate) fn mirror(&self, place: &str, address: &str) {
        let mut command = self.server(place, &format!("mirror {address}"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (_, port) = address.rsplit_once(':').unwrap();
        self.until_within(place, &format!("ss -Hlnu sport = :{port} | grep -q ."));
    }

    /// Begins to send to a mirror.
    #[track_caller]
    pub(crate) fn beats(&self, from: &str, to: &str) -> Beats {
        let mut command = self.role(from, &format!("beats {to}"), Self::endless);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Beats(command.spawn().unwrap())
    }
}

pub(super) fn mirror(address: &str) {
    let socket = UdpSocket::bind(address).unwrap();
    let mut datagram = [0; 64];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
        drop(socket.send_to(&datagram[..length], from));
    }
}

pub(super) fn beats(to: &str) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(to).unwrap();
    // Its input ends when the test ends it.
    let told = thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let (mut sent, mut away) = (0_u64, BTreeSet::new());
    let mut due = Instant::now();
    while !told.is_finished() {
        // One that cannot be sent is lost, too.
        drop(socket.send(&sent.to_be_bytes()));
        away.insert(sent);
        sent += 1;
        due = (due + BEAT).max(Instant::now());
        while let Some(rest) = due.checked_duration_since(Instant::now()).filter(|r| !r.is_zero()) {
            receive(&socket, &mut away, rest);
        }
        let end = Instant::now() + PATIENCE;
        while away.len() >= ON_THE_WAY && Instant::now() < end {
            receive(&socket, &mut away, BEAT);
        }
    }
    let end = Instant::now() + PATIENCE;
    while !away.is_empty() && Instant::now() < end {
        receive(&socket, &mut away, BEAT);
    }
    super::talk::say(&format!("sent and lost: {sent} {}", away.len()));
}

/// Receives one datagram that came back, if one comes in this time.
fn receive(socket: &UdpSocket, away: &mut BTreeSet<u64>, limit: Duration) {
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut datagram = [0; 8];
    match socket.recv(&mut datagram) {
        Ok(_) => drop(away.remove(&u64::from_be_bytes(datagram))),
        // An ICMP error is no news: what it is about does not come back.
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => thread::sleep(limit),
        Err(_) => {}
    }
}
