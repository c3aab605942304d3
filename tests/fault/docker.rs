//! Faults while docker calls: it calls again, or calls for the removal, and all is as it should be.

use crate::{
    support::{Lab, NETCORD, Stage},
    traced::{self, Call},
    watched::States,
};

/// A call, after those that docker makes before it, and those that take it back.
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    command: &'static str,
    inverse: &'static str,
    /// The calls that docker makes after it, whatever became of it; empty if there are none.
    next: &'static str,
    /// The system calls to strike at; all if there are none. Making a bridge is a scenario of its own.
    calls: &'static [&'static str],
}

const FILES: &[&str] = &["openat", "write", "rename", "unlink", "mkdir"];

/// What makes an endpoint whole.
const WHOLE: &str = "docker CreateNetwork,CreateEndpoint,Join,ProgramExternalConnectivity";

pub(crate) const TRIALS: [Trial; 11] = [
    Trial {
        name: "docker::create_network",
        command: "docker CreateNetwork",
        inverse: "docker DeleteNetwork",
        next: "",
        calls: FILES,
    },
    Trial {
        name: "docker::delete_network",
        command: "docker DeleteNetwork",
        inverse: "docker CreateNetwork",
        next: "",
        calls: FILES,
    },
    Trial {
        name: "docker::publish",
        command: WHOLE,
        inverse: "docker Leave,DeleteEndpoint,DeleteNetwork",
        next: "",
        calls: &[],
    },
    Trial {
        name: "docker::create_endpoint",
        command: "docker CreateNetwork,CreateEndpoint",
        inverse: "docker DeleteEndpoint,DeleteNetwork",
        next: "",
        calls: &[],
    },
    Trial {
        name: "docker::revoke",
        command: "docker RevokeExternalConnectivity",
        inverse: WHOLE,
        next: "docker Leave,DeleteEndpoint",
        calls: &[],
    },
    Trial {
        name: "docker::leave",
        command: "docker Leave",
        inverse: WHOLE,
        next: "docker DeleteEndpoint",
        calls: &[],
    },
    Trial {
        // As after a Join that failed: there was no Leave.
        name: "docker::delete_endpoint",
        command: "docker DeleteEndpoint",
        inverse: WHOLE,
        next: "",
        calls: &[],
    },
    Trial {
        name: "docker::request_pool",
        command: "docker RequestPool",
        inverse: "docker ReleasePool",
        next: "",
        calls: &[],
    },
    Trial {
        name: "docker::request_address",
        command: "docker RequestPool,RequestAddress",
        inverse: "docker ReleaseAddress,ReleasePool",
        next: "",
        calls: &[],
    },
    Trial {
        name: "docker::release_address",
        command: "docker ReleaseAddress",
        inverse: "docker RequestPool,RequestAddress",
        next: "docker ReleasePool",
        calls: &[],
    },
    Trial {
        name: "docker::release_pool",
        command: "docker ReleasePool",
        inverse: "docker RequestPool",
        next: "",
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
echo "{$IDS}" | tee DeleteNetwork RevokeExternalConnectivity Leave DeleteEndpoint >/dev/null
echo "{$IDS,\"Interface\":{\"Address\":\"10.50.0.50/24\"},\"Options\":{$P}}" >CreateEndpoint
echo "{$IDS,\"SandboxKey\":\"/run/docker/netns/x\"}" >Join
echo "{$IDS,\"Options\":{$P}}" >ProgramExternalConnectivity
echo '{"AddressSpace":"netcord","Pool":"10.61.0.0/24","V6":false}' >RequestPool
echo '{"PoolID":"10.61.0.0/24"}' >ReleasePool
echo '{"PoolID":"10.61.0.0/24","Address":""}' >RequestAddress
echo '{"PoolID":"10.61.0.0/24","Address":"10.61.0.1"}' >ReleaseAddress
"#;

/// Another container's place, on docker's network if that stays.
const NEIGHBOUR: &str = "
    [ -e /sys/class/net/$1 ] || netcord bridge $1 --subnet 10.51.0.0/24
    ip netns add other; netcord attach $1 other --ip $2 -p 9090:9";

impl Trial {
    fn stage(&self) -> (Stage, States, Vec<Call>) {
        let lab = Lab::new();
        lab.sh(BODIES).ok();
        let stage = Stage { lab, command: self.command.into(), inverse: self.inverse.into() };
        if self.is_removal() {
            stage.run_inverse().ok();
        }
        if let Some((network, address)) = self.neighbour() {
            let script = format!("netcord() {{ {NETCORD} \"$@\"; }}; set {network} {address}");
            stage.lab.sh(&format!("{script}{NEIGHBOUR}")).ok();
            stage.lab.mirror("other", &format!("{address}:9"));
        }
        let states = States::of(&stage);
        let mut calls = traced::changing_calls(&stage);
        calls.retain(|(name, _)| self.calls.is_empty() || self.calls.contains(&name.as_str()));
        (stage, states, calls)
    }

    fn is_removal(&self) -> bool {
        ["Delete", "Leave", "Revoke", "Release"].iter().any(|word| self.command.contains(word))
    }

    /// Who must notice nothing of a removal: its network and its address.
    fn neighbour(&self) -> Option<(&str, &str)> {
        match self.command {
            "docker DeleteNetwork" => Some(("lab1", "10.51.0.77")),
            command if self.is_removal() && !command.contains("Release") => {
                Some(("nc-17cd53bf6e59", "10.50.0.77"))
            }
            _ => None,
        }
    }

    /// SIGKILL before each call that changes something, and then each of them fails once, unless calls
    /// came before that docker takes back by itself.
    pub(crate) fn struck(&self) {
        let (stage, states, calls) = self.stage();
        let beats =
            self.neighbour().map(|(_, address)| stage.lab.beats("host", &format!("{address}:9")));
        traced::killed_at(&stage, &states, &calls);
        self.docker_goes_on(&stage, &calls);
        let lost = beats.map(|beats| beats.sent_and_lost().1);
        assert_eq!(lost.unwrap_or_default(), 0, "{}: datagrams of a neighbour", self.name);
        if !self.command.contains(',') {
            let (stage, states, _) = self.stage();
            traced::failing_at(&stage, &states, self.is_removal(), &calls);
        }
    }

    /// After SIGKILL before each call, docker repeats the request without its body, takes the refusal
    /// for an answer, and makes the calls that come next: they remove what the killed one has left.
    fn docker_goes_on(&self, stage: &Stage, calls: &[Call]) {
        if self.next.is_empty() {
            return;
        }
        stage.run().ok();
        stage.run_words(self.next).ok();
        let end = stage.lab.snapshot();
        for call in calls {
            stage.run_inverse().ok();
            let run = traced::kill(stage, call);
            stage.run_words(&format!("{}!", self.command)).fails(1, &["lost its connection"]);
            stage.run_words(self.next).ok();
            end.assert_same(&stage.lab.snapshot(), &format!("{}, and {}", run.command, self.next));
        }
    }
}
