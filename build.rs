//! Links a debug build of the program at a fixed address.
//!
//! The tests start it tens of thousands of times. As a position-independent executable, it would have
//! 127,000 pointers relocated at each start, an eighth of the time that `netcord ls` takes.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|set| set == value);
    // With musl, it is static.
    if is("PROFILE", "debug") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
