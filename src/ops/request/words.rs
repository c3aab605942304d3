//! The words of a netcord command.

use std::fmt::Display;

use crate::{
    model::{Flag, Network, Subnet},
    plan::quote,
};

/// A command of netcord's, word by word.
pub(in crate::ops) struct Words(Vec<String>);

impl Words {
    pub(in crate::ops) fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self(["netcord"].into_iter().chain(words).map(str::to_owned).collect())
    }

    pub(in crate::ops) fn flag<T: Display + ?Sized>(mut self, name: &str, value: &T) -> Self {
        self.0.extend([name.to_owned(), value.to_string()]);
        self
    }

    pub(in crate::ops) fn flags<T: Display>(
        self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        values.into_iter().fold(self, |words, value| words.flag(name, &value))
    }

    pub(in crate::ops) fn switch(mut self, name: &str, is_on: bool) -> Self {
        if is_on {
            self.0.push(name.to_owned());
        }
        self
    }

    /// Adds the flags of a network.
    pub(in crate::ops) fn flags_of(mut self, network: &Network) -> Self {
        self.0.extend(network.flags.iter().map(Flag::option));
        self.switch("--no-subnet", network.is_without_subnet())
            .switch("--no-gateway", network.is_without_gateway())
    }

    /// Adds the subnets of a network, and its MTU.
    pub(in crate::ops) fn subnets_of(self, network: &Network) -> Self {
        self.flags("--subnet", network.subnets.iter().map(|s| s.cidr)).flag("--mtu", &network.mtu)
    }

    /// Adds the options that every network of netcord can have.
    pub(in crate::ops) fn rest_of(self, network: &Network) -> Self {
        let of = |part: fn(&Subnet) -> Option<String>| network.subnets.iter().filter_map(part);
        let labels = network.labels.iter().map(|(key, value)| format!("{key}={value}"));
        self.flags("--gateway", of(|s| s.gateway.map(|g| g.to_string())))
            .flags("--ip-range", of(|s| s.ip_range.map(|r| r.to_string())))
            .flags("--outbound-addr", of(|s| s.outbound.map(|ip| ip.to_string())))
            .flags_of(network)
            .flags("--label", labels)
    }

    /// Returns it as a line for a shell.
    pub(in crate::ops) fn line(&self) -> String {
        self.0.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }
}
