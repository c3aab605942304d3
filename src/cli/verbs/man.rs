//! The verb `man`: its flags, its help, and what it prints.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::{CommandFactory, ValueHint};

use crate::{
    agents::netcord_agent::PROGRAM,
    cli::{self, AgentArguments, NAME},
    output::Output,
};

/// Print the manual page, or write one page per verb
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write netcord.1, one page per verb and netcord-agent.1 into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let mut command = cli::command();
        command.build();
        let Some(dir) = &self.dir else { return output.data(&page(&command)?) };
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let agent = page(&AgentArguments::command())?;
        let mut pages = vec![(NAME.to_owned(), page(&command)?), (PROGRAM.to_owned(), agent)];
        for verb in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            let name = format!("{NAME}-{}", verb.get_name());
            pages.push((name.clone(), page(&verb.clone().display_name(name))?));
        }
        for (name, text) in pages {
            let path = dir.join(format!("{name}.1"));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

fn page(command: &clap::Command) -> Result<String> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    Ok(String::from_utf8(text)?)
}
