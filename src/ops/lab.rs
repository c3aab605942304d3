//! `lab`: a throwaway host.

use std::ffi::OsString;

use anyhow::Result;

use crate::{cli, kernel::throwaway};

/// Starts it, as this very program.
pub(super) fn start(args: &cli::Lab) -> Result<u8> {
    let mut arguments: Vec<OsString> = ["lab", "--first-process", "--"].map(Into::into).into();
    arguments.extend(args.command.command.iter().cloned());
    throwaway::start(&arguments)
}

/// Is its first process.
pub(super) async fn first_process(args: &cli::Lab) -> Result<u8> {
    throwaway::first_process(&args.command.command).await
}
