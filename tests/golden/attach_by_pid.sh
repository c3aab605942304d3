#!/bin/sh
set -eu

# a name in /run/netns lets `ip netns` find the namespace
mkdir -p /run/netns && ln -s /proc/PID/ns/net /run/netns/PID

# a veth pair is a virtual cable: one end in the bridge, the other inside the target
ip link add HOSTLINK address fe:42:ac:14:00:02 mtu 1500 master lab0 group 28259 up type veth peer name eth0 address 02:42:ac:14:00:02 mtu 1500 netns PID

# the alias marks the link as netcord's and names its owner
ip link set dev HOSTLINK alias netcord:lab0/PID

# a bridge port needs no IP addresses of its own
sysctl -qw net/ipv6/conf/HOSTLINK/disable_ipv6=1

# no IPv6 subnet: with IPv6 off, no neighbour discovery floods the bridge's ports
ip netns exec PID sysctl -qw net/ipv6/conf/eth0/disable_ipv6=1

# programs expect lo to be up and to have 127.0.0.1
ip -n PID addr replace 127.0.0.1/8 scope host dev lo
ip -n PID link set dev lo up

# the endpoint's IP address
ip -n PID addr add 172.20.0.2/16 brd + dev eth0

# the inner end goes up last: with both ends up, the veth pair has carrier
ip -n PID link set dev eth0 up

# the default route: all other destinations are reached through the gateway
ip -n PID route add default via 172.20.0.1 dev eth0 proto 110
