#!/bin/sh
set -eu

# route_localnet: packets from the host's 127.0.0.1 can be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=1

# hairpin mode: with br_netfilter, an endpoint can reach its own published port
ip link set dev HOSTLINK type bridge_slave hairpin on

# DNAT: packets to the host's port go to the endpoint's address and port
nft add element inet netcord ports4 '{ udp . 5000 comment "netcord:lab0/web 5000-5004" : 172.20.0.2 . 6000, udp . 5001 comment "netcord:lab0/web 5000-5004" : 172.20.0.2 . 6001, udp . 5002 comment "netcord:lab0/web 5000-5004" : 172.20.0.2 . 6002, udp . 5003 comment "netcord:lab0/web 5000-5004" : 172.20.0.2 . 6003, udp . 5004 comment "netcord:lab0/web 5000-5004" : 172.20.0.2 . 6004 }'

# conntrack entries of earlier UDP flows would bypass the new rule
for port in $(seq 5000 5004); do conntrack -D -f ipv4 -p udp --orig-port-dst "$port" 2>/dev/null || true; done
