//! Looks at the whole host and changes nothing.
//!
//! - `doctor`: why packets do not flow
//! - `trace`: which way a packet takes, and what becomes of it
//! - `graph`: everything that is connected, as a graph

pub mod doctor;
pub mod graph;
pub mod trace;
