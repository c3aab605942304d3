#!/bin/sh
set -eu

# a veth pair is a cable: one end in the bridge, the other inside the target
ip link add HOSTLINK address fe:42:ac:11:00:09 mtu 1500 master docker0 group 28259 up type veth peer name eth0 address 02:42:ac:11:00:09 mtu 1500 netns web

# the alias says whose link it is
ip link set dev HOSTLINK alias netcord:docker0/web

# a bridge port needs no addresses of its own
sysctl -qw net/ipv6/conf/HOSTLINK/disable_ipv6=1

# an IPv4 network needs no IPv6, and its neighbour discovery would be flooded to all ports
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=1

# neighbours are told of the endpoint's addresses, unasked
ip netns exec web sysctl -qw net/ipv4/conf/eth0/arp_notify=1

# programs expect to reach themselves on 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's address
ip -n web addr add 172.17.0.9/16 brd + dev eth0

# the inner end goes up last: now the cable has carrier
ip -n web link set dev eth0 up

# everything else is reached by way of the gateway
ip -n web route add default via 172.17.0.1 dev eth0 proto 110

# who remembers a former owner of the address learns of this one
sleep 0.1; ip -n web link set dev eth0 address 02:42:ac:11:00:09
