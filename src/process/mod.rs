//! Processes: starting copies of this program and others, telling processes apart, ending them; and
//! what a process has to do with its terminal, its signals and the time.

pub mod background;
pub mod child;
pub mod clock;
mod identity;
mod program;
pub mod signal;
pub mod terminal;
pub mod throwaway;

pub use identity::{
    Ending, container_id, end, kill, name, one_of_each_netns, own, parent, shares_files, started,
    with_arguments,
};
pub use program::become_program;
