//! Sends many netlink requests in one system call. The kernel processes all of them before it
//! returns, so that they take a fraction of a millisecond, and killing netcord cannot interrupt
//! them.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, getsockopt, recv, setsockopt, sockopt},
};
use rtnetlink::{
    packet_route::RouteNetlinkMessage,
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// The kernel sends one answer a message, with a header and an error code.
const BUFFER: usize = 1 << 15;

/// The number of requests whose answers fit into any socket even if all fail: about 200 KiB.
pub(super) const FEW: usize = 100;
/// The space that an answer takes in a socket's buffer.
const ANSWER: usize = 1 << 10;
/// The part of its send buffer that a socket keeps free (`netlink_sendmsg`).
const SEND_RESERVE: usize = 32;

/// Sends requests with their flags, in the thread's namespace; returns the errno of each that
/// failed. A failed request does not stop the others. `None`: all were processed, but so many
/// failed that answers were lost.
///
/// Requests that do not fit into one datagram are sent in several, in one system call, so that no
/// signal interrupts them.
pub(super) fn send_all(
    requests: &[(RouteNetlinkMessage, u16)],
) -> Result<Option<Vec<Option<i32>>>> {
    let mut failures = vec![None; requests.len()];
    if requests.is_empty() {
        return Ok(Some(failures));
    }
    let socket = open(NETLINK_ROUTE).context("cannot open a netlink socket")?;
    make_room(&socket, requests.len());
    let room = getsockopt(&socket, sockopt::SndBuf).context("cannot ask a netlink socket")?;
    let datagrams = datagrams(requests, room.saturating_sub(SEND_RESERVE))?;
    let (sent, failure) = send(&socket, &datagrams)
        .with_context(|| format!("cannot send {} changes at once", requests.len()))?;
    if let Some(errno) = failure {
        failures[sent..].fill(Some(errno));
    }
    let answers = receive(&socket, sent - 1, |sequence, errno| {
        if let Some(failure) = failures.get_mut(sequence) {
            *failure = Some(errno);
        }
    });
    match answers {
        Err(e) if is_overrun(&e) => Ok(None),
        answers => answers.map(|()| Some(failures)).context("cannot read the kernel's answer"),
    }
}

/// Returns whether answers were lost for lack of space.
pub(super) fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

/// Makes space for an answer to each request. Only the machine's root may exceed
/// `net.core.rmem_max`.
fn make_room(socket: &Socket, answers: usize) {
    if answers > FEW {
        let bytes = answers * ANSWER;
        let forced = setsockopt(socket, sockopt::RcvBufForce, &bytes);
        // Without the space, answers may be lost.
        let _ = forced.or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes));
    }
}

/// Packs requests into as few datagrams as possible. Each datagram comes with the number of the
/// request after its last one, which asks for an answer that shows that all others have arrived.
fn datagrams(
    requests: &[(RouteNetlinkMessage, u16)],
    room: usize,
) -> Result<Vec<(Vec<u8>, usize)>> {
    let mut datagrams = Vec::new();
    let mut bytes = Vec::new();
    let mut last = 0;
    for (sequence, (message, flags)) in requests.iter().enumerate() {
        let mut message = NetlinkMessage::from(message.clone());
        message.header.sequence_number = u32::try_from(sequence)?;
        message.header.flags = NLM_F_REQUEST | flags;
        message.finalize();
        let length = message.buffer_len().next_multiple_of(4);
        if !bytes.is_empty() && bytes.len() + length > room {
            ask_for_answer(&mut bytes, last);
            datagrams.push((std::mem::take(&mut bytes), sequence));
        }
        last = bytes.len();
        bytes.resize(last + length, 0);
        message.serialize(&mut bytes[last..]);
    }
    ask_for_answer(&mut bytes, last);
    datagrams.push((bytes, requests.len()));
    Ok(datagrams)
}

/// The offset of the flags in a message (`struct nlmsghdr`).
const FLAGS_AT: usize = 6;

/// The kernel reports failures in any case.
fn ask_for_answer(datagram: &mut [u8], message: usize) {
    for (byte, flag) in datagram[message + FLAGS_AT..].iter_mut().zip(NLM_F_ACK.to_ne_bytes()) {
        *byte |= flag;
    }
}

/// Sends all datagrams in one system call; returns the number of requests that were sent, and the
/// error that stopped it. If it returns an error itself, none was sent.
fn send(socket: &Socket, datagrams: &[(Vec<u8>, usize)]) -> io::Result<(usize, Option<i32>)> {
    let slices: Vec<_> = datagrams.iter().map(|(bytes, _)| [IoSlice::new(bytes)]).collect();
    let mut nothing: Vec<_> = datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: Vec<_> =
        slices.iter().zip(&mut nothing).map(|(bytes, none)| MMsgHdr::new(bytes, none)).collect();
    let mut sent = 0;
    while sent < headers.len() {
        match sendmmsg(socket, &mut headers[sent..], SendFlags::empty()) {
            Ok(more) => sent += more,
            Err(e) if sent == 0 => return Err(e.into()),
            Err(e) => return Ok((datagrams[sent - 1].1, Some(e.raw_os_error()))),
        }
    }
    Ok((datagrams[sent - 1].1, None))
}

/// Opens a netlink socket in the thread's namespace, connected to the kernel, so that it receives
/// no other messages. Answers do not contain the request (`NETLINK_CAP_ACK`).
pub(super) fn open(protocol: isize) -> io::Result<Socket> {
    let socket = Socket::new(protocol)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// Reads a datagram, and returns its length; fails if the buffer is too short.
pub(super) fn read(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // With this flag the result is the datagram's length, even if the buffer is shorter.
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) if length > buffer.len() => return Err(Errno::EMSGSIZE.into()),
            Ok(length) => return Ok(length),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads answers until that to the last request, and calls `failed` for each failure.
fn receive(socket: &Socket, last: usize, mut failed: impl FnMut(usize, i32)) -> io::Result<()> {
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
