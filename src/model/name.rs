//! Names that are valid for the kernel, for file systems, for shells and for `ip`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Invalid, stable_hash, visible};

/// A link's name: 1 to 15 bytes (the kernel's IFNAMSIZ minus its NUL), letters, digits, `_.-`,
/// beginning with a letter, a digit or `_`.
///
/// The kernel also accepts names such as `-x`, control characters and `x%d`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

/// A name in `/run/netns`: 1 to 63 bytes, letters, digits, `_.-`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetnsName(String);

/// The maximum length of a link's name in bytes.
pub(super) const LINK_NAME_MAX: usize = 15;
const NETNS_NAME_MAX: usize = 63;

impl FromStr for LinkName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        check("a link name", text, LINK_NAME_MAX)?;
        if matches!(text, "all" | "default" | "lo") {
            return Err(Invalid::new(format!(
                "`{text}` is a name that the kernel keeps for itself"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for NetnsName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        check("a namespace name", text, NETNS_NAME_MAX)?;
        Ok(Self(text.to_owned()))
    }
}

impl LinkName {
    /// Returns the name of the loopback link.
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }

    /// Returns the names of the two ends of the carrier veth for a bridge of this name.
    pub fn carrier_names(&self) -> [Self; 2] {
        let hash = stable_hash(&[self.0.as_bytes()]) & 0xff_ffff_ffff;
        ["nck", "ncl"].map(|prefix| Self::derived(format!("{prefix}{hash:010x}")))
    }

    /// Returns the name of the VXLAN link of a network of this name: `vx-` and the name, or a hash
    /// of a name that is too long for that.
    #[must_use]
    pub fn tunnel_name(&self) -> Self {
        self.behind("vx-")
    }

    /// Returns the name of a network's second VXLAN link, in the same way with `v6-`.
    #[must_use]
    pub fn second_tunnel_name(&self) -> Self {
        self.behind("v6-")
    }

    /// Returns the name of a network's TUN link, in the same way with `tu-`.
    #[must_use]
    pub fn tun_name(&self) -> Self {
        self.behind("tu-")
    }

    /// Returns flannel's name of its TUN link.
    #[must_use]
    pub fn tun_of_flannel() -> Self {
        Self::derived("flannel0".to_owned())
    }

    /// Returns flannel's name of the VXLAN link with this identifier.
    #[must_use]
    pub fn of_flannel(vni: u32) -> Self {
        Self::derived(format!("flannel.{vni}"))
    }

    /// Returns flannel's name of its second VXLAN link, for IPv6; a long identifier does not fit.
    #[must_use]
    pub fn second_of_flannel(vni: u32) -> Option<Self> {
        format!("flannel-v6.{vni}").parse().ok()
    }

    fn behind(&self, prefix: &str) -> Self {
        match format!("{prefix}{}", self.0) {
            name if name.len() <= LINK_NAME_MAX => Self::derived(name),
            _ => {
                let hash = stable_hash(&[self.0.as_bytes()]) & 0xffff_ffff_ffff;
                Self::derived(format!("{prefix}{hash:012x}"))
            }
        }
    }

    /// Returns a name that netcord derived, and that is valid by construction.
    pub(crate) fn derived(name: String) -> Self {
        debug_assert!(name.parse::<Self>().is_ok(), "{name}");
        Self(name)
    }
}

fn check(what: &str, text: &str, max: usize) -> Result<(), Invalid> {
    let bad = |why: &str| Err(Invalid::new(format!("{} cannot be {what}: {why}", quoted(text))));
    match text.as_bytes() {
        [] => return bad("it is empty"),
        [first, ..] if !first.is_ascii_alphanumeric() && *first != b'_' => {
            return bad("it must begin with a letter or a digit");
        }
        _ => {}
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_.-".contains(*c)) {
        return bad(&format!("{} is not a letter, a digit or one of _.-", quoted(&c.to_string())));
    }
    if text.len() > max {
        return Err(Invalid::new(format!(
            "`{text}` cannot be {what}: it has {} bytes, and at most {max} are allowed",
            text.len()
        ))
        .hint(format!("for example `{}`", &text[..max])));
    }
    Ok(())
}

/// Returns input in backticks, with control characters made visible, cut to the length of a line.
fn quoted(text: &str) -> String {
    let mut shown: String = visible(&text.chars().take(60).collect::<String>()).into_owned();
    if text.chars().count() > 60 {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

macro_rules! string_like {
    ($name:ident) => {
        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

string_like!(LinkName);
string_like!(NetnsName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_tunnel_fits_a_link_and_tells_its_network() {
        let tunnel = |name: &str| name.parse::<LinkName>().unwrap().tunnel_name().to_string();
        assert_eq!(tunnel("pods"), "vx-pods");
        assert_eq!(tunnel("123456789012"), "vx-123456789012");
        let [one, other] = ["1234567890123", "1234567890124"].map(tunnel);
        assert!(one.len() == 15 && other.len() == 15 && one != other, "{one} {other}");
    }

    #[test]
    fn link_names_are_what_the_kernel_and_a_shell_both_take() {
        for good in ["a", "lab0", "eth0.100", "br-1_x", "123456789012345", "_x"] {
            assert_eq!(good.parse::<LinkName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-x",
            ".",
            "..",
            "a/b",
            "a b",
            "a\tb",
            "a:b",
            "x%d",
            "é",
            "all",
            "default",
            "lo",
            "1234567890123456",
            "a\u{1}b",
            "a\nb",
        ] {
            assert!(bad.parse::<LinkName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_long_name_is_told_its_length_and_the_limit() {
        let error = "1234567890123456".parse::<LinkName>().unwrap_err();
        assert_eq!(
            error.message,
            "`1234567890123456` cannot be a link name: it has 16 bytes, and at most 15 are allowed"
        );
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let error = "a\u{1b}[31m".parse::<NetnsName>().unwrap_err();
        assert!(!error.message.contains('\u{1b}'), "{error}");
    }
}
