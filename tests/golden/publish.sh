#!/bin/sh
set -eu

# packets from this host's 127.0.0.1 may be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=1

# with br_netfilter, who calls its own published port is answered by its own port
ip link set dev HOSTLINK type bridge_slave hairpin on

# what comes for the host's port gets the endpoint's address instead
nft add element inet netcord ports4 '{ tcp . 8080 comment "netcord:lab0/web" : 172.20.0.2 . 80 }'
