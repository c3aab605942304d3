#!/bin/sh
set -eu

# remove the firewall rules that nothing needs any more
nft delete element inet netcord ports4 '{ tcp . 8080 }'

# set the kernel's default again
sysctl -qw net/ipv4/conf/lab0/route_localnet=0

# take the link down again
ip -n web link set dev lo down

# remove the address
ip -n web addr del 127.0.0.1/8 dev lo

# delete one end of a veth pair: the other goes with it, and the addresses and routes of both
ip link del HOSTLINK
