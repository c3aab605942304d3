//! Faults while a host joins a network that is in a store, and while it leaves: what is in the store is
//! mended, too.

use crate::{
    support::{Lab, Stage},
    traced::{Call, changing_calls, killed_at},
    watched::States,
};

const STORE: &str = "http://192.0.2.1:2379";

/// The first host has decided; there is one subnet left.
const KEYS: [(&str, &str); 2] = [
    (
        "/netcord/pods/config",
        r#"{"Network":"10.5.0.0/16","SubnetMax":"10.5.1.0","Backend":{"Type":"vxlan"}}"#,
    ),
    (
        "/netcord/pods/subnets/10.5.2.0-24",
        r#"{"PublicIP":"192.0.2.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"82:65:fc:26:2c:f1"}}"#,
    ),
];

/// The names of the keys of this host.
const OWN: &str = "/netcord/pods/subnets/10.5.1.0-24 /netcord/pods/x-netcord/nodes/192.0.2.1";

fn etcdctl(words: &str) -> String {
    format!("ETCDCTL_API=3 etcdctl --endpoints={STORE} --command-timeout=3s {words}")
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.neighbour("outside");
    drop(lab.start(&format!(
        "exec etcd --data-dir /run/etcd --log-level error --listen-client-urls {STORE} \
         --advertise-client-urls {STORE} --listen-peer-urls http://127.0.0.1:2380"
    )));
    lab.until(&etcdctl("endpoint health"));
    for (key, value) in KEYS {
        lab.sh(&etcdctl(&format!("put {key} '{value}'"))).ok();
    }
    lab
}

/// Waits until the store has the keys of the network, and of this host if it is in it. The agent gives
/// back what nobody uses once it has noticed that.
fn until_keys(lab: &Lab, is_joined: bool) {
    let there = KEYS.map(|(key, _)| key).join(" ");
    let own = if is_joined { OWN } else { "" };
    lab.until(&format!(
        "[ \"$({} | sort | xargs)\" = \"$(echo {there} {own} | xargs -n1 | sort | xargs)\" ]",
        etcdctl("get --prefix --keys-only /netcord")
    ));
}

/// SIGKILL before each call that changes something, of netcord: the next command mends.
fn killed(command: &str, inverse: &str, is_joined_before: bool) {
    let lab = lab();
    let stage = Stage { lab, command: command.into(), inverse: inverse.into() };
    if is_joined_before {
        stage.run_inverse().ok();
    }
    let states = States::of(&stage);
    for call in points(&changing_calls(&stage)) {
        killed_at(&stage, &states, std::slice::from_ref(&call));
        until_keys(&stage.lab, is_joined_before);
    }
}

/// The calls about records and the agent, and the first and the last message to the kernel: what is done
/// there in between is the plan of any overlay network.
fn points(calls: &[Call]) -> Vec<Call> {
    let is_message = |call: &&Call| call.0.starts_with("send");
    let messages: Vec<_> = calls.iter().filter(is_message).collect();
    let ends = [messages.first(), messages.last()];
    let is_point = |call: &&Call| !is_message(call) || ends.contains(&Some(call));
    calls.iter().filter(is_point).cloned().collect()
}

const JOIN: &str = "overlay pods --store http://192.0.2.1:2379";
const LEAVE: &str = "rm pods";

pub(crate) fn killed_while_joining() {
    killed(JOIN, LEAVE, false);
}

pub(crate) fn killed_while_leaving() {
    killed(LEAVE, JOIN, true);
}
