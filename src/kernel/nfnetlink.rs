//! A netlink socket to the kernel's netfilter: connection tracking and `nf_tables`.

use std::{io, os::fd::AsRawFd};

use netlink_packet_core::{
    NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::NetfilterMessage;
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send, setsockopt, sockopt},
};
use rtnetlink::sys::{self, protocols::NETLINK_NETFILTER};

use super::datagram;

/// Larger than the largest datagram of a dump, 32 KiB (`netlink_recvmsg`).
const BUFFER: usize = 1 << 16;
/// How often a dump is repeated if the data changed meanwhile.
const ATTEMPTS: usize = 30;
/// Less than the default size of a socket's buffer, about 200 KiB.
const HELD: usize = 1 << 17;

/// A socket in the namespace that the thread was in when it was opened.
#[derive(Debug)]
pub(super) struct Socket {
    file: sys::Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let file = datagram::open(NETLINK_NETFILTER)?;
        Ok(Self { file, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Makes space for a datagram of this size and for its answers; returns whether there is
    /// enough: only the machine's root may exceed the default.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        // Answers are larger than requests, and each is counted with its overhead.
        bytes <= HELD
            || setsockopt(&self.file, sockopt::SndBufForce, &(bytes * 2)).is_ok()
                && setsockopt(&self.file, sockopt::RcvBufForce, &(bytes * 16)).is_ok()
    }

    /// Sends a request and reads the whole answer; repeats it if the data changed meanwhile.
    pub(super) fn dump<M: NetlinkDeserializable, T>(
        &mut self,
        request: &NetfilterMessage,
        flags: u16,
        of: impl Fn(M) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..ATTEMPTS {
            let mut found = Vec::new();
            if self.request(request.clone(), flags, |message| found.extend(of(message)))? {
                return Ok(found);
            }
        }
        let why = format!("what is read changed during each of {ATTEMPTS} readings");
        Err(io::Error::new(io::ErrorKind::Interrupted, why))
    }

    /// Sends a request and reads the whole answer. Returns whether the answer is consistent.
    pub(super) fn request<M: NetlinkDeserializable>(
        &mut self,
        message: NetfilterMessage,
        flags: u16,
        mut each: impl FnMut(M),
    ) -> io::Result<bool> {
        let mut bytes = Vec::new();
        let sequence = self.append(&mut bytes, message, flags);
        send(self.file.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut is_whole = true;
        loop {
            let mut end = false;
            self.read(|header, payload| {
                if header.sequence_number != sequence {
                    return Ok(());
                }
                is_whole &= header.flags & NLM_F_DUMP_INTR == 0;
                match payload {
                    NetlinkPayload::InnerMessage(message) => each(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => end = true,
                    NetlinkPayload::Overrun(_) => return Err(Errno::ENOBUFS.into()),
                    _ => {}
                }
                // An answer of one message has no end marker.
                end |= header.flags & NLM_F_MULTIPART == 0;
                Ok(())
            })?;
            if end {
                return Ok(is_whole);
            }
        }
    }

    /// Sends messages in one datagram, of which the last asks for an answer, and reads the answers
    /// up to that one; returns the errno of each that failed. If the first fails, all do.
    pub(super) fn send_all(
        &mut self,
        messages: impl IntoIterator<Item = (NetfilterMessage, u16)>,
        last: usize,
    ) -> io::Result<Vec<Option<Errno>>> {
        let mut bytes = Vec::new();
        let first = self.sequence + 1;
        for (message, flags) in messages {
            self.append(&mut bytes, message, flags);
        }
        let mut failures = vec![None; (self.sequence + 1 - first) as usize];
        send(self.file.as_raw_fd(), &bytes, MsgFlags::empty())?;
        loop {
            let mut end = false;
            self.read(|header, payload: NetlinkPayload<NetfilterMessage>| {
                let Some(at) = header.sequence_number.checked_sub(first) else { return Ok(()) };
                let (at, NetlinkPayload::Error(error)) = (at as usize, payload) else {
                    return Ok(());
                };
                if let Some(code) = error.code {
                    if at == 0 {
                        return Err(error.to_io());
                    }
                    if let Some(failure) = failures.get_mut(at) {
                        *failure = Some(Errno::from_raw(-code.get()));
                    }
                }
                end |= at == last;
                Ok(())
            })?;
            if end {
                return Ok(failures);
            }
        }
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: NetfilterMessage, flags: u16) -> u32 {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
        self.sequence
    }

    /// Reads a datagram, and calls back for each message in it.
    fn read<M: NetlinkDeserializable>(
        &mut self,
        mut each: impl FnMut(NetlinkHeader, NetlinkPayload<M>) -> io::Result<()>,
    ) -> io::Result<()> {
        let length = datagram::read(&self.file, &mut self.buffer)?;
        let mut rest = &self.buffer[..length];
        while !rest.is_empty() {
            let message = NetlinkMessage::<M>::deserialize(rest)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let (header, payload) = message.into_parts();
            let length = (header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            each(header, payload)?;
        }
        Ok(())
    }
}

/// Returns whether the kernel lacks the subsystem. EPROTONOSUPPORT: no nfnetlink. EINVAL: nfnetlink
/// without this subsystem (`nfnetlink_rcv_msg`), and no module for it.
pub(super) fn is_absent(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EPROTONOSUPPORT | Errno::EINVAL | Errno::ENOENT | Errno::EOPNOTSUPP)
    )
}
