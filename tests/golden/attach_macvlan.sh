#!/bin/sh
set -eu

# a macvlan is a link with a MAC of its own on the wire of another
ip link add link eth0 name eth0 address 02:42:c0:00:02:09 mtu 1500 group 28259 netns web type macvlan mode bridge

# the alias says whose link it is
ip -n web link set dev eth0 alias 'netcord:lan0/web link=eth0'

# an IPv4 network needs no IPv6, and its neighbour discovery would be flooded to all ports
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=1

# neighbours are told of the endpoint's addresses, unasked
ip netns exec web sysctl -qw net/ipv4/conf/eth0/arp_notify=1

# programs expect to reach themselves on 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's address
ip -n web addr add 192.0.2.9/24 brd + dev eth0

# the link goes up last: from now on it is on the wire
ip -n web link set dev eth0 up

# everything else is reached by way of the gateway
ip -n web route add default via 192.0.2.2 dev eth0 proto 110
