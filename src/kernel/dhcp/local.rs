//! A DHCP server on this host. Packets that a socket sends on a bridge leave by the bridge's ports
//! and do not reach the bridge's own IP stack, so a server on the bridge would not receive our
//! requests. It does receive what comes in by a port.

use std::{
    io::{self, ErrorKind},
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    libc,
    sys::socket::{LinkAddr, MsgFlags, recvfrom, send},
};
use rustix::net::eth;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep},
};

use crate::{
    kernel::{
        Kernel, Link, LinkKind, Netns, arp_probe, link,
        sockets::{Scope, Sockets},
    },
    model::{Mac, PortRange, Protocol},
};

/// The server's port.
const SERVER: u16 = 67;
/// The maximum size of a frame with a DHCP message.
const FRAME: usize = 2048;
/// The interval at which to check whether the port forwards.
const INTERVAL: Duration = Duration::from_millis(5);

/// A port of the bridge whose peer is in a namespace that only this process holds. It is deleted
/// when this value is dropped, or the process is killed.
pub(super) struct LocalPort {
    _netns: Netns,
    link: Link,
    /// Receives our own requests on the bridge.
    tap: AsyncFd<OwnedFd>,
    /// Sends them to the bridge through the port.
    far: OwnedFd,
    /// The MAC of the client.
    client: Mac,
    bridge: Mac,
}

impl LocalPort {
    /// Adds the port if a server may need it: if the link is a bridge, and a program of this host
    /// listens on the port of DHCP servers.
    pub(super) async fn open(
        kernel: &Kernel,
        link: &Link,
        client: Mac,
        patience: Duration,
    ) -> Result<Option<Self>> {
        if link.kind != LinkKind::Bridge {
            return Ok(None);
        }
        let any = IpAddr::from([0; 4]);
        let sockets = Sockets::here(&[Protocol::Udp], Scope::Listening)?;
        if sockets.listening(any, PortRange::single(SERVER), Protocol::Udp).next().is_none() {
            return Ok(None);
        }
        let netns = Netns::anonymous()?;
        let name = format!("ncd{}", std::process::id());
        let port =
            link::veth::create_silent_port(&kernel.rtnl, &netns, link, &name, client.beside());
        let port = port.await.context("cannot ask by a port of the bridge")?;
        let far = netns.within(|| arp_probe::frames_of(&name, eth::IP))??;
        let tap = arp_probe::frames_of(&link.name, eth::ALL)?;
        #[expect(deprecated, reason = "its successor is unsafe; the descriptor is the value's own")]
        let tap = AsyncFd::with_interest(tap, Interest::READABLE)?;
        // A bridge with the spanning tree protocol forwards nothing for some seconds.
        let until = Instant::now() + patience;
        while !kernel.link(&name).await?.is_some_and(|l| l.forwards()) && Instant::now() < until {
            sleep(INTERVAL).await;
        }
        // A bridge whose MAC was never set has that of a port, which may be this one.
        let bridge = kernel.link(&link.name).await?.and_then(|bridge| bridge.mac);
        let bridge = bridge.with_context(|| format!("`{}` has no MAC", link.name))?;
        Ok(Some(Self { _netns: netns, link: port, tap, far, client, bridge }))
    }

    /// Passes requests on, without end.
    pub(super) async fn pass(&self) -> io::Error {
        loop {
            let mut ready = match self.tap.readable().await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            if let Err(error) = self.pass_all() {
                return error;
            }
            ready.clear_ready();
        }
    }

    /// Passes the requests on that were sent until now.
    pub(super) fn pass_all(&self) -> io::Result<()> {
        let mut buffer = [0; FRAME];
        loop {
            match recvfrom::<LinkAddr>(self.tap.get_ref().as_raw_fd(), &mut buffer) {
                Ok((length, from)) => {
                    let is_sent = from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
                    let frame = &mut buffer[..length.min(FRAME)];
                    if is_sent && is_request(frame, self.client) {
                        // Addressed to the bridge itself: the other ports have received it already.
                        frame[..6].copy_from_slice(&self.bridge.octets());
                        send(self.far.as_raw_fd(), frame, MsgFlags::empty())?;
                    }
                }
                Err(e) => {
                    let error = io::Error::from(e);
                    match error.kind() {
                        ErrorKind::WouldBlock => return Ok(()),
                        ErrorKind::Interrupted => {}
                        _ => return Err(error),
                    }
                }
            }
        }
    }

    /// Deletes the port, and returns when it is gone.
    pub(super) async fn close(self, kernel: &Kernel) -> Result<()> {
        link::delete_this(&kernel.rtnl, &self.link).await.map(drop)
    }
}

/// Returns whether a frame is UDP over IPv4, from the client's MAC, to the server port.
fn is_request(frame: &[u8], client: Mac) -> bool {
    const IPV4_AND_UDP: ([u8; 2], u8) = ([8, 0], 17);
    let Some(header) = frame.get(14..34) else { return false };
    let payload = 14 + usize::from(header[0] & 0xf) * 4;
    ([frame[12], frame[13]], header[9]) == IPV4_AND_UDP
        && frame[6..12] == client.octets()
        && frame.get(payload + 2..payload + 4) == Some(&SERVER.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_of_the_client_are_let_in() {
        let client: Mac = "02:6e:00:00:00:01".parse().unwrap();
        let frame = |source: Mac, kind: [u8; 2], protocol, port: u16| {
            let mut frame = vec![0xff; 6];
            frame.extend(source.octets());
            frame.extend(kind);
            // A header of six words, with options.
            frame.extend([0x46, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend([0; 12]);
            frame.extend([0, 68]);
            frame.extend(port.to_be_bytes());
            frame
        };
        assert!(is_request(&frame(client, [8, 0], 17, 67), client));
        assert!(!is_request(&frame(client.beside(), [8, 0], 17, 67), client));
        assert!(!is_request(&frame(client, [8, 6], 17, 67), client));
        assert!(!is_request(&frame(client, [8, 0], 6, 67), client));
        assert!(!is_request(&frame(client, [8, 0], 17, 68), client));
        for length in 0..40 {
            assert!(!is_request(&frame(client, [8, 0], 17, 67)[..length], client), "{length}");
        }
    }
}
