#!/bin/sh
set -eu

# a veth pair is a virtual cable: one end in the bridge, the other inside the target
ip link add HOSTLINK address fe:42:ac:14:00:02 mtu 1500 master lab0 group 28259 up type veth peer name eth0 address 02:42:ac:14:00:02 mtu 1500 netns web

# the alias marks the link as netcord's and names its owner
ip link set dev HOSTLINK alias netcord:lab0/web

# a bridge port needs no IP addresses of its own
sysctl -qw net/ipv6/conf/HOSTLINK/disable_ipv6=1

# the network has an IPv6 subnet, so the link needs IPv6
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=0

# netcord assigns the addresses: ignore router advertisements (no SLAAC)
ip netns exec web sysctl -qw net/ipv6/conf/eth0/accept_ra=0

# programs expect lo to be up and to have 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's IP address
ip -n web addr add 172.20.0.2/16 brd + dev eth0
ip -n web addr add fd00:1::2/64 nodad dev eth0

# the inner end goes up last: with both ends up, the veth pair has carrier
ip -n web link set dev eth0 up

# the default route: all other destinations are reached through the gateway
ip -n web route add default via 172.20.0.1 dev eth0 metric 50 proto 110
ip -n web -6 route add default via fd00:1::1 dev eth0 metric 50 proto 110

# a route given with --route
ip -n web route add blackhole 10.9.0.0/16 proto 110
ip -n web -6 route add unreachable fd00:9::/48 proto 110
ip -n web route add prohibit 10.8.0.0/16 metric 7 proto 110
ip -n web route add 10.7.0.0/16 via 172.20.0.1 dev eth0 metric 5 proto 110
ip -n web -6 route add fd00:7::/48 via fd00:1::1 dev eth0 metric 9 proto 110
