//! Verbs that inspect the whole host and change nothing.
//!
//! - `doctor`: finds out why packets do not flow
//! - `trace`: follows a packet's path
//! - `graph`: reads everything that is connected, as a graph
//! - `view`: the host and the namespaces that its links lead into, as all three read them

pub mod doctor;
pub mod graph;
pub mod lesson;
pub mod trace;
mod view;
