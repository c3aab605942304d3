//! The environment variables that a runtime sets (CNI 1.1.0, "Parameters").

use std::{env, ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use super::failure::{Code, Failure};
use crate::{
    model::{Address, Interface, LinkName, Mac, NetnsName},
    ops::owned,
};

/// The variable that makes a call one of a CNI runtime.
pub(super) const COMMAND: &str = "CNI_COMMAND";

/// An operation of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Operation {
    const ALL: [(&str, Self); 6] = [
        ("ADD", Self::Add),
        ("DEL", Self::Del),
        ("CHECK", Self::Check),
        ("GC", Self::Gc),
        ("STATUS", Self::Status),
        ("VERSION", Self::Version),
    ];

    /// Reads it.
    pub(super) fn read() -> Result<Self, Failure> {
        let word = variable(COMMAND)?.unwrap_or_default();
        let known = Self::ALL.into_iter().find(|(known, _)| *known == word);
        known.map(|(_, operation)| operation).ok_or_else(|| {
            Failure::new(Code::Environment, format!("{COMMAND}: no operation `{word}`"))
        })
    }

    /// Returns its word.
    pub(super) fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, one)| *one == self).map_or("", |(word, _)| word)
    }
}

/// One attachment of a container.
#[derive(Clone, Debug)]
pub(super) struct Attachment {
    /// The runtime's ID of the container.
    pub(super) container: String,
    /// The name of the link inside.
    pub(super) ifname: LinkName,
    /// The file of the namespace. DEL comes without it when the namespace is gone.
    pub(super) netns: Option<PathBuf>,
    /// The extra arguments.
    pub(super) arguments: Arguments,
}

impl Attachment {
    /// Reads it.
    pub(super) fn read(operation: Operation) -> Result<Self, Failure> {
        Self::of(operation, &|name| env::var_os(name))
    }

    fn of(
        operation: Operation,
        value_of: &dyn Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        let variable = |name| text(name, value_of(name));
        let required = |name| {
            variable(name)?.filter(|value: &String| !value.is_empty()).ok_or_else(|| missing(name))
        };
        let container = required("CNI_CONTAINERID")?;
        if !is_identifier(&container) {
            return Err(invalid("CNI_CONTAINERID", &container));
        }
        let ifname = required("CNI_IFNAME")?;
        let ifname = ifname.parse().map_err(|_| invalid("CNI_IFNAME", &ifname))?;
        let netns = variable("CNI_NETNS")?.filter(|path| !path.is_empty()).map(PathBuf::from);
        if netns.is_none() && operation != Operation::Del {
            return Err(missing("CNI_NETNS"));
        }
        let arguments = Arguments::parse(&variable("CNI_ARGS")?.unwrap_or_default())?;
        Ok(Self { container, ifname, netns, arguments })
    }

    /// Returns the name for the namespace in `/run/netns`, if it has none there.
    pub(super) fn netns_name(&self) -> Option<NetnsName> {
        owned::netns_name(Interface::Cni, self.netns.as_deref(), &self.container)
    }
}

/// `CNI_ARGS`: `KEY=VALUE` pairs, separated by semicolons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// An address that was asked for.
    pub(super) ip: Option<Address>,
    /// A MAC that was asked for.
    pub(super) mac: Option<Mac>,
    namespace: Option<String>,
    pod: Option<String>,
}

impl Arguments {
    fn parse(text: &str) -> Result<Self, Failure> {
        let pairs = text.split(';').filter(|pair| !pair.is_empty());
        let pairs = pairs
            .map(|pair| pair.split_once('=').ok_or_else(|| invalid("CNI_ARGS", pair)))
            .collect::<Result<Vec<_>, _>>()?;
        let ignores_unknown =
            pairs.iter().any(|(k, v)| *k == "IgnoreUnknown" && matches!(*v, "1" | "true"));
        let mut arguments = Self::default();
        for (key, value) in pairs {
            let wrong = || invalid("CNI_ARGS", &format!("{key}={value}"));
            match key {
                "IP" => arguments.ip = Some(value.parse().map_err(|_| wrong())?),
                "MAC" => arguments.mac = Some(value.parse().map_err(|_| wrong())?),
                "K8S_POD_NAMESPACE" => arguments.namespace = Some(value.to_owned()),
                "K8S_POD_NAME" => arguments.pod = Some(value.to_owned()),
                "IgnoreUnknown" => {}
                _ if key.starts_with("K8S_") || ignores_unknown => {}
                _ => return Err(invalid("CNI_ARGS", key)),
            }
        }
        Ok(arguments)
    }

    /// Returns the runtime's name of the container: `NAMESPACE.POD` of Kubernetes, podman's name of a
    /// container. It names a target, so it is one that can be typed.
    pub(super) fn name(&self) -> Option<String> {
        let pod = self.pod.as_deref()?;
        let name = match &self.namespace {
            Some(namespace) => format!("{namespace}.{pod}"),
            None => pod.to_owned(),
        };
        is_identifier(&name).then_some(name)
    }
}

/// Returns the folders with plugins.
pub(super) fn plugin_folders() -> Result<Vec<PathBuf>, Failure> {
    let path = variable("CNI_PATH")?.unwrap_or_default();
    Ok(env::split_paths(&path).filter(|folder| folder.is_absolute()).collect())
}

/// Returns whether the specification allows it as the ID of a container or the name of a network.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn variable(name: &'static str) -> Result<Option<String>, Failure> {
    text(name, env::var_os(name))
}

fn text(name: &'static str, value: Option<OsString>) -> Result<Option<String>, Failure> {
    let text = |value: OsString| {
        String::from_utf8(value.into_vec()).map_err(|_| invalid(name, "a value that is not UTF-8"))
    };
    value.map(text).transpose()
}

fn missing(name: &str) -> Failure {
    Failure::new(Code::Environment, format!("{name} is not set"))
}

fn invalid(name: &str, value: &str) -> Failure {
    Failure::new(Code::Environment, format!("{name}: `{value}` is not valid"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::hostile;

    #[test]
    fn the_arguments_of_real_clients_are_read() {
        for (text, name, ip, mac) in [
            ("", None, None, None),
            ("IgnoreUnknown=1;K8S_POD_NAME=web", Some("web"), None, None),
            (
                "IgnoreUnknown=1;K8S_POD_NAME=web;MAC=02:00:00:00:00:09;IP=10.88.0.9",
                Some("web"),
                Some("10.88.0.9"),
                Some("02:00:00:00:00:09"),
            ),
            (
                "K8S_POD_UID=1-2;K8S_POD_NAME=coredns-7;K8S_POD_INFRA_CONTAINER_ID=0f;IgnoreUnknown=1;\
                 K8S_POD_NAMESPACE=kube-system",
                Some("kube-system.coredns-7"),
                None,
                None,
            ),
            ("IgnoreUnknown=1;FOO=bar;K8S_POD_NAME=a/b", None, None, None),
        ] {
            let arguments = Arguments::parse(text).unwrap();
            assert_eq!(arguments.name().as_deref(), name, "{text}");
            assert_eq!(arguments.ip, ip.map(|ip: &str| ip.parse().unwrap()), "{text}");
            assert_eq!(arguments.mac, mac.map(|mac: &str| mac.parse().unwrap()), "{text}");
        }
        for wrong in ["FOO=bar", "IP", "IP=web", "IgnoreUnknown=1;MAC=1"] {
            assert!(Arguments::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_namespace_outside_of_run_netns_gets_a_name_there() {
        let name = |container: &str, netns: &str| {
            let attachment = Attachment {
                container: container.to_owned(),
                ifname: "eth0".parse().unwrap(),
                netns: Some(netns.into()),
                arguments: Arguments::default(),
            };
            attachment.netns_name().map(|name| name.to_string())
        };
        assert_eq!(name("0f", "/var/run/netns/cni-1"), None);
        assert_eq!(name("0f", "/run/netns/cni-1"), None);
        assert_eq!(name("default-t1", "/proc/7/ns/net").as_deref(), Some("default-t1"));
        let long = name(&"f".repeat(64), "/proc/7/ns/net").unwrap();
        assert!(long.starts_with("cni-") && long.len() == 20, "{long}");
        assert!(!is_identifier("") && !is_identifier("-a") && !is_identifier("a/b"));
    }

    /// The value of a variable: one that a runtime sets, one that looks like it, or any bytes.
    fn value() -> impl Strategy<Value = Option<OsString>> {
        let real = [
            "",
            "0f",
            "eth0",
            "/var/run/netns/cni-1",
            "IgnoreUnknown=1;K8S_POD_NAME=web",
            "IP=10.88.0.9;MAC=02:00:00:00:00:09",
        ];
        prop_oneof![
            Just(None),
            prop::sample::select(real.to_vec()).prop_map(|text| Some(text.into())),
            "([A-Za-z0-9_]{0,14}=?[0-9a-f:./-]{0,12};?){0,4}".prop_map(|text| Some(text.into())),
            ".{0,40}".prop_map(|text| Some(text.into())),
            hostile::bytes().prop_map(|bytes| Some(OsString::from_vec(bytes))),
        ]
    }

    proptest! {
        #![proptest_config(hostile::cases())]

        #[test]
        fn a_hostile_environment_is_read_or_refused(
            values in proptest::collection::vec(value(), 4),
            is_add in any::<bool>(),
        ) {
            let names = ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"];
            let value_of = |name: &'static str| {
                values[names.iter().position(|known| *known == name).unwrap()].clone()
            };
            let operation = if is_add { Operation::Add } else { Operation::Del };
            if let Ok(attachment) = Attachment::of(operation, &value_of) {
                // What becomes of it is a name that can be typed, or none.
                prop_assert!(is_identifier(&attachment.container));
                prop_assert!(attachment.arguments.name().is_none_or(|name| is_identifier(&name)));
                drop(attachment.netns_name());
            }
        }
    }
}
