#!/bin/sh
set -eu

# what comes for the host's port gets the endpoint's address instead
nft delete element inet netcord ports4 '{ tcp . 8080 }'

# packets from this host's 127.0.0.1 may be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=0

# programs expect to reach themselves on 127.0.0.1
ip -n web link set dev lo down
ip -n web addr del 127.0.0.1/8 dev lo

# a veth pair is a cable: one end in the bridge, the other inside the target
ip link del HOSTLINK
