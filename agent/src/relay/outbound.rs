//! From the device to the other hosts.

use std::{
    collections::HashMap,
    io::IoSlice,
    net::Ipv4Addr,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::errno::Errno;
use tokio::task::yield_now;

use super::{
    Relay,
    fragment::fragments,
    icmp::Reason,
    packet::{self, Header},
    report,
    segment::{Parts, split},
    socket::{SERIES, SERIES_BYTES},
    vnet::{self, Offload},
};

/// The most packets that are read before they are sent.
const READS: usize = 32;
/// No more is read than this, so that it is still in the processor's cache when it is sent.
const READ_BYTES: usize = 64 << 10;
/// Room for a packet. Not a power of two, see `socket`.
const ROOM: usize = (64 << 10) + 1600;
/// How long a limit of the path holds until the kernel is asked again.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Packets on their way out.
struct Outbound<'a> {
    relay: &'a Relay,
    buffer: Vec<u8>,
    parts: Parts,
    /// The host of each of the parts.
    hosts: Vec<Ipv4Addr>,
    /// The largest packets that fit on the way to hosts, where the kernel has refused one.
    limits: HashMap<Ipv4Addr, (u16, Instant)>,
    /// Who got "too big" for one of these packets.
    answered: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// What a device has left after it was read.
enum Read {
    /// Perhaps more packets.
    More,
    /// No packet.
    All,
    /// It does not exist any more.
    Gone,
}

/// Passes packets on until the device is gone.
pub(super) async fn run(relay: &Relay) -> Result<()> {
    let mut outbound = Outbound {
        relay,
        buffer: vec![0; READS * ROOM],
        parts: Parts::default(),
        hosts: Vec::new(),
        limits: HashMap::new(),
        answered: None,
    };
    loop {
        let read = outbound.read().await?;
        outbound.send().await;
        match read {
            // The other direction has its turn.
            Read::More => yield_now().await,
            Read::All => {}
            Read::Gone => return Ok(()),
        }
    }
}

impl Outbound<'_> {
    /// Waits for packets and reads them.
    async fn read(&mut self) -> Result<Read> {
        self.parts.clear();
        self.hosts.clear();
        self.answered = None;
        let mut bytes = 0;
        let mut ready = self.relay.device.readable().await?;
        for number in 0..READS {
            let start = number * ROOM;
            match self.relay.device.read(&mut self.buffer[start..start + ROOM]) {
                Ok(Some(length)) => {
                    bytes += length;
                    self.take(start..start + length);
                }
                Ok(None) => {
                    ready.clear_ready();
                    return Ok(Read::All);
                }
                Err(rustix::io::Errno::BADFD) => return Ok(Read::Gone),
                Err(error) => return Err(error.into()),
            }
            if bytes >= READ_BYTES {
                break;
            }
        }
        Ok(Read::More)
    }

    /// Takes a packet that was read.
    fn take(&mut self, at: Range<usize>) {
        let Relay { counters, answers, device, .. } = self.relay;
        let has_header = device.accepts().headers;
        let start = at.start + if has_header { vnet::LENGTH } else { 0 };
        let offload = match self.buffer[at.clone()].first_chunk() {
            _ if !has_header => Some(Offload::default()),
            Some(bytes) => Offload::of(*bytes),
            None => None,
        };
        let (Some(offload), Some(packet)) = (offload, self.buffer.get_mut(start..at.end)) else {
            return counters.malformed.one();
        };
        if packet.first().is_none_or(|first| first >> 4 != 4) {
            return counters.other_protocol.one();
        }
        let Some(header) = Header::of(packet) else { return counters.malformed.one() };
        let host = {
            let peers = self.relay.peers.borrow();
            if !peers.is_here(header.source) {
                return counters.wrong_source.one();
            }
            peers.host_of(header.destination)
        };
        let Some(host) = host else {
            counters.no_route.one();
            return answers.send(Reason::NoRoute, &header, packet, counters);
        };
        if header.ttl <= 1 {
            counters.expired.one();
            return answers.send(Reason::Expired, &header, packet, counters);
        }
        packet::age(packet);
        self.parts.begin_at(start);
        if split(&header, offload, packet, &mut self.parts).is_none() {
            return counters.malformed.one();
        }
        self.hosts.resize(self.parts.count(), host);
    }

    /// Sends all that was read.
    async fn send(&mut self) {
        let counters = &self.relay.counters;
        let (mut next, mut one_by_one, mut refused) = (0, 0, None);
        while next < self.parts.count() {
            let (host, size) = (self.hosts[next], self.parts.size(next));
            if let Some(limit) = self.limit(host)
                && size > usize::from(limit)
            {
                self.send_smaller(next, limit).await;
                next += 1;
                continue;
            }
            let count = if next < one_by_one { 1 } else { self.series(next) };
            match self.send_series(next, count).await {
                Ok(()) => {
                    counters.sent.add(count);
                    counters.sends.one();
                    if let Some(error) = refused.take() {
                        self.relay.socket.send_no_series();
                        report(&format!(
                            "each datagram is sent by itself from now on: \
                             the kernel refused a series: {error}"
                        ));
                    }
                    next += count;
                }
                // Which of them is the fault of the series, and which that of the path?
                Err(error @ (Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE)) if count > 1 => {
                    one_by_one = next + count;
                    refused = Some(error);
                }
                Err(Errno::EMSGSIZE) if self.learn(host, size) => refused = None,
                Err(error) => {
                    counters.unsent.one();
                    if matches!(error, Errno::EHOSTUNREACH | Errno::ENETUNREACH) {
                        self.answer(Reason::NoHost, next);
                    }
                    next += 1;
                }
            }
        }
    }

    /// Returns how many packets from this one on can be sent as a series: to the same host and of one
    /// size; only the last may be shorter.
    fn series(&self, first: usize) -> usize {
        if !self.relay.socket.sends_series() {
            return 1;
        }
        let (host, size) = (self.hosts[first], self.parts.size(first));
        let (mut count, mut bytes) = (1, size);
        for next in first + 1..self.parts.count().min(first + SERIES) {
            let more = self.parts.size(next);
            if self.hosts[next] != host || more > size || bytes + more > SERIES_BYTES {
                break;
            }
            count += 1;
            bytes += more;
            if more < size {
                break;
            }
        }
        count
    }

    async fn send_series(&self, first: usize, count: usize) -> Result<(), Errno> {
        let pieces: Vec<_> = (first..first + count)
            .flat_map(|part| self.parts.halves(part, &self.buffer))
            .filter(|half| !half.is_empty())
            .map(IoSlice::new)
            .collect();
        let size = (count > 1).then(|| packet::length(self.parts.size(first)));
        self.relay.socket.send(&pieces, size, self.hosts[first]).await
    }

    /// Returns the largest packet that fits, if the kernel has refused one lately.
    fn limit(&mut self, host: Ipv4Addr) -> Option<u16> {
        let (limit, until) = *self.limits.get(&host)?;
        if until <= Instant::now() {
            self.limits.remove(&host);
            return None;
        }
        Some(limit)
    }

    /// Asks the kernel for the limit of the path to a host; returns whether a packet of this size is
    /// above it.
    fn learn(&mut self, host: Ipv4Addr, size: usize) -> bool {
        let limit = self.relay.socket.room_to(host).filter(|limit| usize::from(*limit) < size);
        if let Some(limit) = limit {
            let now = Instant::now();
            self.limits.retain(|_, (_, until)| *until > now);
            self.limits.insert(host, (limit, now + REMEMBERED));
        }
        limit.is_some()
    }

    /// Sends a packet that is too large for the path in fragments, or answers.
    async fn send_smaller(&mut self, part: usize, limit: u16) {
        let counters = &self.relay.counters;
        let packet = self.parts.halves(part, &self.buffer).concat();
        let Some(header) = Header::of(&packet) else { return counters.malformed.one() };
        if header.dont_fragment() {
            counters.too_big.one();
            // Segments of one large packet are one packet to its sender.
            if self.answered.replace((header.source, header.destination))
                != Some((header.source, header.destination))
            {
                self.answer(Reason::TooBig(limit), part);
            }
            return;
        }
        let Some(all) = fragments(&header, &packet, usize::from(limit)) else {
            return counters.too_big.one();
        };
        for fragment in all {
            let pieces = [IoSlice::new(&fragment)];
            match self.relay.socket.send(&pieces, None, self.hosts[part]).await {
                Ok(()) => {
                    counters.sent.one();
                    counters.sends.one();
                }
                Err(_) => counters.unsent.one(),
            }
        }
    }

    fn answer(&self, reason: Reason, part: usize) {
        let packet = self.parts.halves(part, &self.buffer).concat();
        if let Some(header) = Header::of(&packet) {
            self.relay.answers.send(reason, &header, &packet, &self.relay.counters);
        }
    }
}
