//! Terminals.

use std::os::fd::AsFd;

use rustix::{
    process::getpgrp,
    termios::{tcgetpgrp, tcgetwinsize},
};

/// How many columns it has, if this process may write to it: it is there, and its foreground is
/// ours. What another program has there is not for us to draw on.
pub fn columns(terminal: impl AsFd) -> Option<usize> {
    // A terminal that does not tell who is in its foreground is nobody else's.
    if tcgetpgrp(&terminal).is_ok_and(|foreground| foreground != getpgrp()) {
        return None;
    }
    let size = tcgetwinsize(&terminal).ok()?;
    // One without a size is as terminals have always been.
    Some(if size.ws_col == 0 { 80 } else { size.ws_col.into() })
}
