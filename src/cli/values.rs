//! Parsers of flags and arguments.

use std::ffi::OsStr;

use clap::{
    ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

use crate::{
    model::{BackendKind, Condition, Firewall, Invalid, LinkName, MacvlanMode, NetnsName},
    output::{Color, Format},
};

/// Which of the kernel's firewalls to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FirewallChoice {
    /// The firewall of this host's networks; for the first network nftables, if the kernel has it
    Auto,
    /// A table of netcord's own, made by netlink without a helper program
    Nftables,
    /// Chains of netcord's own, made with the program iptables
    Iptables,
}

impl FirewallChoice {
    /// Returns the firewall that the user chose.
    pub(super) fn firewall(self) -> Option<Firewall> {
        match self {
            Self::Auto => None,
            Self::Nftables => Some(Firewall::Nftables),
            Self::Iptables => Some(Firewall::Iptables),
        }
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Table,
            Self::Json,
            Self::Jsonl,
            Self::Text,
            Self::Dot,
            Self::Mermaid,
            Self::Svg,
            Self::Html,
            Self::Docker,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Table => value("table", "A table, or a line, for reading"),
            Self::Json => value("json", "One JSON value"),
            Self::Jsonl => value("jsonl", "One JSON object per line"),
            Self::Text => value("text", "A tree"),
            Self::Dot => value("dot", "For Graphviz"),
            Self::Mermaid => value("mermaid", "For Markdown viewers"),
            Self::Svg => value("svg", "A drawing, for browsers and documents"),
            Self::Html => value("html", "The drawing in a page, with a filter"),
            Self::Docker => value("docker", "JSON with the keys of `docker network inspect`"),
            Self::Template(_) => return None,
        })
    }
}

impl ValueEnum for Color {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Always, Self::Never]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => value("auto", "On a terminal, unless NO_COLOR is set"),
            Self::Always => value("always", "Always"),
            Self::Never => value("never", "Never"),
        })
    }
}

impl ValueEnum for Condition {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Up => "A link other than lo is up",
            Self::Carrier => "And it has carrier",
            Self::Addr => "And it has a usable address (not tentative)",
            Self::Route => "And a default route uses it",
        };
        Some(value(self.as_str(), help))
    }
}

impl ValueEnum for MacvlanMode {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Bridge => "All, directly",
            Self::Private => "None",
            Self::Vepa => "All, through an external switch that reflects frames (hairpin)",
            Self::Passthru => "Only one endpoint, which has the parent for itself",
        };
        Some(value(self.as_str(), help))
    }
}

impl ValueEnum for BackendKind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Vxlan => "In UDP packets (VXLAN), through any routers",
            Self::HostGw => "As they are, with the other host as the next hop, on one link",
            Self::Udp => "IPv4 packets in UDP packets, by a process (flannel's UDP backend)",
        };
        Some(value(self.as_str(), help))
    }
}

fn value(word: &'static str, help: &'static str) -> PossibleValue {
    PossibleValue::new(word).help(help)
}

/// A parser for the output formats of one verb.
pub(super) fn among(formats: &[Format]) -> impl TypedValueParser<Value = Format> + use<> {
    let names = formats.iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(names).try_map(|name| Format::from_str(&name, false))
}

/// A parser for the output formats of one verb, or a Go template.
#[derive(Clone)]
pub(super) struct OrTemplate<P>(pub P);

impl<P: TypedValueParser<Value = Format>> TypedValueParser for OrTemplate<P> {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Format, clap::Error> {
        match value.to_str() {
            Some(text) if text.contains("{{") => Ok(Format::Template(text.to_owned())),
            _ => self.0.parse_ref(command, argument, value),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

/// Parses the name of a new network. Refuses words with another meaning for `run --network`.
pub(super) fn new_network(text: &str) -> Result<LinkName, Invalid> {
    free(text, &["host", "none"])?;
    text.parse()
}

/// Parses the name of a new namespace. Refuses names that mean another target.
pub(super) fn new_netns(text: &str) -> Result<NetnsName, Invalid> {
    free(text, &["host"])?;
    text.parse()
}

fn free(text: &str, reserved: &[&str]) -> Result<(), Invalid> {
    if reserved.contains(&text) {
        return Err(Invalid::new(format!("`{text}` is a reserved word: choose another name")));
    }
    Ok(())
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    if text.contains(char::is_control) {
        return Err("control characters are not allowed".into());
    }
    match text.split_once('=') {
        Some(("", _)) | None => Err("expected KEY=VALUE".into()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
    }
}
