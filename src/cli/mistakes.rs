//! Errors in the command line, in netcord's words: clap's say neither why nor what to do.

use std::{error::Error as _, ffi::OsString, fmt};

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{NAME, command};
use crate::model::{Invalid, PortSpec, Target};

/// Returns the error of a command line.
pub(super) fn explained(error: &clap::Error, words: &[OsString]) -> Invalid {
    let typed = Typed::of(words);
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let (argument, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let message = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            return no_verb(&text(ContextKind::InvalidSubcommand), &typed);
        }
        ErrorKind::MissingSubcommand => {
            let verbs = typed.command.get_subcommands().map(Command::get_name).collect::<Vec<_>>();
            format!("`{typed}` needs a verb: {}", verbs.join(", "))
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("`{typed}` has no flag `{argument}`")
        }
        ErrorKind::UnknownArgument => format!("`{typed}` takes no argument `{argument}` there"),
        ErrorKind::MissingRequiredArgument => format!("`{typed}` needs {argument}"),
        ErrorKind::InvalidValue if value.is_empty() => format!("'{argument}' needs a value"),
        ErrorKind::InvalidValue => {
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) => values.join(", "),
                _ => String::new(),
            };
            format!("invalid value '{value}' for '{argument}': it is one of {valid}")
        }
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("invalid value '{value}' for '{argument}': {why}")
        }
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            prior if prior == argument || prior.is_empty() => {
                format!("'{argument}' is given more than once")
            }
            prior => format!("'{argument}' and '{prior}' exclude each other"),
        },
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    };
    Invalid::new(message).hint(hint(error, &typed, &argument))
}

/// What was typed: the verbs, and the words after them.
struct Typed {
    /// The definition of the last verb.
    command: Command,
    verbs: Vec<String>,
    words: Vec<String>,
}

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        self.verbs.iter().try_for_each(|verb| write!(f, " {verb}"))
    }
}

/// The global flags with a value, which may be before the verb.
const WITH_VALUE: [&str; 3] = ["--format", "--firewall", "--color"];

impl Typed {
    fn of(words: &[OsString]) -> Self {
        let words = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
        let (mut command, mut verbs) = (command(), Vec::new());
        let mut words = words.collect::<Vec<_>>().into_iter();
        let mut rest = Vec::new();
        while let Some(word) = words.next() {
            if WITH_VALUE.contains(&word.as_str()) {
                words.next();
            } else if let Some(verb) = command.find_subcommand(&word).cloned() {
                verbs.push(word);
                command = verb;
            } else if !(word.starts_with('-') && verbs.is_empty()) {
                rest.push(word);
                break;
            }
        }
        rest.extend(words);
        Self { command, verbs, words: rest }
    }

    fn verb(&self) -> &str {
        self.verbs.last().map(String::as_str).unwrap_or_default()
    }

    /// The words that are no flags.
    fn plain(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str).filter(|word| !word.starts_with('-'))
    }
}

/// Returns what to type instead.
fn hint(error: &clap::Error, typed: &Typed, wrong: &str) -> String {
    if let Some(ContextValue::String(argument)) = error.get(ContextKind::SuggestedArg)
        && misplaced(typed, wrong).is_none()
    {
        return format!("did you mean `{argument}`?");
    }
    if let Some(ContextValue::String(value)) = error.get(ContextKind::SuggestedValue) {
        return format!("did you mean `{value}`?");
    }
    let own = error.source().and_then(|why| why.downcast_ref::<Invalid>());
    let own = own.and_then(|invalid| invalid.hint.clone());
    if let Some(hint) = swapped(typed).or_else(|| misplaced(typed, wrong)).or(own) {
        return hint;
    }
    match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage))
            if error.kind() == ErrorKind::MissingRequiredArgument =>
        {
            let usage = usage.to_string();
            format!("write `{}`", usage.trim_start_matches("Usage: ").trim())
        }
        _ => format!("`{typed} --help` describes what it takes"),
    }
}

/// Returns the hint for a port before its target.
fn swapped(typed: &Typed) -> Option<String> {
    let is_port = |word: &&str| word.parse::<PortSpec>().is_ok();
    if !["publish", "unpublish", "port"].contains(&typed.verb()) {
        return None;
    }
    let (ports, targets): (Vec<&str>, Vec<&str>) = typed.plain().partition(is_port);
    let first = typed.plain().next()?;
    match targets[..] {
        [target] if is_port(&first) && target.parse::<Target>().is_ok() => {
            Some(format!("the target comes first: `{typed} {target} {}`", ports.join(" ")))
        }
        _ => None,
    }
}

/// Returns the hint for a flag or a word of another verb, or of docker.
fn misplaced(typed: &Typed, wrong: &str) -> Option<String> {
    let wrong = wrong.split(['=', ' ']).next().unwrap_or_default();
    let plain = typed.plain().collect::<Vec<_>>();
    Some(match (typed.verb(), wrong) {
        ("publish" | "unpublish", "-p" | "--publish" | "--port") => {
            format!(
                "the ports follow the target without `{wrong}`: `{typed} {}`",
                typed.without(wrong)
            )
        }
        ("attach" | "connect" | "detach" | "disconnect", "--net" | "--network") => {
            match plain[..] {
                [target, network] => format!(
                    "the network is the first word, without a flag: `{typed} {network} {target}`"
                ),
                [network, ref targets @ .., _] if !targets.is_empty() => format!(
                    "the network is the first word, without a flag: `{typed} {network} {}`",
                    targets.join(" ")
                ),
                _ => format!(
                    "the network is the first word, without a flag: `{typed} NETWORK TARGET`"
                ),
            }
        }
        ("run", word) if !word.starts_with('-') && typed.words.iter().any(|w| w == "--") => {
            format!("the network is a flag: `{typed} --network {}`", typed.words.join(" "))
        }
        ("run" | "none" | "container" | "host" | "lab", word) if !word.starts_with('-') => {
            let at = typed.words.iter().position(|w| w == word)?;
            let (before, command) = typed.words.split_at(at);
            let words = [before, &["--".to_owned()], command].concat();
            format!("a command comes after `--`: `{typed} {}`", words.join(" "))
        }
        (verb, flag) => {
            let is_it = |(verbs, flags, _): &&Foreign| {
                flags.contains(&flag) && (verbs.is_empty() || verbs.contains(&verb))
            };
            FOREIGN.iter().find(is_it)?.2.to_owned()
        }
    })
}

impl Typed {
    /// The words without a flag, whose value stays.
    fn without(&self, flag: &str) -> String {
        let strip = |word: &str| match word.strip_prefix(flag) {
            Some("") => None,
            Some(value) => Some(value.trim_start_matches('=').to_owned()),
            None => Some(word.to_owned()),
        };
        self.words.iter().filter_map(|word| strip(word)).collect::<Vec<_>>().join(" ")
    }
}

/// Verbs (none: all), flags of docker that they do not have, and what to do instead.
type Foreign = (&'static [&'static str], &'static [&'static str], &'static str);

const FOREIGN: [Foreign; 9] = [
    (
        &["run", "exec"],
        &["-d", "--detach"],
        "the shell starts it in the background: `netcord none NAME -- CMD &`",
    ),
    (&["run", "exec"], &["-e", "--env"], "the command has your environment: `env KEY=VALUE CMD`"),
    (
        &["run", "exec"],
        &["-u", "--user", "-w", "--workdir", "--volume", "--entrypoint", "--privileged"],
        "the command is one of this host, with your files and your rights",
    ),
    (
        &[],
        &["--alias", "--network-alias", "--link", "--hostname", "--dns", "--add-host"],
        "netcord gives no names to other targets: use the address that `attach` prints",
    ),
    (
        &[],
        &["--gw-priority", "--driver-opt", "--link-local-ip"],
        "`--gateway IP` makes the default route lead here, `--gateway none` elsewhere",
    ),
    (&[], &["--aux-address"], "`--ip-range CIDR` limits the addresses that netcord may assign"),
    (
        &[],
        &["--ingress", "--config-only", "--config-from", "--ipam-opt"],
        "netcord has no swarm: leave it out; `netcord overlay` makes networks of several hosts",
    ),
    (&["rm", "remove"], &["-y", "--yes"], "it does not ask: leave it out"),
    (
        &["ps", "ls", "list"],
        &["-n", "--last", "-l", "--latest", "-s", "--size"],
        "leave it out: netcord lists everything; `--filter` selects",
    ),
];

/// Verbs of other programs, and the corresponding verb of netcord.
const OTHER_WORDS: [(&[&str], &str); 11] = [
    (
        &["add", "new", "make", "mk", "up", "start", "init"],
        "`netcord bridge NETWORK` makes a network, `netcord attach NETWORK TARGET` attaches to it",
    ),
    (&["delete", "del", "destroy", "erase"], "`netcord rm NETWORK` removes a network"),
    (
        &["down", "stop"],
        "`netcord detach NETWORK TARGET` detaches a target, `netcord rm NETWORK` removes a network",
    ),
    (&["link", "join", "plug"], "`netcord attach NETWORK TARGET` attaches a target"),
    (&["unlink", "leave", "unplug"], "`netcord detach NETWORK TARGET` detaches a target"),
    (&["show", "status", "info", "get"], "`netcord ls` lists networks, `netcord ps` endpoints"),
    (&["enter", "shell", "sh"], "`netcord exec TARGET CMD` runs a command there"),
    (&["expose", "forward", "open"], "`netcord publish TARGET PORT` publishes a port"),
    (&["check", "diagnose", "why"], "`netcord doctor` finds out why packets do not flow"),
    (&["fix", "restore", "reload"], "`netcord repair` restores what the records describe"),
    (&["save", "dump", "backup"], "`netcord export` prints this host's networks as a script"),
];

/// Returns the error for an unknown verb.
fn no_verb(word: &str, typed: &Typed) -> Invalid {
    let known =
        OTHER_WORDS.iter().find(|(words, _)| typed.verbs.is_empty() && words.contains(&word));
    let hint = match (known, similar_verb(word, &typed.command)) {
        (Some((_, hint)), _) => (*hint).to_owned(),
        (None, Some(verb)) => format!("did you mean `{typed} {verb}`?"),
        (None, None) => format!("`{typed} --help` lists the verbs"),
    };
    let verbs = typed.verbs.iter().map(String::as_str).chain([word]).collect::<Vec<_>>();
    Invalid::new(format!("no verb `{}`", verbs.join(" "))).hint(hint)
}

/// Returns the verb that a word is a typing error of. At most one letter in three may differ, so
/// that nobody is offered a verb that removes things instead of what they meant.
fn similar_verb(word: &str, command: &Command) -> Option<String> {
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs
        .flat_map(|verb| [verb.get_name()].into_iter().chain(verb.get_visible_aliases()))
        .map(|verb| (strsim::damerau_levenshtein(word, verb), verb))
        .filter(|(distance, verb)| distance * 3 <= word.len().min(verb.len()))
        .min()
        .map(|(_, verb)| verb.to_owned())
}
