//! The verbs, a file each: functions from a request to an outcome. A verb decides, makes a plan, and
//! has it carried out by [`crate::apply`]. It reports to the [`Events`] of its [`Session`]. Code that
//! several verbs share is in folders:
//!
//! - `driver`: the parts that depend on a network's driver
//! - `lookup`: finds the objects of a request: networks, targets, and related objects
//! - `request`: the parts of a request, its differences to an existing object, and its command
//! - `upkeep`: keeps records, kernel and firewalls in agreement, and removes what is not needed
//! - `diagnose`: reads the whole host and changes nothing: `doctor`, `trace` and `graph`
//! - `background`: the work of processes that outlive their command

pub mod attach;
pub mod background;
pub mod confirm;
pub mod container;
pub mod detach;
pub mod diagnose;
pub mod driver;
mod events;
pub mod export;
pub mod hand_over;
pub mod inspect;
mod lookup;
pub mod ls;
pub mod none;
mod outcome;
pub mod owned;
pub mod peers;
pub mod port;
pub mod prune;
pub mod ps;
pub mod publish;
pub mod repair;
mod request;
pub mod reset;
pub mod rm;
pub mod run;
mod session;
pub mod unpublish;
mod upkeep;
pub mod wait;
pub mod watch;

use self::outcome::before_command;
pub use self::{
    events::{Events, Progress, Silent},
    outcome::{Changed, WithFailure},
    session::{Options, Session},
};

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
pub(crate) mod hostile;
