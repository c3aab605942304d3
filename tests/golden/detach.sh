#!/bin/sh
set -eu

# DNAT: packets to the host's port go to the endpoint's address and port
nft delete element inet netcord ports4 '{ tcp . 8080 }'

# route_localnet: packets from the host's 127.0.0.1 can be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=0

# programs expect lo to be up and to have 127.0.0.1
ip -n web link set dev lo down
ip -n web addr del 127.0.0.1/8 dev lo

# a veth pair is a virtual cable: one end in the bridge, the other inside the target
ip link del HOSTLINK
