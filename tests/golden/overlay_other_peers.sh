#!/bin/sh
set -eu

# the network no longer has a host that this leads to
ip route del 10.5.3.0/24 via 10.5.3.0 dev vx-pods onlink proto 110
bridge fdb del 02:76:c0:00:02:03 dev vx-pods dst 192.0.2.3 self
ip neigh del 10.5.3.0 dev vx-pods

# the bridge: the Ethernet switch that all endpoints plug into
# no change: ip link add pods address 02:42:0a:05:01:01 mtu 1451 group 28259 type bridge stp_state 0 forward_delay 0

# the alias marks the link as netcord's and names its owner
# no change: ip link set dev pods alias 'netcord:pods overlay=vxlan cluster=10.5.0.0/16 subnet=10.5.1.1/24'

# an MTU set explicitly stays; otherwise a bridge follows the smallest MTU of its ports
# no change: ip link set dev pods mtu 1450

# no IPv6 subnet: with IPv6 off, the link has no IPv6 attack surface
# no change: sysctl -qw net/ipv6/conf/pods/disable_ipv6=1

# netcord's own nftables table: the rules of others stay as they are
# no change: nft -f - <<'EOF' ...

# the network's filter rules, and its source NAT (masquerade)
# no change: nft -f - <<'EOF' ...

# the bridge's address: the default gateway of the endpoints
# no change: ip addr add 10.5.1.1/24 brd + dev pods

# the host forwards IPv4 packets between the bridge and its other links
# no change: sysctl -qw net/ipv4/ip_forward=1

# forwarding is also set per link: the host forwards what arrives from this bridge
# no change: sysctl -qw net/ipv4/conf/pods/forwarding=1

# a link carries no frames until it is up
# no change: ip link set dev pods up

# no host has the rest of the network's block: without this route, packets to it would leave by the default route
# no change: ip route add unreachable 10.5.0.0/16 metric 65535 proto 110

# the VXLAN link (VTEP): it sends frames to other hosts in UDP packets
# no change: ip link add vx-pods address 02:76:c0:00:02:01 mtu 1450 group 28259 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning

# the alias marks the link as netcord's and names its owner
# no change: ip link set dev vx-pods alias netcord:pods

# no IPv6 subnet: with IPv6 off, the link has no IPv6 attack surface
# no change: sysctl -qw net/ipv6/conf/vx-pods/disable_ipv6=1

# rp_filter=2 (loose): a host that routes directly replies by another link
# no change: sysctl -qw net/ipv4/conf/vx-pods/rp_filter=2

# forwarding is also set per link: the host forwards what the tunnel delivers
# no change: sysctl -qw net/ipv4/conf/vx-pods/forwarding=1

# the address that this host's own packets to other hosts' endpoints come from
# no change: ip addr add 10.5.1.0/32 dev vx-pods

# a link carries no frames until it is up
# no change: ip link set dev vx-pods up

# the MAC of the other host's VTEP: a permanent entry, so that nobody is asked (ARP, NDP)
# no change: ip neigh replace 10.5.2.0 lladdr 02:76:c0:00:02:02 dev vx-pods nud permanent protocol 110

# the FDB entry: frames for this VTEP go to this host, in UDP packets
# no change: bridge fdb replace 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self permanent

# the route to the other host's endpoints, through its VTEP
# no change: ip route add 10.5.2.0/24 via 10.5.2.0 dev vx-pods onlink proto 110

# the MAC of the other host's VTEP: a permanent entry, so that nobody is asked (ARP, NDP)
ip neigh replace 10.5.4.0 lladdr 02:76:c0:00:02:04 dev vx-pods nud permanent protocol 110

# the FDB entry: frames for this VTEP go to this host, in UDP packets
bridge fdb replace 02:76:c0:00:02:04 dev vx-pods dst 192.0.2.4 self permanent

# the route to the other host's endpoints, through its VTEP
ip route add 10.5.4.0/24 via 10.5.4.0 dev vx-pods onlink proto 110
