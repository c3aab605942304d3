//! Terminals.

use std::os::fd::AsFd;

use rustix::{
    process::getpgrp,
    termios::{tcgetpgrp, tcgetwinsize},
};

/// Returns the number of columns, if this process is in the terminal's foreground. Otherwise
/// another program owns the screen, and we must not draw on it.
pub fn columns(terminal: impl AsFd) -> Option<usize> {
    // A terminal that does not report its foreground process group may be used.
    if tcgetpgrp(&terminal).is_ok_and(|foreground| foreground != getpgrp()) {
        return None;
    }
    let size = tcgetwinsize(&terminal).ok()?;
    // A terminal without a size gets the traditional 80 columns.
    Some(if size.ws_col == 0 { 80 } else { size.ws_col.into() })
}
