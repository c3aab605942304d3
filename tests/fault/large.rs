//! What much hangs on: kinds of faults that depend on how much it is.

use crate::support::Scenario;

/// A link with 300 addresses and 300 routes of both families.
macro_rules! large {
    () => {
        "ip netns add peer
    ip link add eth0 address 02:00:00:00:00:01 type veth peer name wire \
        address 02:00:00:00:00:02 netns peer
    ip link set eth0 addrgenmode none; ip -n peer link set wire addrgenmode none up
    ip -n peer addr add 192.0.2.2/24 dev wire
    ip addr add 192.0.2.1/24 dev eth0; ip link set eth0 up
    for i in $(seq 1 200); do
        echo addr add 10.1.$i.1/24 dev eth0; echo route add 172.20.$i.0/24 via 192.0.2.2
    done | ip -batch -
    for i in $(seq 1 100); do
        echo addr add 2001:db8:$i::1/64 dev eth0 nodad; echo route add 2001:db8:1$i::/64 dev eth0
    done | ip -6 -batch -
    until [ \"$(cat /sys/class/net/eth0/operstate)\" = up ]; do sleep 0.02; done"
    };
}

/// Where so much is at stake that answers may be lost.
pub(crate) const LARGE: &[Scenario] = &[
    Scenario {
        name: "underlay_large",
        setup: large!(),
        command: "underlay mydr0 --parent eth0 --takeover",
        inverse: "rm mydr0",
    },
    Scenario {
        name: "rm_underlay_large",
        setup: concat!(large!(), "; netcord underlay mydr0 --parent eth0 --takeover"),
        command: "rm mydr0",
        inverse: "underlay mydr0 --parent eth0 --takeover",
    },
];
