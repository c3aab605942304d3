//! netcord: a `docker network` for everything that has a Linux network namespace.
//!
//! A [`Session`] is the host that verbs work on. A verb is a function from a request to an outcome:
//!
//! ```no_run
//! use netcord::{Attach, Bridge, Options, Session, Silent};
//!
//! # async fn wire() -> anyhow::Result<()> {
//! let mut session = Session::open(Options::default(), &Silent)?;
//! netcord::bridge(&mut session, &Bridge::new("lab0".parse()?)).await?;
//! let request = Attach::new("lab0".parse()?, vec!["web".parse()?]);
//! if let Some(done) = netcord::attach(&mut session, &request).await? {
//!     println!("{:?}", done.now.endpoints[0].addresses);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A request becomes a plan ([`plan`]: steps that print as shell commands), and [`apply`] carries it
//! out, step by step, with [`kernel`] and [`state`] as the two places where changes land. [`ops`] has
//! a file for each verb and drives all of it; [`cli`] is the command line over it.
//!
//! `docs/architecture.md` says which module may import which; a test compares it with the source.

pub mod agents;
pub mod apply;
pub mod cli;
pub mod cni;
pub mod docker;
pub mod engine;
pub mod error;
pub mod kernel;
pub mod model;
pub mod ops;
pub mod output;
pub mod picture;
pub mod plan;
pub mod podman;
pub mod process;
pub mod state;

pub use ops::{
    Changed, Events, Options, Progress, Session, Silent,
    attach::{Attach, Wiring, attach},
    confirm::{Confirm, confirm},
    detach::{Detach, detach},
    diagnose::doctor::{Doctor, doctor},
    diagnose::trace::{Trace, trace},
    driver::bridge::{Bridge, bridge},
    driver::macvlan::{Macvlan, macvlan},
    driver::underlay::{Underlay, underlay},
    export::export,
    inspect::{Inspect, inspect},
    ls::{Ls, ls},
    none::{Namespace, none},
    port::{Port, port},
    prune::prune,
    ps::{Ps, ps},
    publish::{Publish, publish},
    repair::repair,
    reset::reset,
    rm::{Rm, rm},
    run::{Run, run},
    unpublish::{Unpublish, unpublish},
    wait::{Wait, wait},
};
