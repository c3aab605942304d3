//! The command line's definition as it is shown: help, with the verbs in groups and the global flags
//! once; completions, with every spelling of a verb.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

/// The verbs in the groups of the README.
const GROUPS: [(&str, &[&str]); 10] = [
    ("Make a network", &["bridge", "underlay", "macvlan", "overlay", "create"]),
    ("Use another network mode", &["none", "host", "container"]),
    ("Attach", &["attach", "detach"]),
    ("Open ports", &["publish", "unpublish", "port"]),
    ("Run a command", &["run", "exec", "lab"]),
    ("Look", &["ls", "ps", "peers", "inspect", "graph", "trace", "wait"]),
    ("Find out why packets do not flow", &["doctor"]),
    (
        "Confirm, remove and repair",
        &["confirm", "rm", "prune", "repair", "watch", "reset", "export"],
    ),
    ("Serve engines", &["docker-plugin"]),
    ("More", &["network", "help", "version", "completions", "man"]),
];

pub(super) const TARGETS: &str = "\
A TARGET is a process ID (1310, pid:1310), a name in /run/netns (web, netns:web), a container of a \
running docker or podman (web, docker:web, podman:web), or a namespace file (/proc/1310/ns/net, \
path:FILE).";

/// How container engines call netcord.
pub(super) const ENGINES: [(&str, &str); 3] = [
    (
        "CNI_COMMAND=... netcord",
        "without arguments: a CNI plugin, as containerd, CRI-O and podman call it",
    ),
    (
        "netavark ...",
        "by a link of this name: the network program of podman, found through helper_binaries_dir in \
         containers.conf. It takes netavark's commands and flags, and JSON on standard input",
    ),
    ("netcord docker-plugin", "docker's network driver, behind a socket that systemd holds"),
];

/// Exit codes, and what each means.
pub(super) const EXIT_CODES: [(&str, &str); 13] = [
    ("0", "done, or nothing to do"),
    ("1", "failed, or a check found a fault"),
    ("2", "usage"),
    ("3", "not found"),
    ("4", "conflict: exists but differs, is taken, or is in use"),
    ("5", "permission"),
    ("6", "kernel feature or helper program missing"),
    ("7", "timeout"),
    ("8", "failed, and the rollback is incomplete"),
    ("9", "unknown: `trace` met something that it cannot evaluate"),
    ("125, 126, 127", "of `-- CMD`, as in docker; otherwise the exit code of CMD"),
    ("130", "interrupted, after rolling back"),
    ("143", "terminated, after rolling back"),
];

/// Environment variables.
pub(super) const ENVIRONMENT: [(&str, &str); 4] = [
    ("DOCKER_HOST", "the socket of docker (unix:// only)"),
    ("CONTAINER_HOST", "the socket of podman (unix:// only)"),
    ("NO_COLOR", "turns colour off"),
    ("NETCORD_STATE_DIR", "the directory of the records [default: /run/netcord]"),
];

/// Files.
pub(super) const FILES: [(&str, &str); 2] = [
    ("/run/netcord/BOOT-HOST/", "the records of a host"),
    ("/run/netns/", "the names of namespaces"),
];

/// Returns the command that parses and prints help.
pub(super) fn command() -> Command {
    let whole = Cli::command();
    let flags = flags(&whole);
    let own =
        [("-h, --help", "Print help (-h: a summary)"), ("-V, --version", "Print the version")];
    let own = own.map(|(flag, help)| (flag.to_owned(), help.to_owned()));
    let all = [&flags[..], &own].concat();
    let summary = format!("{}Options:\n{}", verbs(&whole), table(&all));
    let mut more = format!("{summary}\n{TARGETS}\n");
    for (title, rows) in
        [("Exit codes", &EXIT_CODES[..]), ("Environment", &ENVIRONMENT), ("Files", &FILES)]
    {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        write!(more, "\n{title}:\n{}", table(&rows.iter().map(owned).collect::<Vec<_>>()))
            .unwrap_or_default();
    }
    let names: Vec<_> = flags.iter().map(|(flag, _)| short(flag)).collect();
    let note = format!("Global options, of all verbs (`netcord --help`): {}", names.join(", "));
    whole
        .mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg })
        .mut_subcommands(|verb| noted(verb, &note))
        .override_usage("netcord [OPTIONS] VERB ...")
        .before_help(summary.trim_end().to_owned())
        .before_long_help(more.trim_end().to_owned())
        .help_template("{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}")
}

/// Returns the command for shells: with the global flags, and each spelling of a verb as a verb.
pub(super) fn completed() -> Command {
    with_spellings(Cli::command())
}

/// The aliases of verbs.
const SPELLINGS: [&str; 4] = ["connect", "disconnect", "list", "remove"];

fn with_spellings(command: Command) -> Command {
    let verbs: Vec<_> = command.get_subcommands().cloned().collect();
    let mut spelled = command.mut_subcommands(|verb| with_spellings(verb.visible_alias(None)));
    for verb in verbs {
        let is_its = |name: &&&str| verb.get_visible_aliases().any(|alias| alias == **name);
        for name in SPELLINGS.iter().filter(is_its) {
            let same = verb.clone().visible_alias(None).name(*name);
            spelled = spelled.subcommand(with_spellings(same));
        }
    }
    spelled
}

/// Adds a note to a verb's help, and to those of its own verbs.
fn noted(verb: Command, note: &str) -> Command {
    let add = |help: Option<String>| match help {
        Some(help) => format!("{help}\n\n{note}"),
        None => note.to_owned(),
    };
    let help = add(verb.get_after_help().map(ToString::to_string));
    let long = verb.get_after_long_help().map(|help| add(Some(help.to_string())));
    let verb = verb.after_help(help).mut_subcommands(|verb| noted(verb, note));
    match long {
        Some(long) => verb.after_long_help(long),
        None => verb,
    }
}

fn verbs(command: &Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let rows: Vec<_> = names
            .iter()
            .filter_map(|name| command.find_subcommand(name))
            .map(|verb| {
                let aliases = verb.get_visible_aliases().collect::<Vec<_>>().join(", ");
                let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
                let also = if aliases.is_empty() { aliases } else { format!(" [also: {aliases}]") };
                (verb.get_name().to_owned(), about + &also)
            })
            .collect();
        write!(text, "{title}:\n{}\n", table(&rows)).unwrap_or_default();
    }
    text
}

/// Returns the flags of all verbs, with their help.
fn flags(command: &Command) -> Vec<(String, String)> {
    let row = |arg: &Arg| {
        let flag = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
        let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let is_valued = arg.get_action().takes_values();
        let value = arg.get_value_names().filter(|_| is_valued).map(|names| names.join(" "));
        let value = value.map(|value| format!(" {value}")).unwrap_or_default();
        let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let values = arg.get_possible_values();
        let names: Vec<_> = values.iter().map(|value| value.get_name().to_owned()).collect();
        if is_valued && !names.is_empty() && !help.contains(&names.join(", ")) {
            help = format!("{help}: {}", names.join(", "));
        }
        (format!("{short}{flag}{value}"), help)
    };
    command.get_arguments().filter(|arg| arg.is_global_set()).map(row).collect()
}

/// Returns a flag's name, without its value.
fn short(flag: &str) -> String {
    let names = flag.split(", ").map(|name| name.split(' ').next().unwrap_or_default());
    names.collect::<Vec<_>>().join(" ")
}

const WIDTH: usize = 80;

/// Lays out names and descriptions in two columns.
fn table(rows: &[(String, String)]) -> String {
    let widest = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default().max(11);
    let mut text = String::new();
    for (name, about) in rows {
        let mut line = format!("  {name:widest$}  ");
        let indent = line.len();
        for word in about.split(' ') {
            if line.len() > indent && line.len() + word.len() > WIDTH {
                text.push_str(line.trim_end());
                text.push('\n');
                line = " ".repeat(indent);
            }
            line.push_str(word);
            line.push(' ');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_in_one_group() {
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let command = Cli::command();
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        let mut names: Vec<_> = verbs.map(Command::get_name).collect();
        grouped.sort_unstable();
        names.sort_unstable();
        assert_eq!(grouped, names);
    }

    #[test]
    fn help_has_the_global_flags_once() {
        let help = command().render_long_help().to_string();
        assert_eq!(help.matches("--dry-run").count(), 1, "{help}");
        assert!(help.contains("\nOpen ports:\n  publish      Publish ports"), "{help}");
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        let command = Cli::command();
        let mut aliases = command.get_subcommands().flat_map(Command::get_visible_aliases);
        assert!(aliases.all(|alias| SPELLINGS.contains(&alias)));
        completed().debug_assert();
    }
}
