//! The flags of a network, which are set at its creation, and are off by default.

use serde::{Deserialize, Serialize};

/// A flag of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// Endpoints reach nothing outside of the network.
    Internal,
    /// Endpoints do not reach each other.
    Isolate,
    /// Packets that leave the network keep their source address.
    NoMasquerade,
    /// Endpoints can send only from their own MAC and IP addresses.
    NoSpoof,
    /// Endpoints and those of other open networks reach each other.
    Open,
}

impl Flag {
    /// All flags, in the order of output.
    pub const ALL: [Self; 5] =
        [Self::Internal, Self::Isolate, Self::NoMasquerade, Self::NoSpoof, Self::Open];

    /// Returns the word in the alias of the bridge, and after `--` on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Isolate => "isolate",
            Self::NoMasquerade => "no-masquerade",
            Self::NoSpoof => "no-spoof",
            Self::Open => "open",
        }
    }

    /// Returns the option as it is typed: `--WORD`.
    pub fn option(self) -> String {
        format!("--{}", self.word())
    }
}

/// The flags that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Flag>", into = "Vec<Flag>")]
pub struct Flags(u8);

impl From<Vec<Flag>> for Flags {
    fn from(flags: Vec<Flag>) -> Self {
        Self::of(|flag| flags.contains(&flag))
    }
}

impl From<Flags> for Vec<Flag> {
    fn from(flags: Flags) -> Self {
        flags.iter().collect()
    }
}

impl Flags {
    /// Returns the flags for which this is true.
    pub fn of(is_set: impl Fn(Flag) -> bool) -> Self {
        let bits = Flag::ALL.into_iter().filter(|flag| is_set(*flag)).map(bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }

    /// Returns whether a flag is set.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & bit(flag) != 0
    }

    /// Returns the flags that are set.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |flag| self.has(*flag))
    }
}

const fn bit(flag: Flag) -> u8 {
    1 << flag as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_set_are_told_in_order() {
        let flags = Flags::of(|flag| matches!(flag, Flag::NoSpoof | Flag::Internal));
        assert!(flags.has(Flag::NoSpoof) && !flags.has(Flag::Isolate));
        assert_eq!(flags.iter().map(Flag::word).collect::<Vec<_>>(), ["internal", "no-spoof"]);
        assert_eq!(Flags::default().iter().count(), 0);
        assert_eq!(Flag::NoSpoof.option(), "--no-spoof");
        let json = serde_json::to_string(&flags).unwrap();
        assert_eq!(json, r#"["internal","no-spoof"]"#);
        assert_eq!(serde_json::from_str::<Flags>(&json).unwrap(), flags);
    }
}
