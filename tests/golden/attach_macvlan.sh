#!/bin/sh
set -eu

# a macvlan: a link with its own MAC that sends and receives through its parent
ip link add link eth0 name eth0 address 02:42:c0:00:02:09 mtu 1500 group 28259 netns web type macvlan mode bridge

# the alias marks the link as netcord's and names its owner
ip -n web link set dev eth0 alias 'netcord:lan0/web link=eth0'

# no IPv6 subnet: with IPv6 off, no neighbour discovery floods the bridge's ports
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=1

# the kernel announces addresses when the link goes up (gratuitous ARP, unsolicited NA)
ip netns exec web sysctl -qw net/ipv4/conf/eth0/arp_notify=1

# programs expect lo to be up and to have 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's IP address
ip -n web addr add 192.0.2.9/24 brd + dev eth0

# the link goes up last, fully configured: now it can send and receive
ip -n web link set dev eth0 up

# the default route: all other destinations are reached through the gateway
ip -n web route add default via 192.0.2.2 dev eth0 proto 110
