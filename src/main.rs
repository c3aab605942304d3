//! netcord
fn main() {}
