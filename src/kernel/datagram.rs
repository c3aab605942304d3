//! Many requests in one datagram: the kernel works through all of them before it returns, so that
//! between the first and the last there is a fraction of a millisecond, and no death of netcord's.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv,
        send, socket,
    },
};
use rtnetlink::packet_route::RouteNetlinkMessage;

/// The kernel's answers come one a message, each with a header and a code.
const BUFFER: usize = 1 << 15;

/// Sends requests with their flags, in the thread's namespace; returns the errno of each that
/// failed. One that fails does not keep the others.
pub(super) fn send_all(requests: &[(RouteNetlinkMessage, u16)]) -> Result<Vec<Option<i32>>> {
    let mut failures = vec![None; requests.len()];
    let Some(last) = requests.len().checked_sub(1) else { return Ok(failures) };
    let mut datagram = Vec::new();
    for (sequence, (message, flags)) in requests.iter().enumerate() {
        let mut message = NetlinkMessage::from(message.clone());
        message.header.sequence_number = u32::try_from(sequence)?;
        message.header.flags = NLM_F_REQUEST | flags;
        // Failures are told in any case; the last answer says that the others have come.
        if sequence == last {
            message.header.flags |= NLM_F_ACK;
        }
        message.finalize();
        let start = datagram.len();
        datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..]);
    }
    let socket = open(SockProtocol::NetlinkRoute).context("cannot open a netlink socket")?;
    send(socket.as_raw_fd(), &datagram, MsgFlags::empty())
        .map_err(io::Error::from)
        .with_context(|| format!("cannot send {} changes at once", requests.len()))?;
    receive(&socket, last, |sequence, errno| {
        if let Some(failure) = failures.get_mut(sequence) {
            *failure = Some(errno);
        }
    })
    .context("cannot read the kernel's answer")?;
    Ok(failures)
}

/// Opens a netlink socket in the thread's namespace, connected to the kernel: nobody else's
/// messages get in.
pub(super) fn open(protocol: SockProtocol) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// Reads a datagram, and tells its length; fails if the buffer is too short for it.
pub(super) fn read(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // With this flag the length is the datagram's own, even if the buffer is shorter.
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) if length > buffer.len() => return Err(Errno::EMSGSIZE.into()),
            Ok(length) => return Ok(length),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads answers until the last request's; tells of each failure.
fn receive(socket: &OwnedFd, last: usize, mut failed: impl FnMut(usize, i32)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = read(socket, &mut buffer)?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let (header, payload) = message.into_parts();
            let length = (header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            let sequence = header.sequence_number as usize;
            if let NetlinkPayload::Error(error) = payload {
                if let Some(code) = error.code {
                    failed(sequence, -code.get());
                }
                if sequence == last {
                    return Ok(());
                }
            }
        }
    }
}
