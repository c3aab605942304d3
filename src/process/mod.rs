//! Processes: starts copies of this program and other programs, identifies and ends processes;
//! signals, terminals and clocks.

pub mod background;
pub mod child;
pub mod clock;
mod identity;
mod program;
pub mod service;
pub mod signal;
pub mod terminal;
pub mod throwaway;

pub use identity::{
    BackgroundCopy, Ending, beginning_with, container_id, copies, end, hang_up, has_argument,
    is_netns_shared, kill, name, one_of_each_netns, own, parent, shares_files, started,
    with_arguments,
};
pub use program::{Output, become_program, run_to_end, run_with_input};
