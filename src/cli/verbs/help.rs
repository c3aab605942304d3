//! The verb `help`.

use std::{ffi::OsString, iter};

use crate::cli::NAME;

/// Print the help of a verb
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The verb [default: all verbs]
    #[arg(value_name = "VERB")]
    verb: Vec<OsString>,
}

impl Args {
    /// Returns the command line that prints it.
    pub(in crate::cli) fn as_flag(&self) -> Vec<OsString> {
        let words = self.verb.iter().cloned();
        iter::once(NAME.into()).chain(words).chain(iter::once("--help".into())).collect()
    }
}
