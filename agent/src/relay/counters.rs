//! What the relay counts.

use std::cell::Cell;

use serde::Serialize;

/// Packets of the network, since the relay has started.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counters {
    /// Sent to other hosts.
    pub(super) sent: Counter,
    /// Datagrams, or series of them, that were sent in one system call.
    pub(super) sends: Counter,
    /// Received from other hosts, and passed on.
    pub(super) received: Counter,
    /// Packets written to the device; one may contain several that were received.
    pub(super) writes: Counter,
    /// ICMP errors that were sent.
    pub(super) answers: Counter,
    /// Read from the device, and not IPv4.
    pub(super) other_protocol: Counter,
    /// Not a well-formed packet.
    pub(super) malformed: Counter,
    /// Received from an address that is no peer's, or from another port.
    pub(super) unknown_host: Counter,
    /// The source is not in the sender's subnet.
    pub(super) wrong_source: Counter,
    /// Received, and the destination is not in this host's subnet.
    pub(super) wrong_destination: Counter,
    /// No peer has the destination.
    pub(super) no_route: Counter,
    /// The time to live has ended.
    pub(super) expired: Counter,
    /// Too large for the path.
    pub(super) too_big: Counter,
    /// The kernel did not take the datagram.
    pub(super) unsent: Counter,
    /// The kernel did not take the packet.
    pub(super) unwritten: Counter,
}

/// One number.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Counter(Cell<u64>);

impl Counter {
    /// Counts one.
    pub(super) fn one(&self) {
        self.add(1);
    }

    /// Counts several.
    pub(super) fn add(&self, count: usize) {
        self.0.set(self.0.get() + count as u64);
    }
}
