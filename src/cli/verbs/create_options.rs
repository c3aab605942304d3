//! `create -o KEY=VALUE`: the options of docker's and podman's drivers, as flags of netcord.

use clap::ValueEnum;

use super::create::Args;
use crate::{error::Error, model::MacvlanMode};

const PREFIX: &str = "com.docker.network.";

impl Args {
    /// Sets the flags that the options are equal to.
    ///
    /// # Errors
    /// If an option has no equal flag: it would be missed.
    pub(super) fn take_options(&mut self) -> Result<(), Error> {
        for (key, value) in std::mem::take(&mut self.opt) {
            self.take(key.strip_prefix(PREFIX).unwrap_or(&key), &value).map_err(
                |(why, hint)| Error::usage(format!("option `{key}={value}`: {why}")).hint(hint),
            )?;
        }
        Ok(())
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), (String, String)> {
        let refuse = |why: &str, hint: &str| Err((why.to_owned(), hint.to_owned()));
        match key {
            "bridge.name" if value == self.bridge.name.as_str() => {}
            "bridge.name" => {
                return Err((
                    "a bridge has its network's name".to_owned(),
                    format!("name the network so: `netcord create {value}`"),
                ));
            }
            "driver.mtu" | "mtu" => match value.parse() {
                Ok(mtu @ 68..=65535) => self.bridge.mtu = Some(mtu),
                _ => return refuse("not an MTU", "it is from 68 to 65535 bytes"),
            },
            "bridge.enable_icc" => self.bridge.isolate |= !switch(value)?,
            "isolate" => self.bridge.isolate |= value == "strict" || switch(value)?,
            "bridge.enable_ip_masquerade" => self.bridge.no_masquerade |= !switch(value)?,
            "enable_ipv6" => self.bridge.ipv6 |= switch(value)?,
            "enable_ipv4" if switch(value)? => {}
            "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" if value == "nat" => {}
            "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" => {
                return refuse(
                    "netcord has no such mode",
                    "`--no-masquerade` leaves addresses as they are, `--internal` lets nothing out",
                );
            }
            "bridge.host_binding_ipv4" | "host_ipv4" if value == "0.0.0.0" => {}
            "bridge.host_binding_ipv4" | "host_ipv4" => {
                return Err((
                    "a network has no address for its published ports".to_owned(),
                    format!("give it with each port: `netcord publish TARGET {value}:8080:80`"),
                ));
            }
            "container_iface_prefix" | "container_interface_name" => {
                return refuse(
                    "a network does not name its endpoints' links",
                    "give the name when you attach: `netcord attach --ifname NAME`",
                );
            }
            "parent" => match value.parse() {
                Ok(parent) => self.physical.parent = Some(parent),
                Err(_) => return refuse("not the name of a link", "`ip link` lists the links"),
            },
            "macvlan_mode" | "mode" => match MacvlanMode::from_str(value, false) {
                Ok(mode) => self.physical.mode = Some(mode),
                Err(_) => {
                    return refuse("no such mode", "it is bridge, private, vepa or passthru");
                }
            },
            _ => {
                return refuse(
                    "netcord does not know it",
                    "`netcord create --help` lists the flags; of docker's options it takes bridge.name, \
                     driver.mtu, bridge.enable_icc, bridge.enable_ip_masquerade, enable_ipv6, parent and \
                     macvlan_mode",
                );
            }
        }
        Ok(())
    }
}

/// Parses a switch as Go does.
fn switch(value: &str) -> Result<bool, (String, String)> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(("not a switch".to_owned(), "it is true or false".to_owned())),
    }
}
