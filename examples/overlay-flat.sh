#!/bin/sh
# Lesson 16.
# A flat network, as docker's overlay networks: the endpoints of all hosts are in one subnet and one
# Ethernet segment. First by hand, then with netcord and etcd.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"
. "$(dirname "$0")/two-hosts"

say 'By hand. On each host a bridge, and as a port of it a VXLAN link, which sends frames to other hosts.
It learns nothing, and it answers ARP requests itself (proxy). Both bridges have the same gateway.'
for number in 1:one 2:two; do
    host=${number#*:}
    at "$host" ip link add pods address 02:42:0a:05:00:01 type bridge
    at "$host" ip address add 10.5.0.1/16 dev pods
    at "$host" ip link add vx0 master pods type vxlan id 42 local "192.0.2.${number%:*}" dev eth0 \
        dstport 8472 nolearning proxy
    at "$host" ip link set vx0 type bridge_slave learning off flood off
    at "$host" ip link set pods up
    at "$host" ip link set vx0 up
done
expect 'nolearning proxy' at one ip -details link show vx0

say 'An endpoint on each host, both in 10.5.0.0/16.'
for number in 2:web:one 3:db:two; do
    host=${number##*:} name=${number#*:} name=${name%:*}
    netcord none "$name" >/dev/null
    at "$host" ip link add "to-$name" type veth peer name eth0 \
        address "02:42:0a:05:00:0${number%%:*}" netns "/run/netns/$name"
    at "$host" ip link set "to-$name" master pods up
    ip -n "$name" address add "10.5.0.${number%%:*}/16" dev eth0
    ip -n "$name" link set eth0 up
done

say 'Nobody has told the first host where 10.5.0.3 is, and its VXLAN link asks nobody.'
refuse netcord container web -- ping -c 1 -W 1 10.5.0.3

say 'Each host needs two entries for an endpoint of the other one. Which MAC has the address? From this
entry, the VXLAN link answers ARP requests.'
run at one ip neigh replace 10.5.0.3 lladdr 02:42:0a:05:00:03 dev vx0 nud permanent
run at two ip neigh replace 10.5.0.2 lladdr 02:42:0a:05:00:02 dev vx0 nud permanent
say 'And at which host is the MAC? The bridge sends the frame to its port vx0 (master), and that link
puts it into a UDP packet to the host (self).'
run at one bridge fdb replace 02:42:0a:05:00:03 dev vx0 dst 192.0.2.2 self master static
run at two bridge fdb replace 02:42:0a:05:00:02 dev vx0 dst 192.0.2.1 self master static
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 10.5.0.3
expect 'ttl=64' netcord container web -- ping -c 1 -W 5 10.5.0.3
say 'No router was passed: for the endpoints, they are on one switch.'

for host in one two; do
    at "$host" ip link del vx0
    at "$host" ip link del pods
done
netcord rm netns:web netns:db >/dev/null

say 'With netcord, the entries come from a store. etcd runs on the first host.'
. "$(dirname "$0")/etcd"
expect 10.5.0.0/16 on one overlay pods --store $store --flat --subnet 10.5.0.0/16
expect 10.5.0.0/16 on two overlay pods --store $store
run netcord none web
run netcord none db
expect 10.5.0.2 on one attach pods web
expect 10.5.0.3 on two attach pods db

say 'An address belongs to one endpoint in the whole network: who writes its key first has it.'
expect '"host":"192.0.2.2"' keys get /netcord/pods/x-netcord/endpoints/10.5.0.3
run netcord none other
refuse on one attach pods other --ip 10.5.0.3

say 'netcord-agent, one process on each host, follows the keys, and makes the two entries.'
is_known() { at one ip neigh show 10.5.0.3 dev vx-pods | grep PERMANENT; }
await is_known
expect 'lladdr 02:42:0a:05:00:03 PERMANENT' at one ip neigh show dev vx-pods
expect '02:42:0a:05:00:03 dst 192.0.2.2 self static' at one bridge fdb show dev vx-pods
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 10.5.0.3
expect '1 address' on one peers pods

say 'An endpoint moves: it leaves one host, and another endpoint gets its address on the other one.'
run on two detach pods db
expect 10.5.0.3 on one attach pods other --ip 10.5.0.3
nothing at one ip neigh show 10.5.0.3 dev vx-pods
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 10.5.0.3

say 'All of it goes with the network.'
run on one detach pods web other
run on one rm pods
run on two rm pods
nothing keys get --keys-only --prefix /netcord/pods/x-netcord
run netcord rm netns:web netns:db netns:other
kill "$etcd"

answer 'Both hosts have the gateway 10.5.0.1, with the same MAC. Why is that no conflict?' \
    'ARP requests for it are answered by the own host, and the VXLAN link lets none pass to the other one.'
