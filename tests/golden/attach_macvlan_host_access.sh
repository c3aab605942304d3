#!/bin/sh
set -eu

# a macvlan is a link with a MAC of its own on the wire of another
ip link add link eth0 name eth0 address 02:42:c0:00:02:09 mtu 1500 group 28259 netns web type macvlan mode bridge

# the alias says whose link it is
ip -n web link set dev eth0 alias 'netcord:lan0/web link=eth0'

# the network has an IPv6 subnet
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=0

# addresses are given, not announced by whoever speaks first
ip netns exec web sysctl -qw net/ipv6/conf/eth0/accept_ra=0

# neighbours are told of the endpoint's addresses, unasked
ip netns exec web sysctl -qw net/ipv4/conf/eth0/arp_notify=1
ip netns exec web sysctl -qw net/ipv6/conf/eth0/ndisc_notify=1

# programs expect to reach themselves on 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's address
ip -n web addr add 192.0.2.9/24 brd + dev eth0
ip -n web addr add 2001:db8::9/64 nodad dev eth0

# the link goes up last: from now on it is on the wire
ip -n web link set dev eth0 up

# everything else is reached by way of the gateway
ip -n web route add default via 192.0.2.2 dev eth0 proto 110
ip -n web -6 route add default via 2001:db8::2 dev eth0 proto 110

# the endpoint is told where the host is: nobody answers for it on this wire
ip -n web neigh replace 192.0.2.1 lladdr 02:6e:7c:65:0b:b1 dev eth0 nud permanent

# the host reaches the endpoint by its own macvlan, not by the parent
ip neigh replace 192.0.2.9 lladdr 02:42:c0:00:02:09 dev lan0 nud permanent
ip route add 192.0.2.9/32 dev lan0 src 192.0.2.1 proto 110

# the endpoint is told where the host is: nobody answers for it on this wire
ip -n web neigh replace 2001:db8::1 lladdr 02:6e:7c:65:0b:b1 dev eth0 nud permanent

# the host reaches the endpoint by its own macvlan, not by the parent
ip neigh replace 2001:db8::9 lladdr 02:42:c0:00:02:09 dev lan0 nud permanent
ip -6 route add 2001:db8::9/128 dev lan0 src 2001:db8::1 proto 110
