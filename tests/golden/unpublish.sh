#!/bin/sh
set -eu

# remove the firewall rules that nothing needs any more
nft delete element inet netcord ports4 '{ tcp . 8080 }'

# turn the bridge port's flag off again
ip link set dev HOSTLINK type bridge_slave hairpin off

# set the kernel's default again
sysctl -qw net/ipv4/conf/lab0/route_localnet=0
