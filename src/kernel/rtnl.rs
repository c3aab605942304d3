//! A conversation with rtnetlink in one network namespace.

use std::io;

use anyhow::{Result, anyhow};
use futures::StreamExt;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    Handle, new_connection_with_strict_check, packet_route::RouteNetlinkMessage, sys::AsyncSocket,
};

/// A socket of the namespace that it was opened in, wherever the thread is now.
#[derive(Debug)]
pub(super) struct Rtnl {
    handle: Handle,
}

/// The kernel marks a dump that it could not make in one piece.
/// <https://docs.kernel.org/userspace-api/netlink/intro.html#dump-consistency>
const NLM_F_DUMP_INTR: u16 = 0x10;

/// How often an interrupted dump is asked for again (Cilium's figure).
const DUMP_ATTEMPTS: usize = 30;

impl Rtnl {
    /// Opens a socket in the thread's current namespace. Strict checking lets the kernel filter
    /// dumps.
    pub(super) fn open() -> io::Result<Self> {
        let (mut connection, handle, _) = new_connection_with_strict_check()?;
        // Or the end of an answer could not be told from no answer at all.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        // A failure need not repeat what was asked for.
        connection.socket_mut().socket_mut().set_cap_ack(true)?;
        // It ends with the last handle.
        drop(tokio::spawn(connection));
        Ok(Self { handle })
    }

    /// Asks for a change and waits for the kernel's word on it.
    pub(super) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags).await.map(drop)
    }

    /// Asks for one object.
    pub(super) async fn get(
        &self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.request(message, NLM_F_REQUEST).await.map(|(messages, _)| messages)
    }

    /// Asks for all objects that fit; never returns a doubtful answer.
    pub(super) async fn dump(
        &self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            let (messages, whole) =
                self.request(message.clone(), NLM_F_REQUEST | NLM_F_DUMP).await?;
            if whole {
                return Ok(messages);
            }
        }
        Err(anyhow!("the kernel's tables changed faster than they can be read"))
    }

    async fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let closed = || io::Error::new(io::ErrorKind::BrokenPipe, "the netlink socket was closed");
        let mut replies = self.handle.clone().request(request).map_err(|_| closed())?;
        let (mut messages, mut whole, mut answered) = (Vec::new(), true, false);
        while let Some(reply) = replies.next().await {
            answered = true;
            whole &= reply.header.flags & NLM_F_DUMP_INTR == 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(inner) => messages.push(inner),
                NetlinkPayload::Error(error) => {
                    if let Some(code) = error.code {
                        return Err(io::Error::from_raw_os_error(-code.get()));
                    }
                }
                // A dump that fails says so at its end.
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code));
                }
                _ => {}
            }
        }
        // Of a request that could not be sent one hears nothing; no news is not good news.
        if answered { Ok((messages, whole)) } else { Err(closed()) }
    }
}
