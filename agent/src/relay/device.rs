//! The TUN device: packets of this host's containers come from it, and those for them go to it.

use std::{
    io::{self, IoSlice},
    os::fd::OwnedFd,
};

use anyhow::Result;
use netcord::error::{Error, Kind};
use nix::net::if_::if_nametoindex;
use rustix::io::Errno;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tun_rs::DeviceBuilder;

use super::merge::Accepts;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The kernel has it.
    Whole,
    /// The kernel refused it.
    Refused,
    /// The device does not exist any more.
    Gone,
}

/// A device to which this process is attached.
#[derive(Debug)]
pub(super) struct Device {
    fd: AsyncFd<OwnedFd>,
    accepts: Accepts,
    index: u32,
}

impl Device {
    /// Attaches to an existing device.
    pub(super) fn attach(name: &str, offload: bool) -> Result<Self> {
        // To attach to a name without a device would make one.
        let index = if_nametoindex(name)
            .map_err(|_| Error::not_found(format!("link `{name}` does not exist")))?;
        let builder = DeviceBuilder::new().name(name).offload(offload).inherit_enable_state();
        let tun = builder.build_sync().map_err(|error| refused(name, error))?;
        if if_nametoindex(name) != Ok(index) {
            return Err(Error::not_found(format!("link `{name}` does not exist any more")).into());
        }
        tun.set_nonblocking(true)?;
        let accepts = Accepts { headers: tun.tcp_gso(), udp: tun.udp_gso() };
        let fd = rustix::io::fcntl_dupfd_cloexec(&tun, 0)?;
        #[expect(deprecated, reason = "its successor is unsafe; the descriptor is the value's own")]
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, accepts, index })
    }

    /// Returns what may be written to it.
    pub(super) fn accepts(&self) -> Accepts {
        self.accepts
    }

    /// Returns the index of the link.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Waits until there may be a packet.
    pub(super) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.fd.readable().await
    }

    /// Reads a packet; `None` if there is none now.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        match rustix::io::read(self.fd.get_ref(), buffer) {
            Ok(length) => Ok(Some(length)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a packet; waits while the kernel has no room for it.
    pub(super) async fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<Written> {
        loop {
            match rustix::io::writev(self.fd.get_ref(), pieces) {
                Ok(_) => return Ok(Written::Whole),
                Err(Errno::AGAIN) => {
                    let mut guard = self.fd.writable().await?;
                    guard.clear_ready();
                }
                Err(Errno::BADFD) => return Ok(Written::Gone),
                Err(_) => return Ok(Written::Refused),
            }
        }
    }
}

fn refused(name: &str, error: io::Error) -> anyhow::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::BUSY) => {
            let message = format!("link `{name}` is in use: another process is attached to it");
            Error::conflict(message).into()
        }
        Some(Errno::INVAL) => {
            let message = format!("link `{name}` is not a TUN device without multiple queues");
            Error::new(Kind::Conflict, message).into()
        }
        _ => anyhow::Error::from(error).context(format!("cannot attach to link `{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::AsFd,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures::FutureExt;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
    use tokio::task::yield_now;

    use super::*;

    /// A descriptor that takes few packets, as the kernel's TUN does when it has no room.
    fn full() -> (Device, OwnedFd) {
        let flags = SocketFlags::NONBLOCK;
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        #[expect(deprecated, reason = "its successor is unsafe; the descriptor is the value's own")]
        let fd = AsyncFd::new(one).unwrap();
        let accepts = Accepts { headers: false, udp: false };
        (Device { fd, accepts, index: 1 }, other)
    }

    #[tokio::test]
    async fn a_write_waits_for_room() {
        let (device, other) = full();
        let packet = [IoSlice::new(&[7; 1400])];
        let mut written = 0;
        while device.write(&packet).now_or_never().is_some() {
            written += 1;
        }
        assert!(written > 0);
        // It waits, and does not try again and again.
        let polls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&polls);
        let task = tokio::spawn(async move {
            let packet = [IoSlice::new(&[7; 1400])];
            let mut waiting = pin!(device.write(&packet));
            std::future::poll_fn(|context| {
                counter.fetch_add(1, Ordering::Relaxed);
                waiting.as_mut().poll(context)
            })
            .await
        });
        for _ in 0..1000 {
            yield_now().await;
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        let mut buffer = [0; 2000];
        while recv(other.as_fd(), &mut buffer[..], RecvFlags::empty()).is_ok() {}
        assert_eq!(task.await.unwrap().unwrap(), Written::Whole);
    }
}
