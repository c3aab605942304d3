//! netcord
pub mod engine;
pub mod error;
pub mod kernel;
pub mod model;
pub mod plan;
