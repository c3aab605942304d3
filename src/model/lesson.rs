//! What each lesson builds, as data: the state that a host has at its end, and the commands that make
//! it by hand.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};

/// A lesson of `examples/` whose result can be checked.
#[derive(Debug)]
pub struct Lesson {
    /// Its number.
    pub number: u8,
    /// The name of its script, without number.
    pub name: &'static str,
    /// What it builds.
    pub builds: &'static str,
    /// The parts of that, in the order of building.
    pub parts: &'static [Part],
}

/// A part of what a lesson builds.
#[derive(Debug)]
pub struct Part {
    /// The state of the host.
    pub fact: Fact,
    /// The same in words.
    pub says: &'static str,
    /// The commands that make it. Words in capitals are to be replaced; those of [`InUse`] are where
    /// a host has a bridge already.
    pub by_hand: &'static [&'static str],
}

/// A state of the host. Where it speaks of a bridge, it is the one with the most endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A bridge is up and has an address.
    Bridge,
    /// This many of its ports are veths whose peers are in other namespaces.
    Cables(usize),
    /// This many links inside are up.
    Up(usize),
    /// This many links inside have an address of the bridge's subnet.
    Addresses(usize),
    /// This many namespaces have their default route by the bridge.
    DefaultRoutes(usize),
    /// A packet from the host, or from one endpoint to the next, arrives.
    Ping,
    /// The host forwards IPv4.
    Forwarding,
    /// There is a machine outside, behind a link of the host.
    Outside,
    /// A packet to the machine outside gets the host's address, and the reply arrives.
    Masquerade,
    /// A connection from outside to this port of the host reaches an endpoint.
    Published(u16),
    /// A process of the host listens on a TCP port.
    HostListener,
    /// Several processes are in one namespace that is not the host's.
    SharedStack,
    /// The host's default route is by a bridge.
    DefaultByBridge,
    /// One of its ports leads to the gateway, and has no address itself.
    UplinkPort,
    /// A namespace has an address of the physical network, by the bridge.
    EndpointInUplink,
    /// A VXLAN link is up.
    Vxlan,
    /// A route to a subnet of another host is by the VXLAN link.
    TunnelRoute,
    /// A packet to that subnet finds the neighbour entry and the FDB entry, and leaves in the tunnel.
    Tunnel,
}

const BRIDGE: Part = Part {
    fact: Fact::Bridge,
    says: "a bridge that is up and has an address",
    by_hand: &[
        "ip link add BRIDGE type bridge",
        "ip address add GATEWAY/LENGTH dev BRIDGE",
        "ip link set BRIDGE up",
    ],
};

const ONE_CABLE: Part = Part {
    fact: Fact::Cables(1),
    says: "a veth pair from the bridge into a namespace",
    by_hand: &[
        "mkdir -p /run/netns; ln -s /proc/PID/ns/net /run/netns/NAME    # or: ip netns add NAME",
        "ip link add A type veth peer name B",
        "ip link set A master BRIDGE up",
        "ip link set B netns NAME",
        "ip -n NAME link set B name eth0",
    ],
};

const ONE_UP: Part = Part {
    fact: Fact::Up(1),
    says: "the end inside is up",
    by_hand: &["ip -n NAME link set eth0 up"],
};

const ONE_ADDRESS: Part = Part {
    fact: Fact::Addresses(1),
    says: "the end inside has an address of the bridge's subnet",
    by_hand: &["ip -n NAME address add FREE/LENGTH dev eth0"],
};

const ONE_ROUTE: Part = Part {
    fact: Fact::DefaultRoutes(1),
    says: "the namespace has a default route by the bridge's address",
    by_hand: &["ip -n NAME route add default via GATEWAY"],
};

const TWO_CABLES: Part = Part {
    fact: Fact::Cables(2),
    says: "veth pairs from the bridge into two namespaces",
    by_hand: ONE_CABLE.by_hand,
};

const TWO_UP: Part =
    Part { fact: Fact::Up(2), says: "both ends inside are up", by_hand: ONE_UP.by_hand };

const TWO_ADDRESSES: Part = Part {
    fact: Fact::Addresses(2),
    says: "both ends inside have addresses of the bridge's subnet",
    by_hand: ONE_ADDRESS.by_hand,
};

const TWO_ROUTES: Part = Part {
    fact: Fact::DefaultRoutes(2),
    says: "both namespaces have a default route by the bridge's address",
    by_hand: ONE_ROUTE.by_hand,
};

const PING: Part = Part {
    fact: Fact::Ping,
    says: "packets arrive, and so do the replies",
    by_hand: &["netcord doctor    # says why they do not"],
};

const FORWARDING: Part = Part {
    fact: Fact::Forwarding,
    says: "the host forwards IPv4",
    by_hand: &["sysctl -w net.ipv4.ip_forward=1"],
};

const OUTSIDE: Part = Part {
    fact: Fact::Outside,
    says: "a machine outside, behind a link of the host",
    by_hand: &[
        "ip netns add outside",
        "ip link add uplink type veth peer name eth0 netns outside",
        "ip address add 192.0.2.1/24 dev uplink; ip link set uplink up",
        "ip -n outside address add 192.0.2.2/24 dev eth0; ip -n outside link set eth0 up",
    ],
};

/// The lessons that build something that stays.
pub const LESSONS: &[Lesson] = &[
    Lesson {
        number: 1,
        name: "null-mode",
        builds: "a namespace without a network gets one",
        parts: &[BRIDGE, ONE_CABLE, ONE_UP, ONE_ADDRESS, ONE_ROUTE, PING],
    },
    Lesson {
        number: 2,
        name: "bridge-and-nat",
        builds: "two namespaces on a bridge reach each other and the world",
        parts: &[
            BRIDGE,
            TWO_CABLES,
            TWO_UP,
            TWO_ADDRESSES,
            TWO_ROUTES,
            PING,
            OUTSIDE,
            FORWARDING,
            Part {
                fact: Fact::Masquerade,
                says: "what leaves gets the host's address (masquerade), and the reply arrives",
                by_hand: &["iptables -t nat -A POSTROUTING -s SUBNET ! -o BRIDGE -j MASQUERADE"],
            },
        ],
    },
    Lesson {
        number: 3,
        name: "two-containers-and-arp",
        builds: "two neighbours on a bridge",
        parts: &[BRIDGE, TWO_CABLES, TWO_UP, TWO_ADDRESSES, PING],
    },
    Lesson {
        number: 5,
        name: "publish-and-dnat",
        builds: "port 2333 of the host leads to an endpoint",
        parts: &[
            BRIDGE,
            ONE_CABLE,
            ONE_UP,
            ONE_ADDRESS,
            ONE_ROUTE,
            OUTSIDE,
            FORWARDING,
            Part {
                fact: Fact::Published(2333),
                says: "a connection from outside to port 2333 reaches the endpoint (DNAT)",
                by_hand: &[
                    "iptables -t nat -A PREROUTING ! -i BRIDGE -p tcp -m tcp --dport 2333 -j DNAT --to-destination ENDPOINT:80",
                ],
            },
        ],
    },
    Lesson {
        number: 7,
        name: "host-mode",
        builds: "a server on the stack of the host",
        parts: &[Part {
            fact: Fact::HostListener,
            says: "a process of the host listens on a TCP port",
            by_hand: &["busybox httpd -p 127.0.0.1:8080 -h /run"],
        }],
    },
    Lesson {
        number: 8,
        name: "share-a-stack",
        builds: "two processes on one network stack",
        parts: &[Part {
            fact: Fact::SharedStack,
            says: "two processes are in one namespace, which is not the host's",
            by_hand: &[
                "ip netns add NAME; ip -n NAME link set lo up",
                "ip netns exec NAME busybox httpd -p 127.0.0.1:8080 -h /run",
                "ip netns exec NAME sleep 1000 &",
            ],
        }],
    },
    Lesson {
        number: 9,
        name: "underlay",
        builds: "an endpoint in the physical network",
        parts: &[
            Part {
                fact: Fact::DefaultByBridge,
                says: "a bridge has the host's address and its default route",
                by_hand: &[
                    "ip link add name mydr0 type bridge; ip link set mydr0 up",
                    "ip address del ADDRESS dev eth0; ip address add ADDRESS dev mydr0",
                    "ip route replace default via ROUTER dev mydr0",
                ],
            },
            Part {
                fact: Fact::UplinkPort,
                says: "the uplink is a port of the bridge, and has no address",
                by_hand: &["ip link set eth0 master mydr0 up"],
            },
            Part {
                fact: Fact::EndpointInUplink,
                says: "a namespace has an address of the physical network, by the bridge",
                by_hand: &[
                    "ip link add A master mydr0 up type veth peer name eth0 netns NAME",
                    "ip -n NAME address add UNUSED dev eth0; ip -n NAME link set eth0 up",
                ],
            },
        ],
    },
    Lesson {
        number: 11,
        name: "overlay-vxlan",
        builds: "the endpoints of another host are reached by VXLAN",
        parts: &[
            Part {
                fact: Fact::Vxlan,
                says: "a VXLAN link that is up",
                by_hand: &[
                    "ip link add vx0 type vxlan id 1 local OWN-HOST dev eth0 dstport 8472 nolearning",
                    "ip address add 10.5.1.0/32 dev vx0; ip link set vx0 up",
                ],
            },
            Part {
                fact: Fact::TunnelRoute,
                says: "a route to the other host's subnet by the VXLAN link",
                by_hand: &["ip route add 10.5.2.0/24 via 10.5.2.0 dev vx0 onlink"],
            },
            Part {
                fact: Fact::Tunnel,
                says: "the next hop has a neighbour entry, and its MAC an FDB entry",
                by_hand: &[
                    "ip neigh add 10.5.2.0 lladdr OTHER-VTEP-MAC dev vx0 nud permanent",
                    "bridge fdb append OTHER-VTEP-MAC dev vx0 dst OTHER-HOST self permanent",
                ],
            },
        ],
    },
];

/// What is to be written in commands for the bridge that a host has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The bridge.
    pub bridge: String,
    /// Its address.
    pub gateway: IpNetwork,
    /// Addresses of its endpoints.
    pub endpoints: Vec<IpAddr>,
}

impl InUse {
    /// Returns a command with these names and addresses.
    pub fn fill_in(&self, command: &str) -> String {
        let Self { bridge, gateway, endpoints } = self;
        let is_free = |ip: &IpAddr| *ip != gateway.ip() && !endpoints.contains(ip);
        let free = gateway.iter().skip(1).find(is_free).unwrap_or(gateway.ip());
        let endpoint = endpoints.first().copied().unwrap_or(free);
        let subnet = format!("{}/{}", gateway.network(), gateway.prefix());
        command
            .replace("BRIDGE", bridge)
            .replace("GATEWAY", &gateway.ip().to_string())
            .replace("LENGTH", &gateway.prefix().to_string())
            .replace("SUBNET", &subnet)
            .replace("FREE", &free.to_string())
            .replace("ENDPOINT", &endpoint.to_string())
    }
}

impl Default for InUse {
    fn default() -> Self {
        let address = Ipv4Addr::new(10, 7, 0, 1);
        let gateway = Ipv4Network::new_checked(address, 24).unwrap_or(address.into());
        let gateway = IpNetwork::V4(gateway);
        Self { bridge: "lab0".to_owned(), gateway, endpoints: Vec::new() }
    }
}

impl Lesson {
    /// Finds a lesson by its number, its name, or its script.
    pub fn of(word: &str) -> Option<&'static Self> {
        let word = word.rsplit('/').next().unwrap_or(word);
        let word = word.strip_suffix(".sh").unwrap_or(word);
        LESSONS.iter().find(|lesson| word == lesson.name || word.parse() == Ok(lesson.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_for_the_bridge_that_is_there() {
        let docker0 = InUse {
            bridge: "docker0".into(),
            gateway: "172.17.0.1/16".parse().unwrap(),
            endpoints: vec!["172.17.0.2".parse().unwrap()],
        };
        let [address] = ONE_ADDRESS.by_hand else { unreachable!() };
        assert_eq!(docker0.fill_in(address), "ip -n NAME address add 172.17.0.3/16 dev eth0");
        assert_eq!(
            InUse::default().fill_in(address),
            "ip -n NAME address add 10.7.0.2/24 dev eth0"
        );
        let all = LESSONS.iter().flat_map(|l| l.parts).flat_map(|p| p.by_hand);
        let filled = all.map(|command| docker0.fill_in(command)).collect::<String>();
        assert!(!["BRIDGE", "GATEWAY", "LENGTH", "FREE"].iter().any(|w| filled.contains(w)));
    }

    #[test]
    fn a_lesson_is_found_by_its_number_name_or_script() {
        for word in ["2", "02", "bridge-and-nat", "examples/bridge-and-nat.sh"] {
            assert_eq!(Lesson::of(word).map(|lesson| lesson.number), Some(2), "{word}");
        }
        assert!(Lesson::of("99").is_none() && Lesson::of("").is_none());
    }
}
