//! The verb `completions`: its flags, its help, and what it prints.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, env::Shells};

use crate::{
    agents::netcord_agent::PROGRAM,
    cli::{AgentArguments, NAME},
    error::Error,
    output::Output,
};

/// Print a shell's completion script
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  netcord completions bash > /etc/bash_completion.d/netcord\n  source <(netcord completions zsh)"
)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
    /// The program
    #[arg(value_parser = [NAME, PROGRAM], default_value = NAME)]
    program: String,
}

impl Args {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        if self.program == PROGRAM {
            let mut script = Vec::new();
            clap_complete::generate(
                self.shell,
                &mut AgentArguments::command(),
                PROGRAM,
                &mut script,
            );
            return output.data(&String::from_utf8(script)?);
        }
        let shells = Shells::builtins();
        let shell = shells
            .completer(&self.shell.to_string())
            .ok_or_else(|| Error::usage(format!("there are no completions for {}", self.shell)))?;
        let mut script = Vec::new();
        // The script asks the program itself, so that names of networks and targets are completed too.
        shell.write_registration("COMPLETE", NAME, NAME, NAME, &mut script)?;
        output.data(&(String::from_utf8(script)? + addition(self.shell)))
    }
}

/// Returns what the generated scripts lack.
fn addition(shell: Shell) -> &'static str {
    match shell {
        // The first Tab in a shell loads the script as a function, and expects candidates from it.
        Shell::Zsh => {
            "\nif [ \"$funcstack[1]\" = \"_netcord\" ]; then\n    _clap_dynamic_completer_netcord \"$@\"\nfi\n"
        }
        // bash would split `netns:web` and `8080:80`, and complete only the part behind the colon.
        Shell::Bash => "\nCOMP_WORDBREAKS=${COMP_WORDBREAKS//:/}\n",
        _ => "",
    }
}
