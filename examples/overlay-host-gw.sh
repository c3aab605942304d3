#!/bin/sh
# Lesson 10.
# Host-gw: endpoints on two hosts reach each other by their own addresses; the next hop is the other
# host. There is no tunnel, so all hosts are on one wire.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"
. "$(dirname "$0")/two-hosts"

say 'Each host runs one command: the subnet of all, its own part of it, and who has the other part.'
expect 10.5.1.0/24 on one overlay pods --backend host-gw --subnet 10.5.0.0/16 \
    --host-subnet 10.5.1.0/24 --peer 10.5.2.0/24=192.0.2.2
expect 10.5.2.0/24 on two overlay pods --backend host-gw --subnet 10.5.0.0/16 \
    --host-subnet 10.5.2.0/24 --peer 10.5.1.0/24=192.0.2.1

say 'What it does is one route for each other host. The bridge and its rules are those of any network.'
expect '10.5.2.0/24 via 192.0.2.2 dev eth0' at one ip route
expect eth0 on one peers pods

say 'An endpoint on each host.'
run netcord none web
run netcord none db
expect 10.5.1.2 on one attach pods web
expect 10.5.2.2 on two attach pods db
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 10.5.2.2
say 'A packet passes two routers, the two hosts: its TTL is 62 when it arrives.'
expect ttl=62 netcord container web -- ping -c 1 -W 5 10.5.2.2

say 'Break it: a link that goes down loses its routes, and does not get them back by going up.'
run at one ip link set eth0 down
run at one ip link set eth0 up
refuse netcord container web -- ping -c 1 -W 1 10.5.2.2
refuse on one repair --check
run on one repair
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 10.5.2.2

say 'A third host? The same command with the new list; only what differs changes.'
run on one --dry-run overlay pods --backend host-gw --subnet 10.5.0.0/16 \
    --host-subnet 10.5.1.0/24 --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.3.0/24=192.0.2.3

say 'All of it goes with the network.'
run on one detach pods web
run on one rm pods
nothing at one ip route show type unicast proto 110
run on two detach pods db
run on two rm pods
run netcord rm netns:web netns:db

answer 'Why must all hosts be on one wire?' \
    'A gateway must be a neighbour: the packet keeps its addresses, and only the frame is addressed to the next host. A router in between knows no route to the subnets of endpoints.'
