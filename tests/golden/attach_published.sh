#!/bin/sh
set -eu

# a veth pair is a virtual cable: one end in the bridge, the other inside the target
ip link add HOSTLINK address fe:42:ac:14:00:02 mtu 1500 master lab0 group 28259 up type veth peer name eth0 address 02:42:ac:14:00:02 mtu 1500 netns web

# the alias marks the link as netcord's and names its owner
ip link set dev HOSTLINK alias netcord:lab0/web

# a bridge port needs no IP addresses of its own
sysctl -qw net/ipv6/conf/HOSTLINK/disable_ipv6=1

# no IPv6 subnet: with IPv6 off, no neighbour discovery floods the bridge's ports
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=1

# programs expect lo to be up and to have 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's IP address
ip -n web addr add 172.20.0.2/16 brd + dev eth0

# the inner end goes up last: with both ends up, the veth pair has carrier
ip -n web link set dev eth0 up

# the default route: all other destinations are reached through the gateway
ip -n web route add default via 172.20.0.1 dev eth0 proto 110

# route_localnet: packets from the host's 127.0.0.1 can be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=1

# hairpin mode: with br_netfilter, an endpoint can reach its own published port
ip link set dev HOSTLINK type bridge_slave hairpin on

# DNAT: packets to the host's port go to the endpoint's address and port
nft add element inet netcord ports4 '{ tcp . 8080 comment "netcord:lab0/web" : 172.20.0.2 . 80 }'
nft add element inet netcord ports4 '{ udp . 5353 comment "netcord:lab0/web" : 172.20.0.2 . 53 }'

# conntrack entries of earlier UDP flows would bypass the new rule
conntrack -D -f ipv4 -p udp --orig-port-dst 5353 2>/dev/null || true
