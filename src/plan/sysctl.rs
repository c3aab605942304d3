//! Names of values below `/proc/sys`.

use std::{
    borrow::Cow,
    fmt::{self, Display, Formatter},
};

use crate::model::{Family, LinkName};

/// A value below `/proc/sys/net`, in the syntax of `sysctl` with slashes, as a link's name may
/// contain dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlKey {
    /// A sysctl of a whole namespace.
    Namespace(&'static str),
    /// A sysctl of one link, which exists as long as the link: `net/ipv4/conf/LINK/OPTION`.
    Link {
        /// The IP version.
        family: Family,
        /// The link.
        link: LinkName,
        /// The last part of the path.
        option: Cow<'static, str>,
    },
}

impl SysctlKey {
    /// The sysctl for forwarding between all links of a namespace.
    pub const fn forwarding(family: Family) -> Self {
        Self::Namespace(match family {
            Family::V4 => "net/ipv4/ip_forward",
            Family::V6 => "net/ipv6/conf/all/forwarding",
        })
    }

    /// Returns an option of a link.
    pub fn of_link(family: Family, link: &LinkName, option: impl Into<Cow<'static, str>>) -> Self {
        Self::Link { family, link: link.clone(), option: option.into() }
    }
}

impl Display for SysctlKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(path) => f.write_str(path),
            Self::Link { family, link, option } => {
                write!(f, "net/{}/conf/{link}/{option}", family.sysctl_name())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_path_below_proc_sys() {
        let link = "eth0.7".parse().unwrap();
        let key = SysctlKey::of_link(Family::V6, &link, "accept_ra");
        assert_eq!(key.to_string(), "net/ipv6/conf/eth0.7/accept_ra");
        assert_eq!(SysctlKey::forwarding(Family::V4).to_string(), "net/ipv4/ip_forward");
    }
}
