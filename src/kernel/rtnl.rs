//! An rtnetlink socket in one network namespace.

use std::io;

use anyhow::{Result, anyhow};
use futures::StreamExt;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    Handle, new_connection_with_strict_check, packet_route::RouteNetlinkMessage, sys::AsyncSocket,
};

/// A socket in the namespace in which it was opened, wherever the thread is now.
#[derive(Debug)]
pub(super) struct Rtnl {
    handle: Handle,
}

/// The kernel sets this flag on a dump that changed while it was made.
/// <https://docs.kernel.org/userspace-api/netlink/intro.html#dump-consistency>
const NLM_F_DUMP_INTR: u16 = 0x10;

/// The number of attempts for an interrupted dump (as in Cilium).
const DUMP_ATTEMPTS: usize = 30;

impl Rtnl {
    /// Opens a socket in the thread's namespace. With strict checking the kernel filters dumps.
    pub(super) fn open() -> io::Result<Self> {
        let (mut connection, handle, _) = new_connection_with_strict_check()?;
        // Otherwise the end of an answer would look like no answer at all.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        // An error need not contain the request.
        connection.socket_mut().socket_mut().set_cap_ack(true)?;
        // The task ends when the last handle is dropped.
        drop(tokio::spawn(connection));
        Ok(Self { handle })
    }

    /// Requests a change, and waits for the kernel's answer.
    pub(super) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags).await.map(drop)
    }

    /// Requests one object.
    pub(super) async fn get(
        &self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.request(message, NLM_F_REQUEST).await.map(|(messages, _)| messages)
    }

    /// Requests all objects that match; repeats an interrupted dump.
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
                // A failed dump contains the error in its last message.
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code));
                }
                _ => {}
            }
        }
        // A request that was never sent gives an empty reply stream; treat that as an error.
        if answered { Ok((messages, whole)) } else { Err(closed()) }
    }
}
