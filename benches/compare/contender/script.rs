//! The manual steps, as shell scripts of one program each.

use std::process::Command;

use anyhow::Result;

use super::{Contender, Operation, PORT, Publisher, TARGET_PORT, Work};
use crate::{
    host::{self, GATEWAY, Host, NETWORK, PREFIX, Target},
    process::{run, run_with},
};

/// The steps by hand.
pub(crate) struct Script(Host);

impl Script {
    /// Prepares its host, with docker's chains for ports.
    pub(crate) fn new() -> Result<Self> {
        let host = Host::fresh()?;
        host.within(|| {
            host::new_links_have_no_ipv6()?;
            host::add_bridge()?;
            run(&mut script(include_str!("script/prepare.sh"), &[NETWORK])).map(drop)
        })?;
        Ok(Self(host))
    }
}

impl Contender for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn host(&self) -> &Host {
        &self.0
    }

    fn work(&self, operation: Operation) -> Work {
        Work::Is(match operation {
            Operation::Attach => {
                "the manual steps as one `sh` script, one program each: a name in `/run/netns`, a \
                 veth, its bridge port, the move into the namespace, name, up, address and default \
                 route; the address is given, IPv6 is off beforehand; no checks, no record, no way \
                 back."
            }
            Operation::Detach => "`ip link del` of the host end, and `rm` of the name.",
            Operation::AttachPublish => {
                "the same and three `iptables -A`: the rules that docker has for a published port."
            }
            Operation::DetachPublished => "three `iptables -D` and the same as detach.",
        })
    }

    fn perform(&self, operation: Operation, target: &Target) -> Result<()> {
        match operation {
            Operation::Attach => {
                let address = format!("{}/{PREFIX}", target.address);
                let gateway = GATEWAY.to_string();
                run(&mut script(
                    include_str!("script/attach.sh"),
                    &[NETWORK, &target.name, &address, &gateway],
                ))
                .map(drop)
            }
            Operation::Detach => {
                run(&mut script(include_str!("script/detach.sh"), &[&target.name])).map(drop)
            }
            Operation::AttachPublish => {
                self.perform(Operation::Attach, target)?;
                self.publish(target, PORT)
            }
            Operation::DetachPublished => {
                self.unpublish(target, PORT)?;
                self.perform(Operation::Detach, target)
            }
        }
    }

    fn starts_with_ipv6(&self) -> bool {
        false
    }

    fn ends_without_ipv6(&self) -> bool {
        true
    }
}

impl Publisher for Script {
    fn publisher(&self) -> &'static str {
        "script, docker's rules"
    }

    fn publish_is(&self) -> &'static str {
        "three `iptables -A` by hand, without a check: the rules that docker 20.10 has for a port \
         (nat `DOCKER`, filter `DOCKER`, nat `POSTROUTING`), after as many of each for the others, \
         put there by one `iptables-restore`."
    }

    fn publish(&self, target: &Target, port: u16) -> Result<()> {
        iptables("-A", target, port)
    }

    fn unpublish(&self, target: &Target, port: u16) -> Result<()> {
        iptables("-D", target, port)
    }

    fn fill(&self, target: &Target, ports: &[u16]) -> Result<()> {
        let rules = |rule: fn(&str, u16) -> String| -> String {
            let address = target.address.to_string();
            ports.iter().map(|port| rule(&address, *port)).collect()
        };
        let nat = rules(|to, port| {
            format!(
                "-A DOCKER ! -i {NETWORK} -p tcp --dport {port} -j DNAT --to {to}:{port}\n\
                 -A POSTROUTING -s {to} -d {to} -p tcp --dport {port} -j MASQUERADE\n"
            )
        });
        let filter = rules(|to, port| {
            format!(
                "-A DOCKER -d {to} ! -i {NETWORK} -o {NETWORK} -p tcp --dport {port} -j ACCEPT\n"
            )
        });
        let all = format!("*nat\n{nat}COMMIT\n*filter\n{filter}COMMIT\n");
        run_with(Command::new("iptables-restore").arg("--noflush"), &all).map(drop)
    }
}

fn iptables(verb: &str, target: &Target, port: u16) -> Result<()> {
    let (address, port) = (target.address.to_string(), port.to_string());
    run(&mut script(
        include_str!("script/port.sh"),
        &[verb, NETWORK, &address, &port, &TARGET_PORT.to_string()],
    ))
    .map(drop)
}

fn script(text: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", text, "sh"]).args(arguments);
    command
}
