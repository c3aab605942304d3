//! What netcord is asked to do, in all its variety: each scenario is a command, what has to be
//! there for it, and what takes it back.

use super::{Lab, NETCORD, Run};

/// One command in its setting.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// A shell script, with `netcord` as a command.
    pub(crate) setup: &'static str,
    /// netcord's words; `PID` stands for a process in null mode.
    pub(crate) command: &'static str,
    /// netcord's words that take the command back.
    pub(crate) inverse: &'static str,
}

const NETWORK: &str = "ip netns add web; netcord bridge lab0 --subnet 172.20.0.0/16";
const ATTACHED: &str =
    "ip netns add web; netcord bridge lab0 --subnet 172.20.0.0/16; netcord attach lab0 web";
const PUBLISHED: &str = "ip netns add web; netcord bridge lab0 --subnet 172.20.0.0/16
    netcord attach lab0 web -p 8080:80";

/// A link whose wire leads to a neighbour.
const WIRED: &str = include_str!("sh/wired.sh");
/// A link with everything that can hang on one.
const PHYSICAL: &str = include_str!("sh/physical.sh");
const UNDERLAY: &str =
    concat!(include_str!("sh/physical.sh"), "netcord underlay mydr0 --parent eth0 --takeover");

/// A foreign bridge, and a namespace.
macro_rules! docker0 {
    () => {
        "ip netns add web; ip link add docker0 address 02:42:00:00:00:01 type bridge
     ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 addrgenmode none up"
    };
}
const ON_DOCKER0: &str = concat!(docker0!(), "; netcord attach docker0 web");
const ON_IPTABLES: &str = "ip netns add web; netcord --firewall iptables bridge lab0";

/// Every verb that changes something, in every shape that makes another plan.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "bridge", setup: "", command: "bridge lab0", inverse: "rm lab0" },
    Scenario {
        name: "bridge_ipv6",
        setup: "",
        command: "bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64",
        inverse: "rm lab0",
    },
    Scenario {
        name: "bridge_outbound_addr",
        setup: "",
        command: "bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 \
                  --outbound-addr 192.0.2.5 --outbound-addr 2001:db8::5",
        inverse: "rm lab0",
    },
    Scenario {
        name: "bridge_outbound_addr_iptables",
        setup: "",
        command: "--firewall iptables bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 \
                  --outbound-addr 192.0.2.5 --outbound-addr 2001:db8::5",
        inverse: "rm lab0",
    },
    Scenario {
        name: "bridge_internal",
        setup: "",
        command: "bridge lab0 --subnet 172.20.0.0/16 --internal",
        inverse: "rm lab0",
    },
    Scenario {
        name: "bridge_isolate",
        setup: "",
        command: "bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --isolate",
        inverse: "rm lab0",
    },
    Scenario {
        name: "bridge_open",
        setup: "netcord bridge lab1 --open",
        command: "bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --open",
        inverse: "rm lab0",
    },
    Scenario {
        name: "bridge_open_iptables",
        setup: "",
        command: "--firewall iptables bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --open",
        inverse: "rm lab0",
    },
    Scenario {
        name: "bridge_forward_accept",
        setup: "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN
                iptables -A FORWARD -j DOCKER-USER
                for t in iptables ip6tables; do $t -A FORWARD -j REJECT; done",
        command: "bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64",
        inverse: "rm lab0",
    },
    Scenario {
        name: "rm_forward_accept",
        setup: "iptables -A FORWARD -j REJECT; netcord bridge lab0",
        command: "rm lab0",
        inverse: "bridge lab0",
    },
    Scenario {
        name: "macvlan",
        setup: WIRED,
        command: "macvlan lan0 --parent eth0",
        inverse: "rm lan0",
    },
    Scenario {
        name: "macvlan_host_access",
        setup: WIRED,
        command: "macvlan lan0 --parent eth0 --host-access",
        inverse: "rm lan0",
    },
    Scenario {
        name: "attach_addresses",
        setup: "ip netns add web
                netcord bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --no-spoof",
        command: "attach lab0 web --ip 172.20.0.9 --ip 172.20.0.5 --ip fd00:1::9 --ip fd00:1::5 \
                  -p 8080:80",
        inverse: "detach lab0 web",
    },
    Scenario {
        name: "attach_routes",
        setup: "ip netns add web; netcord bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64",
        command: "attach lab0 web --metric 50 --route blackhole:10.9.0.0/16 \
                  --route unreachable:fd00:9::/48 --route prohibit:10.8.0.0/16,metric=7 \
                  --route 10.7.0.0/16,172.20.0.1,metric=5 --route fd00:7::/48,fd00:1::1,metric=9",
        inverse: "detach lab0 web",
    },
    Scenario {
        name: "attach_macvlan",
        setup: concat!(include_str!("sh/wired.sh"), "netcord macvlan lan0 --parent eth0"),
        command: "attach lan0 web --ip 192.0.2.9",
        inverse: "detach lan0 web",
    },
    Scenario {
        name: "attach_macvlan_host_access",
        setup: concat!(
            include_str!("sh/wired.sh"),
            "netcord macvlan lan0 --parent eth0 --host-access"
        ),
        command: "attach lan0 web --ip 192.0.2.9 --ip 2001:db8::9",
        inverse: "detach lan0 web",
    },
    Scenario {
        name: "overlay",
        setup: WIRED,
        command: "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
                  --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.3.0/24=192.0.2.3",
        inverse: "rm pods",
    },
    Scenario {
        name: "overlay_dual",
        setup: WIRED,
        command: "overlay pods --subnet 10.5.0.0/16 --subnet fd00:5::/48 --host-subnet 10.5.1.0/24 \
                  --host-subnet fd00:5:0:1::/64 --peer 10.5.2.0/24,fd00:5:0:2::/64=2001:db8::2 \
                  --vni 77 --port 4789",
        inverse: "rm pods",
    },
    Scenario {
        name: "overlay_direct",
        setup: WIRED,
        command: "overlay pods --subnet 10.5.0.0/16 --subnet fd00:5::/48 --host-subnet 10.5.1.0/24 \
                  --host-subnet fd00:5:0:1::/64 --direct-routing \
                  --peer 10.5.2.0/24,fd00:5:0:2::/64=192.0.2.2,2001:db8::2 \
                  --peer 10.5.3.0/24,fd00:5:0:3::/64=198.51.100.3",
        inverse: "rm pods",
    },
    Scenario {
        name: "overlay_host_gw",
        setup: WIRED,
        command: "overlay pods --backend host-gw --subnet 10.5.0.0/16 --subnet fd00:5::/48 \
                  --host-subnet 10.5.1.0/24 --host-subnet fd00:5:0:1::/64 \
                  --peer 10.5.2.0/24,fd00:5:0:2::/64=192.0.2.2,2001:db8::2",
        inverse: "rm pods",
    },
    Scenario {
        name: "overlay_udp",
        setup: WIRED,
        command: "overlay pods --backend udp --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
                  --peer 10.5.2.0/24=192.0.2.2",
        inverse: "rm pods",
    },
    Scenario {
        name: "overlay_internal_iptables",
        setup: WIRED,
        command: "--firewall iptables overlay pods --subnet 10.5.0.0/16 \
                  --host-subnet 10.5.1.0/24 --peer 10.5.2.0/24=192.0.2.2 --internal",
        inverse: "rm pods",
    },
    Scenario {
        name: "overlay_forward_accept",
        setup: concat!(
            include_str!("sh/wired.sh"),
            "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN
             iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j REJECT"
        ),
        command: "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
                  --peer 10.5.2.0/24=192.0.2.2",
        inverse: "rm pods",
    },
    Scenario {
        name: "overlay_other_peers",
        setup: concat!(
            include_str!("sh/wired.sh"),
            "netcord overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
             --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.3.0/24=192.0.2.3"
        ),
        command: "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
                  --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.4.0/24=192.0.2.4",
        inverse: "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
                  --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.3.0/24=192.0.2.3",
    },
    Scenario {
        name: "rm_overlay",
        setup: concat!(
            include_str!("sh/wired.sh"),
            "netcord overlay pods --backend host-gw --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
             --peer 10.5.2.0/24=192.0.2.2"
        ),
        command: "rm pods",
        inverse: "overlay pods --backend host-gw --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
                  --peer 10.5.2.0/24=192.0.2.2",
    },
    Scenario {
        name: "bridge_no_spoof",
        setup: "",
        command: "bridge lab0 --subnet 172.20.0.0/16 --no-spoof",
        inverse: "rm lab0",
    },
    Scenario {
        name: "attach",
        setup: NETWORK,
        command: "attach lab0 web",
        inverse: "detach lab0 web",
    },
    Scenario {
        name: "attach_ipv6_isolate",
        setup: "ip netns add web
                netcord bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --isolate",
        command: "attach lab0 web",
        inverse: "detach lab0 web",
    },
    Scenario {
        name: "attach_no_spoof",
        setup: "ip netns add web
                netcord bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64 --no-spoof",
        command: "attach lab0 web",
        inverse: "detach lab0 web",
    },
    Scenario {
        name: "attach_by_pid",
        setup: NETWORK,
        command: "attach lab0 PID",
        inverse: "detach lab0 PID",
    },
    Scenario {
        name: "attach_foreign",
        setup: docker0!(),
        command: "attach docker0 web --ip 172.17.0.9/16 --gateway 172.17.0.1",
        inverse: "detach docker0 web",
    },
    Scenario {
        name: "attach_published",
        setup: NETWORK,
        command: "attach lab0 web -p 8080:80 -p 5353:53/udp",
        inverse: "detach lab0 web",
    },
    Scenario {
        name: "attach_second_network",
        setup: "ip netns add web; netcord bridge lab0 --subnet 172.20.0.0/16
                netcord bridge lab1 --subnet 172.21.0.0/16; netcord attach lab0 web",
        command: "attach lab1 web --gateway 172.21.0.1",
        inverse: "detach lab1 web",
    },
    Scenario {
        name: "publish",
        setup: ATTACHED,
        command: "publish web 8080:80",
        inverse: "unpublish web 8080:80",
    },
    Scenario {
        name: "publish_udp_range",
        setup: ATTACHED,
        command: "publish web 5000-5004:6000-6004/udp",
        inverse: "unpublish web 5000-5004:6000-6004/udp",
    },
    Scenario {
        name: "underlay",
        setup: PHYSICAL,
        command: "underlay mydr0 --parent eth0 --ip-range 192.0.2.64/27 --takeover",
        inverse: "rm mydr0",
    },
    Scenario {
        name: "rm_underlay",
        setup: UNDERLAY,
        command: "rm mydr0",
        inverse: "underlay mydr0 --parent eth0 --takeover",
    },
    Scenario {
        name: "bridge_iptables",
        setup: "",
        command: "--firewall iptables bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64",
        inverse: "rm lab0",
    },
    Scenario {
        name: "bridge_internal_isolate_iptables",
        setup: "",
        command: "--firewall iptables bridge lab0 --subnet 172.20.0.0/16 --internal --isolate",
        inverse: "rm lab0",
    },
    Scenario {
        name: "attach_published_iptables",
        setup: ON_IPTABLES,
        command: "attach lab0 web -p 8080:80 -p 5353:53/udp",
        inverse: "detach lab0 web",
    },
    Scenario {
        name: "publish_iptables",
        setup: concat!(
            "ip netns add web; netcord --firewall iptables bridge lab0",
            "; netcord attach lab0 web"
        ),
        command: "publish web 8080:80 5000-5004:6000-6004/udp",
        inverse: "unpublish web --all",
    },
    Scenario {
        name: "publish_foreign",
        setup: ON_DOCKER0,
        command: "publish web 8080:80",
        inverse: "unpublish web --all",
    },
    Scenario {
        name: "publish_foreign_iptables",
        setup: concat!(docker0!(), "; netcord --firewall iptables attach docker0 web"),
        command: "publish web 8080:80",
        inverse: "unpublish web --all",
    },
    Scenario {
        name: "rm_iptables",
        setup: "netcord --firewall iptables bridge lab0",
        command: "rm lab0",
        inverse: "--firewall iptables bridge lab0",
    },
    Scenario { name: "none", setup: "", command: "none db", inverse: "rm db" },
    Scenario { name: "none_of_pid", setup: "", command: "none db --of PID", inverse: "rm db" },
    Scenario {
        name: "detach",
        setup: PUBLISHED,
        command: "detach lab0 web",
        inverse: "attach lab0 web -p 8080:80",
    },
    Scenario {
        name: "detach_many",
        setup: "ip netns add web; ip netns add db; netcord bridge lab0 --subnet 172.20.0.0/16
                netcord attach lab0 web db",
        command: "detach lab0 web db",
        inverse: "attach lab0 web db",
    },
    Scenario {
        name: "unpublish",
        setup: PUBLISHED,
        command: "unpublish web 8080:80",
        inverse: "publish web 8080:80",
    },
    Scenario {
        name: "reset",
        setup: "netcord bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64",
        command: "reset",
        inverse: "bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64",
    },
    Scenario {
        name: "reset_attached",
        setup: ON_DOCKER0,
        command: "reset",
        inverse: "attach docker0 web",
    },
    Scenario {
        name: "rm",
        setup: "netcord bridge lab0",
        command: "rm lab0",
        inverse: "bridge lab0",
    },
];

/// A host on which a scenario is about to happen.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) command: String,
    pub(crate) inverse: String,
}

impl Scenario {
    /// Whether it takes something away.
    pub(crate) fn is_removal(&self) -> bool {
        ["detach", "unpublish", "rm", "reset"].iter().any(|verb| self.command.starts_with(verb))
    }

    /// Whether netcord starts iptables for it.
    pub(crate) fn starts_a_program(&self) -> bool {
        [self.setup, self.command].iter().any(|words| words.contains("--firewall iptables"))
    }

    /// A fresh host with everything that the command needs.
    #[track_caller]
    pub(crate) fn stage(&self) -> Stage {
        let lab = Lab::new();
        lab.sh(&format!("netcord() {{ {NETCORD} \"$@\"; }}\n{}", self.setup)).ok();
        let uses_pid = self.command.contains("PID");
        let pid = if uses_pid { lab.null_mode_process().to_string() } else { String::new() };
        Stage {
            command: self.command.replace("PID", &pid),
            inverse: self.inverse.replace("PID", &pid),
            lab,
        }
    }
}

/// What begins the words of a call by a CNI runtime: the operation and the namespace follow, and
/// `/run/conf` has the configuration.
pub(crate) const CNI: &str = "cni ";
/// What begins the words of calls by docker: the methods follow, with commas between, and `/run/calls`
/// has their bodies. A method with `!` is called without its body, as docker repeats a call whose
/// connection broke.
const DOCKER: &str = "docker ";
/// What begins the words of a call by podman: netavark's command and the namespace follow, and `/run/conf`
/// has the container; `/run/netavark/netavark` is netcord.
const PODMAN: &str = "podman ";

/// The program that words mean, and its arguments. It runs under another program, if one is given.
pub(crate) fn program(words: &str, under: &[&str]) -> Vec<String> {
    if let Some(methods) = words.strip_prefix(DOCKER) {
        let script = include_str!("sh/docker_calls.pl");
        let all = ["perl", "-e", script, methods, NETCORD].into_iter().chain(under.iter().copied());
        return all.map(str::to_owned).collect();
    }
    let under = under.iter().copied();
    if let Some((verb, netns)) = words.strip_prefix(PODMAN).and_then(|call| call.split_once(' ')) {
        let script = format!(
            "exec /run/netavark/netavark --config /run/config {verb} /run/netns/{netns} </run/conf"
        );
        return under.chain(["sh", "-c", &script]).map(str::to_owned).collect();
    }
    let Some(call) = words.strip_prefix(CNI) else {
        return under.chain([NETCORD]).chain(words.split(' ')).map(str::to_owned).collect();
    };
    let (operation, netns) = call.split_once(' ').unwrap();
    let script = format!(
        "CNI_COMMAND={operation} CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=/run/netns/{netns} \
         exec {NETCORD} </run/conf"
    );
    under.chain(["sh", "-c", &script]).map(str::to_owned).collect()
}

impl Stage {
    /// Runs the command.
    #[track_caller]
    pub(crate) fn run(&self) -> Run {
        self.run_words(&self.command)
    }

    /// Runs what takes it back.
    #[track_caller]
    pub(crate) fn run_inverse(&self) -> Run {
        self.run_words(&self.inverse)
    }

    /// Runs these words as the command is run.
    #[track_caller]
    pub(crate) fn run_words(&self, words: &str) -> Run {
        let program = program(words, &[]);
        let output = self.lab.command(&program[0]).args(&program[1..]).output();
        Run::new(words.to_owned(), &output.unwrap())
    }

    /// The command as a script.
    #[track_caller]
    pub(crate) fn dry_run(&self) -> String {
        self.lab.netcord(&format!("--dry-run {}", self.command)).exits(0).stdout
    }
}
