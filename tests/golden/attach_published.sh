#!/bin/sh
set -eu

# a veth pair is a cable: one end in the bridge, the other inside the target
ip link add HOSTLINK address fe:42:ac:14:00:02 mtu 1500 master lab0 group 28259 up type veth peer name eth0 address 02:42:ac:14:00:02 mtu 1500 netns web

# the alias says whose link it is
ip link set dev HOSTLINK alias netcord:lab0/web

# a bridge port needs no addresses of its own
sysctl -qw net/ipv6/conf/HOSTLINK/disable_ipv6=1

# an IPv4 network needs no IPv6, and its neighbour discovery would be flooded to all ports
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=1

# programs expect to reach themselves on 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's address
ip -n web addr add 172.20.0.2/16 brd + dev eth0

# the inner end goes up last: now the cable has carrier
ip -n web link set dev eth0 up

# everything else is reached by way of the gateway
ip -n web route add default via 172.20.0.1 dev eth0 proto 110

# packets from this host's 127.0.0.1 may be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=1

# with br_netfilter, who calls its own published port is answered by its own port
ip link set dev HOSTLINK type bridge_slave hairpin on

# what comes for the host's port gets the endpoint's address instead
nft add element inet netcord ports4 '{ tcp . 8080 comment "netcord:lab0/web" : 172.20.0.2 . 80 }'
nft add element inet netcord ports4 '{ udp . 5353 comment "netcord:lab0/web" : 172.20.0.2 . 53 }'

# flows that conntrack remembers would go on as before
conntrack -D -f ipv4 -p udp --orig-port-dst 5353 2>/dev/null || true
