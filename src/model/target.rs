//! Targets: things with a network namespace, as the user names them.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Invalid, NetnsName, visible};

/// A container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// dockerd, or another program with its API at its socket.
    Docker,
    /// podman's API service.
    Podman,
}

/// A target as typed. A verb finds its namespace when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// `1310`, `pid:1310`
    Pid(u32),
    /// `web`: a name in `/run/netns`, else a container of a running engine.
    Name(String),
    /// `netns:web`: a name in `/run/netns`.
    Netns(NetnsName),
    /// `docker:web`, `podman:web`
    Container(Engine, String),
    /// `/proc/1310/ns/net`, `path:FILE`
    Path(PathBuf),
    /// `host`
    Host,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

impl FromStr for Target {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "host" {
            return Ok(Self::Host);
        }
        if text.starts_with('/') {
            return path(text);
        }
        match text.split_once(':') {
            Some(("pid", pid)) => return self::pid(pid),
            Some(("netns", name)) => return Ok(Self::Netns(name.parse()?)),
            Some(("docker", name)) => return Ok(Self::Container(Engine::Docker, container(name)?)),
            Some(("podman", name)) => return Ok(Self::Container(Engine::Podman, container(name)?)),
            Some(("path", file)) => return path(file),
            _ => {}
        }
        if is_number(text) && !is_container_id(text) {
            return pid(text).map_err(|e| {
                e.hint(format!("if it is the beginning of a container's ID: docker:{text}"))
            });
        }
        Ok(Self::Name(container(text)?))
    }
}

fn pid(text: &str) -> Result<Target, Invalid> {
    match text.parse::<u32>() {
        // The kernel's maximum of `kernel.pid_max`.
        Ok(pid @ 1..=4_194_304) if !text.starts_with('+') => Ok(Target::Pid(pid)),
        _ => Err(Invalid::new(format!("`{text}` is not a process id"))),
    }
}

fn path(text: &str) -> Result<Target, Invalid> {
    if text.is_empty() {
        return Err(Invalid::new("a namespace file needs a path"));
    }
    if text.contains(char::is_control) {
        return Err(Invalid::new(format!(
            "`{}` has a control character in it, and no script could repeat it",
            visible(text)
        )));
    }
    Ok(Target::Path(PathBuf::from(text)))
}

/// Docker's rule for names; IDs satisfy it too.
fn container(text: &str) -> Result<String, Invalid> {
    text.parse::<NetnsName>()
        .map(String::from)
        .map_err(|e| Invalid {
            message: e.message.replace("a namespace name", "a target"),
            hint: e.hint,
        })
        .or_else(|e| if is_container_id(text) { Ok(text.to_owned()) } else { Err(e) })
}

/// A container ID as `docker ps` and `docker run` print it. It may consist of decimal digits, but no
/// PID is as long. The full one has one character more than a namespace name may have.
fn is_container_id(text: &str) -> bool {
    matches!(text.len(), 12 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "{pid}"),
            Self::Name(name) => f.write_str(name),
            Self::Netns(name) => write!(f, "netns:{name}"),
            Self::Container(engine, name) => write!(f, "{engine}:{name}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Host => f.write_str("host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grammar() {
        for (text, target) in [
            ("1310", Target::Pid(1310)),
            ("pid:1310", Target::Pid(1310)),
            ("web", Target::Name("web".into())),
            ("netns:web", Target::Netns("web".parse().unwrap())),
            ("docker:web", Target::Container(Engine::Docker, "web".into())),
            ("podman:1310", Target::Container(Engine::Podman, "1310".into())),
            ("/proc/1310/ns/net", Target::Path("/proc/1310/ns/net".into())),
            ("path:ns", Target::Path("ns".into())),
            ("host", Target::Host),
            ("123456789012", Target::Name("123456789012".into())),
        ] {
            assert_eq!(text.parse::<Target>().unwrap(), target, "{text}");
        }
    }

    #[test]
    fn refuses_what_cannot_name_anything() {
        for bad in [
            "",
            "-web",
            "..",
            ".",
            "a b",
            "a/b",
            "é",
            "0",
            "pid:0",
            "pid:-1",
            "pid:+1",
            "pid:x",
            "4194305",
            "99999999999",
            "1234567890123",
            "docker:",
            "netns:../x",
            "path:",
            "crio:web",
            "a\u{7}",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(200).parse::<Target>().is_err());
        assert!("a".repeat(64).parse::<Target>().is_ok(), "a full container ID");
    }
}
