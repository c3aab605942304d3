//! The verb `man`: its flags, its help, and what it prints.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_mangen::Man;

use crate::{
    agents::netcord_agent::PROGRAM,
    cli::{
        self, AgentArguments, NAME,
        reference::{ENGINES, ENVIRONMENT, EXIT_CODES, FILES, TARGETS},
    },
    output::Output,
};

/// Print the manual page, or write one page per verb
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write netcord.8, one page per verb and netcord-agent.8 into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// The section of the manual for system administration.
const SECTION: &str = "8";

impl Args {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let mut whole = cli::whole_command();
        whole.build();
        let Some(dir) = &self.dir else { return output.data(&of_program(&whole)?) };
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        write(dir, NAME, &of_program(&whole)?)?;
        write(dir, PROGRAM, &of_agent()?)?;
        for verb in visible(&whole) {
            let name = format!("{NAME}-{}", verb.get_name());
            write(dir, &name, &of_verb(verb, &name)?)?;
        }
        Ok(())
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(format!("{name}.{SECTION}"));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set())
}

fn of_program(command: &Command) -> Result<String> {
    let man = man(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    writeln!(page, ".SH SYNOPSIS\n\\fB{NAME}\\fR [\\fIOPTIONS\\fR] \\fIVERB\\fR ...")?;
    man.render_description_section(&mut page)?;
    writeln!(page, ".PP\n{}", escaped(TARGETS))?;
    writeln!(page, ".SH VERBS")?;
    for verb in visible(command) {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let name = escaped(&format!("{NAME}-{}", verb.get_name()));
        writeln!(page, ".TP\n\\fB{name}\\fR({SECTION})\n{}", escaped(&about))?;
    }
    man.render_options_section(&mut page)?;
    writeln!(page, ".SH \"CALLED BY ENGINES\"")?;
    for (how, what) in ENGINES {
        writeln!(page, ".TP\n\\fB{}\\fR\n{}", escaped(how), escaped(what))?;
    }
    let others = visible(command).map(|verb| format!("{NAME}-{}", verb.get_name()));
    Ok(String::from_utf8(page)? + &end(others))
}

fn of_agent() -> Result<String> {
    let man = man(AgentArguments::command());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    Ok(String::from_utf8(page)? + &end([NAME, "netcord-overlay"].map(str::to_owned).into_iter()))
}

fn of_verb(command: &Command, name: &str) -> Result<String> {
    let usage = synopsis(command);
    // The flags of all verbs are on the program's page.
    let own = command.clone().mut_args(|arg| {
        let is_hidden = arg.is_global_set() || arg.is_hide_set();
        arg.hide(is_hidden)
    });
    let man = man(own.display_name(name.to_owned()));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    writeln!(page, ".SH SYNOPSIS\n{usage}")?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    writeln!(page, ".PP\nThe options of all verbs are in \\fB{NAME}\\fR({SECTION}).")?;
    if command.has_subcommands() {
        writeln!(page, ".SH VERBS")?;
        for verb in visible(command) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            writeln!(page, ".TP\n{}\n{}", synopsis(verb), escaped(&about))?;
        }
    }
    if let Some(text) = command.get_after_help() {
        writeln!(page, ".SH NOTES")?;
        for paragraph in text.to_string().split("\n\n") {
            writeln!(page, ".PP\n.nf\n{}\n.fi", escaped(&wrapped(paragraph)))?;
        }
    }
    Ok(String::from_utf8(page)? + &end([NAME.to_owned()].into_iter()))
}

fn man(command: Command) -> Man {
    let source = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    Man::new(command).section(SECTION).source(source).manual("System Administration")
}

/// Returns the flags and arguments of a verb, with their values.
fn synopsis(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut text = format!("\\fB{}\\fR", escaped(name));
    let shown = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help";
    let arguments: Vec<_> = command.get_arguments().filter(shown).collect();
    let (words, flags): (Vec<&Arg>, _) = arguments.into_iter().partition(|a| a.is_positional());
    for arg in flags.into_iter().chain(words) {
        let part = part(arg);
        let part = if arg.is_required_set() { part } else { format!("[{part}]") };
        write!(text, " {part}{}", if is_repeated(arg) { "..." } else { "" }).unwrap_or_default();
    }
    if command.has_subcommands() {
        text.push_str(" \\fIVERB\\fR ...");
    }
    text
}

fn part(arg: &Arg) -> String {
    let value = arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
    let value = format!("\\fI{}\\fR", escaped(&value));
    let is_last = if arg.is_last_set() { "\\-\\- " } else { "" };
    match (arg.get_long(), arg.get_short()) {
        _ if arg.is_positional() => format!("{is_last}{value}"),
        (long, short) => {
            let long = long.map(|long| format!("\\fB{}\\fR", escaped(&format!("--{long}"))));
            let short = short.map(|short| format!("\\fB{}\\fR", escaped(&format!("-{short}"))));
            let names = [short, long].into_iter().flatten().collect::<Vec<_>>().join("|");
            let values = arg.get_num_args().map(|range| (range.min_values(), range.max_values()));
            match (arg.get_action().takes_values(), values) {
                (false, _) => names,
                (true, Some((0, _))) => format!("{names} [{value}]"),
                (true, _) => format!("{names} {value}"),
            }
        }
    }
}

fn is_repeated(arg: &Arg) -> bool {
    let is_list = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    is_list || matches!(arg.get_action(), clap::ArgAction::Append)
}

/// Returns the sections at the end of each page.
fn end(others: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for (title, rows) in
        [("EXIT STATUS", &EXIT_CODES[..]), ("ENVIRONMENT", &ENVIRONMENT), ("FILES", &FILES)]
    {
        writeln!(text, ".SH \"{title}\"").unwrap_or_default();
        for (name, about) in rows {
            writeln!(text, ".TP\n\\fB{}\\fR\n{}", escaped(name), escaped(about))
                .unwrap_or_default();
        }
    }
    let own = others.map(|name| format!("\\fB{}\\fR({SECTION})", escaped(&name)));
    let system = ["ip(8)", "ip-netns(8)", "bridge(8)", "nft(8)", "docker-network(1)"].map(|page| {
        let (name, section) = page.split_once('(').unwrap_or((page, ""));
        format!("\\fB{}\\fR({section}", escaped(name))
    });
    let pages: Vec<_> = own.chain(system).collect();
    writeln!(text, ".SH \"SEE ALSO\"\n{}", pages.join(",\n")).unwrap_or_default();
    text
}

/// Returns text as roff prints it literally.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    let line = |line: &str| {
        let guard = if line.starts_with('.') { "\\&" } else { "" };
        format!("{guard}{line}")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Breaks long lines between words.
fn wrapped(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut rest = String::new();
        for word in line.split(' ') {
            if !rest.trim().is_empty() && rest.len() + word.len() > 70 && !line.starts_with(' ') {
                lines.push(std::mem::take(&mut rest));
            }
            if !rest.is_empty() || word.is_empty() {
                rest.push(' ');
            }
            rest.push_str(word);
        }
        lines.push(rest);
    }
    lines.join("\n")
}
