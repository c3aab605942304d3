//! The only code that reads or changes the kernel.

pub mod conntrack;
pub mod ports;
