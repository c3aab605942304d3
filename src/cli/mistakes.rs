//! Errors in the command line.

use std::env;

use clap::error::ContextValue;

use super::command;
use crate::model::{Invalid, steers, visible};

/// Escapes what the user typed, which clap repeats literally.
pub(super) fn shown(mut error: clap::Error) -> clap::Error {
    if !env::args_os().any(|word| word.to_string_lossy().contains(steers)) {
        return error;
    }
    let plain = |text: &str| visible(text).into_owned();
    let repeated: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, ContextValue::String(plain(text)))),
            ContextValue::Strings(texts) => {
                Some((kind, ContextValue::Strings(texts.iter().map(|t| plain(t)).collect())))
            }
            // Without colours, which look like what the user typed.
            ContextValue::StyledStrs(texts) => {
                let plain = texts.iter().map(|text| plain(&text.to_string()).into()).collect();
                Some((kind, ContextValue::StyledStrs(plain)))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in repeated {
        error.insert(kind, value);
    }
    error
}

/// Verbs of other programs, and the corresponding verb of netcord.
const OTHER_WORDS: [(&[&str], &str); 13] = [
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
    (&["exec", "enter", "shell", "sh"], "`netcord container TARGET -- CMD` runs a command there"),
    (&["expose", "forward", "open"], "`netcord publish TARGET PORT` publishes a port"),
    (&["check", "diagnose", "why"], "`netcord doctor` finds out why packets do not flow"),
    (&["fix", "restore", "reload"], "`netcord repair` restores what the records describe"),
    (&["save", "dump", "backup"], "`netcord export` prints this host's networks as a script"),
    (&["version"], "`netcord --version`"),
    (&["help"], "`netcord --help`"),
];

/// Returns the error for an unknown verb.
pub(super) fn no_verb(word: &str) -> Invalid {
    let known = OTHER_WORDS.iter().find(|(words, _)| words.contains(&word));
    let hint = match (known, similar_verb(word)) {
        (Some((_, hint)), _) => (*hint).to_owned(),
        (None, Some(verb)) => format!("did you mean `netcord {verb}`?"),
        (None, None) => "`netcord --help` lists the verbs".to_owned(),
    };
    Invalid::new(format!("no verb `{word}`")).hint(hint)
}

/// Returns the verb that a word is a typing error of. At most one letter in three may differ, so
/// that nobody is offered a verb that removes things instead of what they meant.
fn similar_verb(word: &str) -> Option<String> {
    let command = command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs
        .flat_map(|verb| [verb.get_name()].into_iter().chain(verb.get_visible_aliases()))
        .map(|verb| (strsim::damerau_levenshtein(word, verb), verb))
        .filter(|(distance, verb)| distance * 3 <= word.len().min(verb.len()))
        .min()
        .map(|(_, verb)| verb.to_owned())
}
