//! netcord: a `docker network` for everything that has a Linux network namespace.
//!
//! A request becomes a value of [`model`], that becomes a plan ([`plan`]: steps that print as shell
//! commands), and [`apply`] carries it out, step by step, with [`kernel`] and [`state`] as the two
//! places where changes land. [`ops`] has a file for each verb and drives all of it.
//!
//! Who may import whom is in `docs/architecture.md`; a test holds it so.

pub mod agents;
pub mod apply;
pub mod cli;
pub mod complete;
pub mod engine;
pub mod error;
pub mod kernel;
pub mod model;
pub mod ops;
pub mod output;
pub mod picture;
pub mod plan;
pub mod process;
pub mod state;
