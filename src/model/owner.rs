//! The engines that call netcord as a plugin, and own the endpoints that they asked for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Invalid;

/// The interface through which an engine calls netcord.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// A CNI plugin: containerd, CRI-O, podman.
    Cni,
    /// docker's remote network driver.
    Docker,
    /// A plugin of podman's netavark.
    Podman,
}

impl Interface {
    /// All interfaces.
    pub const ALL: [Self; 3] = [Self::Cni, Self::Docker, Self::Podman];

    /// Returns its word, in records and in aliases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cni => "cni",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// As users read it.
impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cni => "a CNI runtime",
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

/// The engine that asked for an endpoint, and takes it away again: netcord's own verbs leave it alone.
///
/// `INTERFACE/NETWORK/ID`, as the alias of a link has it, is enough to find the endpoint when the
/// engine asks for its removal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The interface through which it asked.
    pub interface: Interface,
    /// The network, as the engine identifies it: the name of a CNI configuration, docker's ID of a
    /// network, podman's name of one. Without slashes and white space.
    pub network: String,
    /// The attachment, as the engine identifies it: CNI's container ID, docker's ID of an endpoint,
    /// podman's ID of a container. Without slashes and white space.
    pub id: String,
    /// The engine's name of the container or pod, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Owner {
    /// Returns whether both mean the same attachment, whatever its name.
    pub fn is(&self, other: &Self) -> bool {
        self.interface == other.interface && self.network == other.network && self.id == other.id
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.interface.as_str(), self.network, self.id)
    }
}

impl FromStr for Owner {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(format!("`{text}` is no INTERFACE/NETWORK/ID"));
        let mut parts = text.split('/');
        let (Some(word), Some(network), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        let interface = Interface::ALL.into_iter().find(|interface| interface.as_str() == word);
        match interface {
            Some(interface) if !network.is_empty() && !id.is_empty() => {
                Ok(Self { interface, network: network.into(), id: id.into(), name: None })
            }
            Some(_) | None => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_is_written() {
        for text in ["cni/pods/0123abcd", "docker/9e1f/77aa", "podman/net1/web"] {
            assert_eq!(text.parse::<Owner>().unwrap().to_string(), text);
        }
        for wrong in ["", "cni", "cni/pods", "cni//x", "cni/pods/", "cni/pods/x/y", "crio/pods/x"] {
            assert!(wrong.parse::<Owner>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_name_of_a_container_does_not_matter() {
        let web: Owner = "cni/pods/0123".parse().unwrap();
        assert!(web.is(&Owner { name: Some("web".into()), ..web.clone() }));
        assert!(!web.is(&"cni/pods/0124".parse().unwrap()));
    }
}
