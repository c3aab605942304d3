//! Many requests in one system call: the kernel works through all of them before it returns, so
//! that between the first and the last there is a fraction of a millisecond, and no death of
//! netcord's.

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

/// The kernel's answers come one a message, each with a header and a code.
const BUFFER: usize = 1 << 15;

/// So many requests can all fail, and any socket holds the answers: about 200 KiB.
pub(super) const FEW: usize = 100;
/// What an answer takes of a socket's room, with what it is wrapped in.
const ANSWER: usize = 1 << 10;
/// What a socket keeps of its room for sending (`netlink_sendmsg`).
const SEND_RESERVE: usize = 32;

/// Sends requests with their flags, in the thread's namespace; returns the errno of each that
/// failed. One that fails does not keep the others. `None`: they were worked through, and so many
/// failed that the answers were lost.
///
/// What one datagram does not hold goes in several, in one system call: no signal comes between
/// them either.
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

/// Whether answers were lost: there was no room for them.
pub(super) fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

/// Room for a failure of each; the machine's root alone gets more than the kernel gives everybody
/// (`net.core.rmem_max`).
fn make_room(socket: &Socket, answers: usize) {
    if answers > FEW {
        let bytes = answers * ANSWER;
        let forced = setsockopt(socket, sockopt::RcvBufForce, &bytes);
        // What cannot be had is done without: the answers may be lost.
        let _ = forced.or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes));
    }
}

/// Many requests in as few datagrams as hold them; each comes with the number of the request that
/// follows its last one, which asks for an answer: that says that the others have come.
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

/// Where a message's flags are, from its first byte on (`struct nlmsghdr`).
const FLAGS_AT: usize = 6;

/// The kernel reports failures in any case.
fn ask_for_answer(datagram: &mut [u8], message: usize) {
    for (byte, flag) in datagram[message + FLAGS_AT..].iter_mut().zip(NLM_F_ACK.to_ne_bytes()) {
        *byte |= flag;
    }
}

/// Sends all datagrams in one system call; tells how many requests went, and why the others did
/// not. An error: none did.
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

/// Opens a netlink socket in the thread's namespace, connected to the kernel: nobody else's
/// messages get in. Answers do not repeat what they answer.
pub(super) fn open(protocol: isize) -> io::Result<Socket> {
    let socket = Socket::new(protocol)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// Reads a datagram, and tells its length; fails if the buffer is too short for it.
pub(super) fn read(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
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
