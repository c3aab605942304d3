//! `completions` and `man`: what packages ship, made from the definition of the command line.

use std::fs;

use anyhow::{Context, Result};
use clap_complete::env::Shells;

use crate::{
    cli::{self, Completions, Man},
    error::Error,
    output::Output,
};

const NAME: &str = "netcord";

pub(super) fn completions(args: &Completions, output: &Output) -> Result<()> {
    let shells = Shells::builtins();
    let shell = shells
        .completer(&args.shell.to_string())
        .ok_or_else(|| Error::usage(format!("there are no completions for {}", args.shell)))?;
    let mut script = Vec::new();
    // The script asks the program itself, so that names of networks and targets are completed too.
    shell.write_registration("COMPLETE", NAME, NAME, NAME, &mut script)?;
    output.data(&String::from_utf8(script)?)
}

pub(super) fn man(args: &Man, output: &Output) -> Result<()> {
    let mut command = cli::command();
    command.build();
    let Some(dir) = &args.dir else { return output.data(&page(&command)?) };
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut pages = vec![(NAME.to_owned(), page(&command)?)];
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

fn page(command: &clap::Command) -> Result<String> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    Ok(String::from_utf8(text)?)
}
