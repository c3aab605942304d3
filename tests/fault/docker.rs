//! Faults while docker calls: it calls again, or calls for the removal, and all is as it should be.

use crate::{
    support::{Lab, Stage},
    traced::{self, Call},
    watched::States,
};

/// A call, after those that docker makes before it, and those that take it back.
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    command: &'static str,
    inverse: &'static str,
    /// The system calls to strike at; all if there are none. Making a bridge is a scenario of its own.
    calls: &'static [&'static str],
}

const FILES: &[&str] = &["openat", "write", "rename", "unlink", "mkdir"];

pub(crate) const TRIALS: [Trial; 6] = [
    Trial {
        name: "docker::create_network",
        command: "docker CreateNetwork",
        inverse: "docker DeleteNetwork",
        calls: FILES,
    },
    Trial {
        name: "docker::delete_network",
        command: "docker DeleteNetwork",
        inverse: "docker CreateNetwork",
        calls: FILES,
    },
    Trial {
        name: "docker::publish",
        command: "docker CreateNetwork,CreateEndpoint,Join,ProgramExternalConnectivity",
        inverse: "docker Leave,DeleteEndpoint,DeleteNetwork",
        calls: &[],
    },
    Trial {
        name: "docker::create_endpoint",
        command: "docker CreateNetwork,CreateEndpoint",
        inverse: "docker DeleteEndpoint,DeleteNetwork",
        calls: &[],
    },
    Trial {
        name: "docker::request_pool",
        command: "docker RequestPool",
        inverse: "docker ReleasePool",
        calls: &[],
    },
    Trial {
        name: "docker::request_address",
        command: "docker RequestPool,RequestAddress",
        inverse: "docker ReleaseAddress,ReleasePool",
        calls: &[],
    },
];

const BODIES: &str = r#"
mount -t tmpfs tmpfs /var/lib; mkdir /run/calls; cd /run/calls
N=17cd53bf6e5900fb12a968c37cd8e4f5ec5dab4b286c83fa2f1316c48a6fa0a8
E=d3393de0a6ab78e5ac25978229ff1192925054475b37633fb5064ba3e53c4ed7
P='"com.docker.network.portmap":[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080}]'
IDS="\"NetworkID\":\"$N\",\"EndpointID\":\"$E\""
cat >CreateNetwork <<X
{"NetworkID":"$N","Options":{"com.docker.network.generic":{}},"IPv4Data":[{"Gateway":"10.50.0.1/24","Pool":"10.50.0.0/24"}],"IPv6Data":[]}
X
echo "{$IDS}" | tee DeleteNetwork Leave DeleteEndpoint >/dev/null
echo "{$IDS,\"Interface\":{\"Address\":\"10.50.0.50/24\"},\"Options\":{$P}}" >CreateEndpoint
echo "{$IDS,\"SandboxKey\":\"/run/docker/netns/x\"}" >Join
echo "{$IDS,\"Options\":{$P}}" >ProgramExternalConnectivity
echo '{"AddressSpace":"netcord","Pool":"10.61.0.0/24","V6":false}' >RequestPool
echo '{"PoolID":"10.61.0.0/24"}' >ReleasePool
echo '{"PoolID":"10.61.0.0/24","Address":""}' >RequestAddress
echo '{"PoolID":"10.61.0.0/24","Address":"10.61.0.1"}' >ReleaseAddress
"#;

impl Trial {
    fn stage(&self) -> (Stage, States, Vec<Call>) {
        let lab = Lab::new();
        lab.sh(BODIES).ok();
        let stage = Stage { lab, command: self.command.into(), inverse: self.inverse.into() };
        if self.is_removal() {
            stage.run_inverse().ok();
        }
        let states = States::of(&stage);
        let mut calls = traced::changing_calls(&stage);
        calls.retain(|(name, _)| self.calls.is_empty() || self.calls.contains(&name.as_str()));
        (stage, states, calls)
    }

    fn is_removal(&self) -> bool {
        self.command.contains("Delete")
    }

    /// SIGKILL before each call that changes something, and then each of them fails once, unless calls
    /// came before that docker takes back by itself.
    pub(crate) fn struck(&self) {
        let (stage, states, calls) = self.stage();
        traced::killed_at(&stage, &states, &calls);
        if !self.command.contains(',') {
            let (stage, states, _) = self.stage();
            traced::failing_at(&stage, &states, self.is_removal(), &calls);
        }
    }
}
