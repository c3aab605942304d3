//! The command lines of netavark, and of its plugins.

use std::{env, ffi::OsString, path::PathBuf};

use anyhow::Result;
use clap::{
    ArgAction, CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{NAME, TITLE};
use crate::{error::Error, model::Firewall};

/// Where podman's packages have the program that serves names.
const AARDVARK: &str = "/usr/libexec/podman/aardvark-dns";

/// netcord in the place of netavark: podman calls it, with JSON on standard input.
#[derive(Debug, Parser)]
#[command(name = NAME, version = TITLE, disable_help_subcommand = true)]
#[command(after_help = "See docs/podman.md, or `man netcord`.")]
struct Netavark {
    /// Read the JSON from this file
    #[arg(short, long, global = true, value_name = "FILE")]
    file: Option<PathBuf>,

    /// The directory of aardvark-dns' files
    #[arg(short, long, global = true, value_name = "DIR")]
    config: Option<PathBuf>,

    /// Whether podman runs without root
    #[arg(short, long, global = true, value_name = "BOOL", action = ArgAction::Set)]
    #[arg(default_value_t = false)]
    rootless: bool,

    /// The program that serves names
    #[arg(short, long, global = true, value_name = "FILE", default_value = AARDVARK)]
    aardvark_binary: PathBuf,

    /// The firewall: nftables or iptables; by default that of netcord's networks
    #[arg(long, global = true, value_name = "NAME", value_parser = firewall)]
    firewall_driver: Option<Firewall>,

    /// Ignored: netcord calls no plugins of netavark
    #[arg(long = "plugin-directory", global = true, value_name = "DIR")]
    _plugins: Option<PathBuf>,

    #[command(subcommand)]
    verb: Option<Verb>,
}

/// netcord as a plugin of netavark.
#[derive(Debug, Parser)]
#[command(name = NAME, version = TITLE, disable_help_subcommand = true)]
struct Plugin {
    #[command(subcommand)]
    verb: PluginVerb,
}

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    /// The file with the configuration; `None`: standard input.
    pub(super) file: Option<PathBuf>,
    /// The directory of files that outlive a call.
    pub(super) config: Option<PathBuf>,
    pub(super) rootless: bool,
    pub(super) aardvark: PathBuf,
    /// The firewall for the rules; `None`: that of the host's networks.
    pub(super) firewall: Option<Firewall>,
    /// Whether netavark calls, for a network whose driver is netcord.
    pub(super) is_plugin: bool,
    pub(super) verb: Verb,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(super) enum Verb {
    /// Complete and check the definition of a network
    Create,
    /// Attach a container to its networks
    Setup {
        /// The file of the container's namespace
        netns: PathBuf,
    },
    /// Change the upstream DNS servers of a network
    Update {
        /// The network
        network: String,
        /// The servers, separated by commas
        #[arg(long = "network-dns-servers", value_name = "IP", required = true)]
        #[arg(value_delimiter = ',')]
        servers: Vec<String>,
    },
    /// Detach a container from its networks
    Teardown {
        /// The file of the container's namespace
        netns: PathBuf,
    },
    /// Restore missing firewall rules, as `netcord repair` does
    FirewallReload,
    /// Print the versions
    Version,
}

/// A command of a plugin.
#[derive(Debug, Subcommand)]
enum PluginVerb {
    /// Complete and check the definition of a network
    Create,
    /// Attach a container to a network
    Setup {
        /// The file of the container's namespace
        netns: PathBuf,
    },
    /// Detach a container from a network
    Teardown {
        /// The file of the container's namespace
        netns: PathBuf,
    },
    /// Print the versions of the plugin and of its interface
    Info,
}

/// What the words ask for.
#[derive(Debug)]
pub(super) enum Asked {
    Call(Call),
    /// What a plugin is.
    Info,
    /// The help, or the version, which is this text.
    Text(String),
}

impl Verb {
    /// Returns its word.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Setup { .. } => "setup",
            Self::Teardown { .. } => "teardown",
            Self::Update { .. } => "update",
            Self::FirewallReload => "firewall-reload",
            Self::Version => "version",
        }
    }
}

/// Parses the words of a call of podman's.
///
/// # Errors
/// If netavark does not know them, or netcord does not do it.
pub(super) fn parse(words: impl Iterator<Item = OsString>) -> Result<Asked> {
    let parsed = match Netavark::try_parse_from(with_name(words)) {
        Ok(parsed) => parsed,
        Err(error) => return text(&error),
    };
    let Some(verb) = parsed.verb else {
        return Ok(Asked::Text(Netavark::command().render_help().to_string()));
    };
    Ok(Asked::Call(Call {
        file: parsed.file,
        config: parsed.config,
        rootless: parsed.rootless,
        aardvark: parsed.aardvark_binary,
        firewall: parsed.firewall_driver.map_or_else(firewall_of_environment, |f| Ok(Some(f)))?,
        is_plugin: false,
        verb,
    }))
}

/// Parses the words of a call of a plugin.
///
/// # Errors
/// If they are none of a plugin's.
pub(super) fn parse_plugin(words: impl Iterator<Item = OsString>) -> Result<Asked> {
    let verb = match Plugin::try_parse_from(with_name(words)) {
        Ok(Plugin { verb: PluginVerb::Create }) => Verb::Create,
        Ok(Plugin { verb: PluginVerb::Setup { netns } }) => Verb::Setup { netns },
        Ok(Plugin { verb: PluginVerb::Teardown { netns } }) => Verb::Teardown { netns },
        Ok(Plugin { verb: PluginVerb::Info }) => return Ok(Asked::Info),
        Err(error) => return text(&error),
    };
    Ok(Asked::Call(Call {
        file: None,
        config: None,
        rootless: false,
        aardvark: AARDVARK.into(),
        firewall: firewall_of_environment()?,
        is_plugin: true,
        verb,
    }))
}

fn with_name(words: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    std::iter::once(NAME.into()).chain(words)
}

/// Returns the help or the version that was asked for; any other error in one line.
fn text(error: &clap::Error) -> Result<Asked> {
    let text = error.to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Ok(Asked::Text(text));
    }
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    let invalid = Error::usage(line.trim_start_matches("error: "));
    let Some(ContextValue::String(command)) = error.get(ContextKind::InvalidSubcommand) else {
        return Err(invalid.into());
    };
    Err(match command.as_str() {
        "firewalld-reload" => invalid.hint(
            "rules in nftables outlive a reload of firewalld; after one that lost rules, run \
             `netcord repair`",
        ),
        "dhcp-proxy" => invalid
            .hint("netcord leases and renews addresses itself: stop netavark-dhcp-proxy.socket"),
        _ => invalid,
    }
    .into())
}

fn firewall(name: &str) -> Result<Firewall, String> {
    match name {
        "nftables" => Ok(Firewall::Nftables),
        "iptables" => Ok(Firewall::Iptables),
        _ => Err("`nftables` and `iptables` work, both also where firewalld runs".into()),
    }
}

fn firewall_of_environment() -> Result<Option<Firewall>> {
    let name = env::var("NETAVARK_FW").unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let parsed = firewall(&name);
    Ok(Some(parsed.map_err(|why| Error::usage(format!("NETAVARK_FW={name}: {why}")))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Call> {
        match parse(line.split(' ').map(OsString::from))? {
            Asked::Call(call) => Ok(call),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_of_podmans_is_parsed() {
        let call = parsed(
            "--config /run/containers/networks --rootless=false --aardvark-binary /usr/lib/podman/aardvark-dns setup /run/netns/netns-1",
        )
        .unwrap();
        assert_eq!(call.config, Some("/run/containers/networks".into()));
        assert_eq!(call.aardvark, PathBuf::from("/usr/lib/podman/aardvark-dns"));
        assert!(!call.rootless && call.file.is_none());
        assert_eq!(call.verb, Verb::Setup { netns: "/run/netns/netns-1".into() });
        let update = parsed("update net1 --network-dns-servers 1.1.1.1,8.8.8.8").unwrap().verb;
        let servers = vec!["1.1.1.1".into(), "8.8.8.8".into()];
        assert_eq!(update, Verb::Update { network: "net1".into(), servers });
        assert_eq!(
            parsed("--firewall-driver iptables version").unwrap().firewall,
            Some(Firewall::Iptables)
        );
    }

    #[test]
    fn help_and_version_are_texts() {
        for words in [vec![], vec!["--help"], vec!["--version"]] {
            let asked = parse(words.into_iter().map(OsString::from)).unwrap();
            assert!(matches!(asked, Asked::Text(text) if text.contains(NAME)));
        }
    }

    #[test]
    fn what_netcord_does_not_do_is_refused_by_name() {
        for (line, why) in [
            ("setup", "not provided: <NETNS>"),
            ("setup /a /b", "unexpected argument '/b'"),
            ("frob", "unrecognized subcommand 'frob'"),
            ("--frob setup /a", "unexpected argument '--frob'"),
            ("--rootless perhaps setup /a", "invalid value 'perhaps'"),
            ("--firewall-driver none setup /a", "`nftables` and `iptables` work"),
            ("firewalld-reload", "unrecognized subcommand 'firewalld-reload'"),
            ("update net1", "--network-dns-servers"),
            ("--file", "a value is required"),
        ] {
            let error = parsed(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let hint = crate::error::hint(&parsed("dhcp-proxy run").unwrap_err()).unwrap();
        assert!(hint.starts_with("netcord leases"), "{hint}");
    }
}
