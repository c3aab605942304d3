//! What is to be done, as data. Pure.

mod flows;

pub use flows::Flows;
