#!/bin/sh
set -eu

# the bridge: the Ethernet switch that all endpoints plug into
ip link add pods address 02:42:0a:05:01:01 mtu 1473 group 28259 type bridge stp_state 0 forward_delay 0

# the alias marks the link as netcord's and names its owner
ip link set dev pods alias 'netcord:pods overlay=udp cluster=10.5.0.0/16 subnet=10.5.1.1/24'

# an MTU set explicitly stays; otherwise a bridge follows the smallest MTU of its ports
ip link set dev pods mtu 1472

# no IPv6 subnet: with IPv6 off, the link has no IPv6 attack surface
sysctl -qw net/ipv6/conf/pods/disable_ipv6=1

. tests/golden/shared/table.sh

# the network's filter rules, and its source NAT (masquerade)
nft -f - <<'EOF'
add chain inet netcord filter-pods
flush chain inet netcord filter-pods
add rule inet netcord filter-pods iifname != "pods" oifname "pods" ip saddr != 10.5.0.0/16 ct state ! established,related ct status ! dnat drop comment "only replies and traffic to published ports may enter from outside"
add rule inet netcord filter-pods iifname != "pods" oifname "pods" meta nfproto ipv6 ct state ! established,related ct status ! dnat drop comment "only replies and traffic to published ports may enter from outside"
add chain inet netcord nat-pods
flush chain inet netcord nat-pods
add rule inet netcord nat-pods ip saddr 10.5.1.0/24 oifname != "pods" ip daddr != 10.5.0.0/16 meta l4proto tcp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-pods ip saddr 10.5.1.0/24 oifname != "pods" ip daddr != 10.5.0.0/16 meta l4proto udp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-pods ip saddr 10.5.1.0/24 oifname != "pods" ip daddr != 10.5.0.0/16 masquerade comment "masquerade for protocols without ports, such as ICMP"
add rule inet netcord nat-pods ip saddr 10.5.1.0/24 oifname "pods" ct status dnat masquerade comment "hairpin: replies to an endpoint that uses a published port must return through the host"
add rule inet netcord nat-pods ip saddr 127.0.0.0/8 oifname "pods" masquerade comment "an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge"
add element inet netcord bridges { "pods" }
add element inet netcord filter { "pods" : jump filter-pods }
add element inet netcord nat { "pods" : jump nat-pods }
EOF

# the bridge's address: the default gateway of the endpoints
ip addr add 10.5.1.1/24 brd + dev pods

# the host forwards IPv4 packets between the bridge and its other links
sysctl -qw net/ipv4/ip_forward=1

# forwarding is also set per link: the host forwards what arrives from this bridge
sysctl -qw net/ipv4/conf/pods/forwarding=1

# a link carries no frames until it is up
ip link set dev pods up

# no host has the rest of the network's block: without this route, packets to it would leave by the default route
ip route add unreachable 10.5.0.0/16 metric 65535 proto 110

# the TUN link: a process (the relay) reads packets from it, and sends them to other hosts in UDP packets
ip tuntap add dev tu-pods mode tun && ip link set dev tu-pods group 28259

# the MTU leaves room for the outer IP and UDP headers
ip link set dev tu-pods mtu 1472

# the alias marks the link as netcord's and names its owner
ip link set dev tu-pods alias 'netcord:pods via=eth0 host=192.0.2.1 port=8285'

# no IPv6 subnet: with IPv6 off, the link has no IPv6 attack surface
sysctl -qw net/ipv6/conf/tu-pods/disable_ipv6=1

# forwarding is also set per link: the host forwards what the tunnel delivers
sysctl -qw net/ipv4/conf/tu-pods/forwarding=1

# the address that this host's own packets to other hosts' endpoints come from
ip addr add 10.5.1.0/32 dev tu-pods

# a link carries no frames until it is up
ip link set dev tu-pods up

# the route to the other host's endpoints: the relay sends their packets to that host
ip route add 10.5.2.0/24 via 192.0.2.2 dev tu-pods onlink proto 110
