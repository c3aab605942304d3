//! Reports to a service manager, such as systemd.

use std::io;

use sd_notify::NotifyState;

/// Reports to systemd that the service has started, if it started this process.
pub fn ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])
}
