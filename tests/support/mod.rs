//! A fresh host for a test, and what a test says of it.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

mod beats;
pub(crate) mod cni;
pub(crate) mod cri;
mod engines;
mod etcd;
mod firewalls;
pub(crate) mod frames;
mod hosts;
mod lab;
pub(crate) mod marks;
pub(crate) mod modules;
pub(crate) mod netavark;
mod run;
mod scenario;
mod snapshot;
mod stream;
mod talk;
pub(crate) mod units;
mod wall_clock;

pub(crate) use beats::Beats;
pub(crate) use engines::EngineHost;
pub(crate) use etcd::{STORE, STORE_BY_IPV6, etcdctl};
pub(crate) use hosts::VxlanPacket;
pub(crate) use lab::{FIREWALLS, Lab, NETCORD, comes_true};
pub(crate) use run::Run;
pub(crate) use scenario::{SCENARIOS, Scenario, Stage, program};
pub(crate) use snapshot::Snapshot;
pub(crate) use talk::plays_a_role;
pub(crate) use wall_clock::BY_WALL_CLOCK;
