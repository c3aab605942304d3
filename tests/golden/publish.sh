#!/bin/sh
set -eu

# route_localnet: packets from the host's 127.0.0.1 can be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=1

# hairpin mode: with br_netfilter, an endpoint can reach its own published port
ip link set dev HOSTLINK type bridge_slave hairpin on

# DNAT: packets to the host's port go to the endpoint's address and port
nft add element inet netcord ports4 '{ tcp . 8080 comment "netcord:lab0/web" : 172.20.0.2 . 80 }'
