//! The command line of netavark.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use anyhow::Result;

use crate::{error::Error, model::Firewall};

pub(super) const HELP: &str = "\
netcord in the place of netavark: podman calls it, with JSON on standard input.

Usage: netavark [OPTIONS] COMMAND

Commands:
  create               complete and check the definition of a network
  setup NETNS          attach a container to its networks
  update NETWORK --network-dns-servers IP
                       change the upstream DNS servers of a network
  teardown NETNS       detach a container from its networks
  firewall-reload      restore missing firewall rules, as `netcord repair` does
  version              print the versions

Options:
  -f, --file FILE              read the JSON from this file
  -c, --config DIR             the directory of aardvark-dns' files
  -r, --rootless BOOL          whether podman runs without root
  -a, --aardvark-binary FILE   the program that serves names
      --firewall-driver NAME   nftables or iptables [default: as of netcord's networks]
      --plugin-directory DIR   ignored: netcord calls no plugins of netavark

See docs/podman.md, or `man netcord`.
";

/// Where podman's packages have the program that serves names.
const AARDVARK: &str = "/usr/libexec/podman/aardvark-dns";

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
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    /// The file of the container's namespace.
    Setup(PathBuf),
    Teardown(PathBuf),
    Update {
        network: String,
        servers: Vec<String>,
    },
    FirewallReload,
    Version,
    /// Of a plugin: what it is.
    Info,
    /// `--version`
    Title,
    Help,
}

impl Verb {
    /// Returns its word.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Setup(_) => "setup",
            Self::Teardown(_) => "teardown",
            Self::Update { .. } => "update",
            Self::FirewallReload => "firewall-reload",
            Self::Version | Self::Title => "version",
            Self::Info => "info",
            Self::Help => "help",
        }
    }
}

/// Parses the words after the name of a plugin.
///
/// # Errors
/// If they are none of a plugin's.
pub(super) fn parse_plugin(words: impl Iterator<Item = OsString>) -> Result<Call> {
    let words: Vec<_> = words.collect();
    if words == ["info"] {
        return Ok(Call { verb: Verb::Info, is_plugin: true, ..parse(std::iter::empty())? });
    }
    let call = parse(words.into_iter())?;
    match call.verb {
        Verb::Create | Verb::Setup(_) | Verb::Teardown(_) => Ok(Call { is_plugin: true, ..call }),
        other => Err(Error::usage(format!("a plugin has no command `{}`", other.as_str())).into()),
    }
}

/// Parses the words after the program's name.
///
/// # Errors
/// If netavark does not know them, or netcord does not do it.
pub(super) fn parse(words: impl Iterator<Item = OsString>) -> Result<Call> {
    let mut call = Call {
        file: None,
        config: None,
        rootless: false,
        aardvark: AARDVARK.into(),
        firewall: None,
        is_plugin: false,
        verb: Verb::Help,
    };
    let mut firewall = env::var_os("NETAVARK_FW").filter(|name| !name.is_empty());
    let (mut positional, mut servers, mut only) = (Vec::new(), None::<Vec<String>>, None);
    let mut words = words;
    while let Some(word) = words.next() {
        let (flag, attached) = split(&word);
        let Some(flag) = flag else {
            positional.push(word);
            continue;
        };
        let mut value = || {
            let value = attached.clone().or_else(|| words.next());
            value.ok_or_else(|| Error::usage(format!("`{flag}` needs a value")))
        };
        match flag.as_str() {
            "-f" | "--file" => call.file = Some(value()?.into()),
            "-c" | "--config" => call.config = Some(value()?.into()),
            "-r" | "--rootless" => call.rootless = switch(&flag, &value()?)?,
            "-a" | "--aardvark-binary" => call.aardvark = value()?.into(),
            "--firewall-driver" => firewall = Some(value()?),
            "--plugin-directory" => drop(value()?),
            "--network-dns-servers" => {
                let value = text(value()?)?;
                let all = value.split(',').filter(|server| !server.is_empty());
                servers.get_or_insert_default().extend(all.map(str::to_owned));
            }
            "-V" | "--version" => only = Some(Verb::Title),
            "-h" | "--help" => only = Some(Verb::Help),
            _ => return Err(Error::usage(format!("unknown option `{flag}`")).into()),
        }
    }
    if let Some(only) = only {
        return Ok(Call { verb: only, ..call });
    }
    if positional.is_empty() {
        return Ok(call);
    }
    call.firewall = firewall.as_deref().map(of_driver).transpose()?;
    call.verb = verb(positional, servers)?;
    Ok(call)
}

/// Splits `--flag=value`; the flag is `None` for another word.
fn split(word: &OsStr) -> (Option<String>, Option<OsString>) {
    let bytes = word.as_bytes();
    if !bytes.starts_with(b"-") || bytes == b"-" {
        return (None, None);
    }
    let (flag, value) = match bytes.iter().position(|b| *b == b'=') {
        Some(at) => {
            let value = bytes.get(at + 1..).unwrap_or_default();
            (bytes.get(..at).unwrap_or_default(), Some(OsStr::from_bytes(value)))
        }
        None => (bytes, None),
    };
    (Some(String::from_utf8_lossy(flag).into_owned()), value.map(ToOwned::to_owned))
}

fn switch(flag: &str, value: &OsStr) -> Result<bool> {
    match value.to_str() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(Error::usage(format!("{flag} is `true` or `false`")).into()),
    }
}

fn text(word: OsString) -> Result<String> {
    word.into_string().map_err(|_| Error::usage("an argument is not UTF-8").into())
}

/// Returns the firewall of a driver of netavark's.
fn of_driver(name: &OsStr) -> Result<Firewall> {
    match name.to_str() {
        Some("nftables") => Ok(Firewall::Nftables),
        Some("iptables") => Ok(Firewall::Iptables),
        _ => {
            let message = format!("firewall driver `{}`: netcord has none", name.display());
            Err(Error::usage(message)
                .hint("`nftables` and `iptables` work, both also where firewalld runs")
                .into())
        }
    }
}

fn verb(positional: Vec<OsString>, servers: Option<Vec<String>>) -> Result<Verb> {
    let mut words = positional.into_iter();
    let verb = text(words.next().unwrap_or_default())?;
    let mut argument = |what: &str| {
        let word = words.next().filter(|word| !word.is_empty());
        word.ok_or_else(|| Error::usage(format!("`{verb}` needs {what}")))
    };
    let parsed = match verb.as_str() {
        "create" => Verb::Create,
        "setup" => Verb::Setup(argument("the path of a namespace")?.into()),
        "teardown" => Verb::Teardown(argument("the path of a namespace")?.into()),
        "update" => Verb::Update {
            network: text(argument("the name of a network")?)?,
            servers: servers
                .ok_or_else(|| Error::usage("`update` needs `--network-dns-servers`"))?,
        },
        "firewall-reload" => Verb::FirewallReload,
        "version" => Verb::Version,
        "firewalld-reload" => {
            return Err(Error::usage(
                "`firewalld-reload`: netcord follows no reloads of firewalld",
            )
            .hint(
                "its nftables rules outlive them; after one that lost rules, run `netcord repair`",
            )
            .into());
        }
        "dhcp-proxy" => {
            return Err(Error::usage("`dhcp-proxy`: netcord needs none")
                .hint("it leases and renews addresses itself: stop netavark-dhcp-proxy.socket")
                .into());
        }
        other => return Err(Error::usage(format!("unknown command `{other}`")).into()),
    };
    match words.next() {
        Some(word) => Err(Error::usage(format!("unexpected `{}`", word.display())).into()),
        None => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Call> {
        parse(line.split(' ').map(OsString::from))
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
        assert_eq!(call.verb, Verb::Setup("/run/netns/netns-1".into()));
        let update = parsed("update net1 --network-dns-servers 1.1.1.1,8.8.8.8").unwrap().verb;
        let servers = vec!["1.1.1.1".into(), "8.8.8.8".into()];
        assert_eq!(update, Verb::Update { network: "net1".into(), servers });
        assert_eq!(
            parsed("--firewall-driver iptables version").unwrap().firewall,
            Some(Firewall::Iptables)
        );
    }

    #[test]
    fn what_netcord_does_not_do_is_refused_by_name() {
        for (line, why) in [
            ("setup", "needs the path"),
            ("setup /a /b", "unexpected `/b`"),
            ("frob", "unknown command `frob`"),
            ("--frob setup /a", "unknown option `--frob`"),
            ("--rootless perhaps setup /a", "`true` or `false`"),
            ("--firewall-driver none setup /a", "firewall driver `none`"),
            ("firewalld-reload", "follows no reloads"),
            ("dhcp-proxy", "netcord needs none"),
            ("update net1", "--network-dns-servers"),
            ("--file", "needs a value"),
        ] {
            let error = parsed(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
