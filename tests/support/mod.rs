//! A fresh host for a test, and what a test says of it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

mod engines;
mod lab;
mod run;
mod snapshot;

pub(crate) use engines::EngineHost;
pub(crate) use lab::Lab;
pub(crate) use run::Run;
pub(crate) use snapshot::Snapshot;
