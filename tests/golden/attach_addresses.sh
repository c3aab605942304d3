#!/bin/sh
set -eu

# a veth pair is a virtual cable: one end in the bridge, the other inside the target
ip link add HOSTLINK address fe:42:ac:14:00:09 mtu 1500 master lab0 group 28259 type veth peer name eth0 address 02:42:ac:14:00:09 mtu 1500 netns web

# the alias marks the link as netcord's and names its owner
ip link set dev HOSTLINK alias netcord:lab0/web

# a bridge port needs no IP addresses of its own
sysctl -qw net/ipv6/conf/HOSTLINK/disable_ipv6=1

# the clsact qdisc: where tc filters on incoming frames are attached
tc qdisc add dev HOSTLINK clsact

# anti-spoofing filter: drop frames with another source MAC or IP address
tc filter add dev HOSTLINK ingress protocol all pref 1 handle 1 bpf direct-action bytecode '241,32 0 0 4294963248,21 0 238 0,32 0 0 6,21 0 236 37923860,40 0 0 10,21 0 234 9,40 0 0 12,21 3 0 2054,21 22 0 2048,21 36 0 34525,6 0 0 2,128 0 0 0,53 1 0 42,6 0 0 2,32 0 0 14,21 0 224 67584,40 0 0 18,21 0 222 1540,32 0 0 22,21 0 220 37923860,40 0 0 26,21 0 218 9,32 0 0 28,21 6 0 2886991877,21 5 0 2886991881,21 1 0 0,6 0 0 2,32 0 0 38,21 1 0 2886991877,21 0 210 2886991881,6 0 0 0,128 0 0 0,53 1 0 34,6 0 0 2,32 0 0 26,21 1 0 2886991877,21 0 203 2886991881,48 0 0 23,21 0 6 17,40 0 0 20,84 0 0 8191,21 0 3 0,177 0 0 14,72 0 0 14,21 195 0 67,6 0 0 0,128 0 0 0,53 1 0 54,6 0 0 2,32 0 0 22,21 0 7 4244635649,32 0 0 26,21 0 5 0,32 0 0 30,21 0 3 0,32 0 0 34,21 0 1 5,5 0 0 60,32 0 0 22,21 0 7 4244635649,32 0 0 26,21 0 5 0,32 0 0 30,21 0 3 0,32 0 0 34,21 0 1 9,5 0 0 51,32 0 0 22,21 0 7 4269801472,32 0 0 26,21 0 5 0,32 0 0 30,21 0 3 4369663,32 0 0 34,21 0 1 4262723593,5 0 0 42,32 0 0 22,21 0 7 0,32 0 0 26,21 0 5 0,32 0 0 30,21 0 3 0,32 0 0 34,21 0 1 0,5 0 0 1,6 0 0 2,48 0 0 20,21 0 152 58,48 0 0 54,21 0 150 135,32 0 0 62,21 0 7 4244635649,32 0 0 66,21 0 5 0,32 0 0 70,21 0 3 0,32 0 0 74,21 0 1 5,5 0 0 140,32 0 0 62,21 0 7 4244635649,32 0 0 66,21 0 5 0,32 0 0 70,21 0 3 0,32 0 0 74,21 0 1 9,5 0 0 131,32 0 0 62,21 0 7 4269801472,32 0 0 66,21 0 5 0,32 0 0 70,21 0 3 4369663,32 0 0 74,21 0 1 4262723593,5 0 0 122,6 0 0 2,1 0 0 0,48 0 0 20,21 85 0 58,21 81 0 17,21 64 0 44,21 3 0 0,21 2 0 43,21 1 0 60,5 0 0 75,80 0 0 54,2 0 0 0,80 0 0 55,4 0 0 1,100 0 0 3,12 0 0 0,7 0 0 0,96 0 0 0,21 70 0 58,21 66 0 17,21 49 0 44,21 3 0 0,21 2 0 43,21 1 0 60,5 0 0 60,80 0 0 54,2 0 0 0,80 0 0 55,4 0 0 1,100 0 0 3,12 0 0 0,7 0 0 0,96 0 0 0,21 55 0 58,21 51 0 17,21 34 0 44,21 3 0 0,21 2 0 43,21 1 0 60,5 0 0 45,80 0 0 54,2 0 0 0,80 0 0 55,4 0 0 1,100 0 0 3,12 0 0 0,7 0 0 0,96 0 0 0,21 40 0 58,21 36 0 17,21 19 0 44,21 3 0 0,21 2 0 43,21 1 0 60,5 0 0 30,80 0 0 54,2 0 0 0,80 0 0 55,4 0 0 1,100 0 0 3,12 0 0 0,7 0 0 0,96 0 0 0,21 25 0 58,21 21 0 17,21 57 0 44,21 56 0 0,21 55 0 43,21 54 0 60,5 0 0 15,72 0 0 56,84 0 0 65528,21 0 12 0,80 0 0 54,21 48 0 44,21 47 0 0,21 46 0 43,21 45 0 60,21 0 6 58,80 0 0 62,21 42 0 133,21 41 0 134,21 40 0 135,21 39 0 136,21 38 0 137,6 0 0 0,72 0 0 54,21 35 0 547,6 0 0 0,80 0 0 54,21 32 0 134,21 31 0 137,21 1 0 136,6 0 0 0,64 0 0 62,21 0 7 4244635649,64 0 0 66,21 0 5 0,64 0 0 70,21 0 3 0,64 0 0 74,21 0 1 5,5 0 0 19,64 0 0 62,21 0 7 4244635649,64 0 0 66,21 0 5 0,64 0 0 70,21 0 3 0,64 0 0 74,21 0 1 9,5 0 0 10,64 0 0 62,21 0 7 4269801472,64 0 0 66,21 0 5 0,64 0 0 70,21 0 3 4369663,64 0 0 74,21 0 1 4262723593,5 0 0 1,6 0 0 2,6 0 0 0,6 0 0 2'

# the port's protections are in place, so it may go up
ip link set dev HOSTLINK up

# the network has an IPv6 subnet, so the link needs IPv6
ip netns exec web sysctl -qw net/ipv6/conf/eth0/disable_ipv6=0

# netcord assigns the addresses: ignore router advertisements (no SLAAC)
ip netns exec web sysctl -qw net/ipv6/conf/eth0/accept_ra=0

# programs expect lo to be up and to have 127.0.0.1
ip -n web addr replace 127.0.0.1/8 scope host dev lo
ip -n web link set dev lo up

# the endpoint's IP address
ip -n web addr add 172.20.0.9/16 brd + dev eth0
ip -n web addr add 172.20.0.5/16 brd + dev eth0
ip -n web addr add fd00:1::5/64 nodad dev eth0
ip -n web addr add fd00:1::9/64 nodad dev eth0

# the inner end goes up last: with both ends up, the veth pair has carrier
ip -n web link set dev eth0 up

# the default route: all other destinations are reached through the gateway
ip -n web route add default via 172.20.0.1 dev eth0 proto 110
ip -n web -6 route add default via fd00:1::1 dev eth0 proto 110

# route_localnet: packets from the host's 127.0.0.1 can be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=1

# hairpin mode: with br_netfilter, an endpoint can reach its own published port
ip link set dev HOSTLINK type bridge_slave hairpin on

# DNAT: packets to the host's port go to the endpoint's address and port
nft add element inet netcord ports4 '{ tcp . 8080 comment "netcord:lab0/web" : 172.20.0.9 . 80 }'
nft add element inet netcord ports6 '{ tcp . 8080 comment "netcord:lab0/web" : fd00:1::9 . 80 }'
