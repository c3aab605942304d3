#!/bin/sh
set -eu

# a veth pair is a virtual cable: one end in the bridge, the other inside the target
ip link add HOSTLINK address fe:42:ac:15:00:02 mtu 1500 master lab1 group 28259 up type veth peer name eth1 address 02:42:ac:15:00:02 mtu 1500 netns web

# the alias marks the link as netcord's and names its owner
ip link set dev HOSTLINK alias netcord:lab1/web

# a bridge port needs no IP addresses of its own
sysctl -qw net/ipv6/conf/HOSTLINK/disable_ipv6=1

# no IPv6 subnet: with IPv6 off, no neighbour discovery floods the bridge's ports
ip netns exec web sysctl -qw net/ipv6/conf/eth1/disable_ipv6=1

# programs expect lo to be up and to have 127.0.0.1
# no change: ip -n web addr replace 127.0.0.1/8 scope host dev lo
# no change: ip -n web link set dev lo up

# the endpoint's IP address
ip -n web addr add 172.21.0.2/16 brd + dev eth1

# the inner end goes up last: with both ends up, the veth pair has carrier
ip -n web link set dev eth1 up

# the new default route replaces this one
ip -n web route del default via 172.20.0.1 dev eth0 proto 110

# the default route: all other destinations are reached through the gateway
ip -n web route add default via 172.21.0.1 dev eth1 proto 110
