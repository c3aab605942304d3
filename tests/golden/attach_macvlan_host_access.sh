#!/bin/sh
set -eu

# a macvlan: a link with its own MAC that sends and receives through its parent
ip link add link eth0 name eth0 address 02:42:c0:00:02:09 mtu 1500 group 28259 netns web type macvlan mode bridge

# the alias marks the link as netcord's and names its owner
ip -n web link set dev eth0 alias 'netcord:lan0/web link=eth0'

# the network has an IPv6 subnet, so the link needs IPv6
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=0

# netcord assigns the addresses: ignore router advertisements (no SLAAC)
ip netns exec web sysctl -qw net/ipv6/conf/eth0/accept_ra=0

# the kernel announces addresses when the link goes up (gratuitous ARP, unsolicited NA)
ip netns exec web sysctl -qw net/ipv4/conf/eth0/arp_notify=1
ip netns exec web sysctl -qw net/ipv6/conf/eth0/ndisc_notify=1

# programs expect lo to be up and to have 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's IP address
ip -n web addr add 192.0.2.9/24 brd + dev eth0
ip -n web addr add 2001:db8::9/64 nodad dev eth0

# the link goes up last, fully configured: now it can send and receive
ip -n web link set dev eth0 up

# the default route: all other destinations are reached through the gateway
ip -n web route add default via 192.0.2.2 dev eth0 proto 110
ip -n web -6 route add default via 2001:db8::2 dev eth0 proto 110

# a permanent neighbour entry: the host's macvlan does not answer ARP or NDP
ip -n web neigh replace 192.0.2.1 lladdr 02:6e:7c:65:0b:b1 dev eth0 nud permanent protocol 110

# the host reaches the endpoint through its own macvlan, not through the parent
ip neigh replace 192.0.2.9 lladdr 02:42:c0:00:02:09 dev lan0 nud permanent protocol 110
ip route add 192.0.2.9/32 dev lan0 src 192.0.2.1 proto 110

# a permanent neighbour entry: the host's macvlan does not answer ARP or NDP
ip -n web neigh replace 2001:db8::1 lladdr 02:6e:7c:65:0b:b1 dev eth0 nud permanent protocol 110

# the host reaches the endpoint through its own macvlan, not through the parent
ip neigh replace 2001:db8::9 lladdr 02:42:c0:00:02:09 dev lan0 nud permanent protocol 110
ip -6 route add 2001:db8::9/128 dev lan0 src 2001:db8::1 proto 110
