//! What an error of etcd or of the connection to it means.

use std::error::Error as _;

use etcd_client::Error;
use netcord::model::visible;
use tonic::Code;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// etcd does not answer, or has no leader: try again, elsewhere.
    Away,
    /// The login has expired: log in again.
    LoggedOut,
    /// Certificates, user or password are refused.
    Refused,
    /// The user is known, but this etcd asks for none.
    NoUsers,
    /// The lease has ended.
    LeaseGone,
    /// Anything else.
    Other,
}

pub(super) fn meaning(error: &Error) -> Meaning {
    match error {
        Error::GRpcStatus(status) => of_status(status, error),
        Error::TransportError(_) | Error::IoError(_) if is_tls(error) => Meaning::Refused,
        Error::TransportError(_) | Error::IoError(_) | Error::WatchError(_) => Meaning::Away,
        Error::LeaseKeepAliveError(_) => Meaning::LeaseGone,
        _ => Meaning::Other,
    }
}

fn of_status(status: &tonic::Status, error: &Error) -> Meaning {
    let says = |words: &str| status.message().contains(words);
    match status.code() {
        _ if says("authentication is not enabled") => Meaning::NoUsers,
        _ if says("requested lease not found") => Meaning::LeaseGone,
        Code::Unauthenticated => Meaning::LoggedOut,
        Code::PermissionDenied => Meaning::Refused,
        // etcd's words for a wrong password, and for a request without a user.
        Code::InvalidArgument if says("authentication failed") || says("user name is empty") => {
            Meaning::Refused
        }
        _ if is_tls(error) => Meaning::Refused,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
            Meaning::Away
        }
        // What breaks below gRPC has these codes.
        Code::Unknown | Code::Internal if !says("etcdserver:") => Meaning::Away,
        _ => Meaning::Other,
    }
}

/// rustls reports its errors as invalid data.
fn is_tls(error: &Error) -> bool {
    let mut causes = causes(error);
    causes.any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData)
    })
}

/// Returns whether the other side has closed the connection.
pub(super) fn is_closed(error: &Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let mut causes = causes(error);
    let is_kind =
        |io: &std::io::Error| matches!(io.kind(), BrokenPipe | ConnectionReset | UnexpectedEof);
    // hyper's word has no type.
    let is_closed = |cause: Cause<'_>| {
        cause.downcast_ref().is_some_and(is_kind) || cause.to_string() == "connection closed"
    };
    causes.any(is_closed)
}

/// Returns the reason in the words of the innermost cause.
pub(super) fn reason(error: &Error) -> String {
    let words = match (causes(error).last(), error) {
        (Some(cause), _) => cause.to_string(),
        (None, Error::GRpcStatus(status)) => status.message().to_owned(),
        (None, error) => error.to_string(),
    };
    visible(words.trim_start_matches("etcdserver: ")).into_owned()
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// The client's error does not name its source, but what it wraps does.
fn causes(error: &Error) -> impl Iterator<Item = Cause<'_>> {
    let first: Option<Cause<'_>> = match error {
        Error::GRpcStatus(status) => status.source(),
        Error::TransportError(e) => Some(e),
        Error::IoError(e) => Some(e),
        _ => None,
    };
    std::iter::successors(first, |cause: &Cause<'_>| (*cause).source())
}
