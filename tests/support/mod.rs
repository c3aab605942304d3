//! A fresh host for a test, and what a test says of it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

mod lab;
mod run;
mod snapshot;
mod talk;

pub(crate) use lab::Lab;
pub(crate) use run::Run;
pub(crate) use snapshot::Snapshot;
