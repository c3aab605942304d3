//! From the other hosts to the device.

use std::net::SocketAddrV4;

use anyhow::Result;
use tokio::task::yield_now;

use super::{
    Relay,
    device::Written,
    icmp::Reason,
    merge::Merger,
    packet::{self, Header},
    socket::Socket,
};

/// Passes packets on until the device is gone.
pub(super) async fn run(relay: &Relay) -> Result<()> {
    let Relay { device, socket, counters, .. } = relay;
    let mut buffer = Socket::buffer();
    let (mut received, mut head) = (Vec::new(), Vec::new());
    let mut merger = Merger::new(device.accepts());
    loop {
        socket.receive(&mut buffer, &mut received).await?;
        merger.clear();
        for message in &received {
            if message.at.is_empty() {
                counters.malformed.one();
            }
            let size = message.size.max(1);
            for start in message.at.clone().step_by(size) {
                let at = start..message.at.end.min(start + size);
                if let Some(header) = accept(relay, &mut buffer[at.clone()], message.from) {
                    merger.add(&buffer, at, &header);
                }
            }
        }
        for packet in 0..merger.count() {
            let pieces = merger.pieces(packet, &buffer, &mut head);
            let count = merger.packets_in(packet);
            match device.write(&pieces).await? {
                Written::Whole => {
                    counters.received.add(count);
                    counters.writes.one();
                }
                Written::Refused => counters.unwritten.add(count),
                Written::Gone => return Ok(()),
            }
        }
        // The other direction has its turn. After one datagram there is seldom another.
        if received.len() > 1 {
            yield_now().await;
        }
    }
}

/// Checks a packet; takes one from its time to live.
fn accept(relay: &Relay, packet: &mut [u8], from: SocketAddrV4) -> Option<Header> {
    let Relay { counters, answers, .. } = relay;
    let peers = relay.peers.borrow();
    if from.port() != relay.socket.port() || !peers.has(*from.ip()) {
        counters.unknown_host.one();
        return None;
    }
    let Some(header) = Header::of(packet) else {
        counters.malformed.one();
        return None;
    };
    if peers.host_of(header.source) != Some(*from.ip()) {
        counters.wrong_source.one();
        return None;
    }
    if !peers.is_here(header.destination) {
        counters.wrong_destination.one();
        return None;
    }
    if header.ttl <= 1 {
        counters.expired.one();
        answers.send(Reason::Expired, &header, packet, counters);
        return None;
    }
    packet::age(packet);
    Some(header)
}
