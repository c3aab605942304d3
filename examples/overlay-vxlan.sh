#!/bin/sh
# Lesson 11.
# VXLAN: endpoints on two hosts reach each other by their own addresses, in UDP packets between the
# hosts. A capture shows the outer and the inner packet.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"
. "$(dirname "$0")/two-hosts"

say 'Each host runs one command: the subnet of all, its own part of it, and who has the other part.'
expect 10.5.1.0/24 on one overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 \
    --peer 10.5.2.0/24=192.0.2.2
expect 10.5.2.0/24 on two overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.2.0/24 \
    --peer 10.5.1.0/24=192.0.2.1

say 'The VTEP: a link whose frames travel in UDP packets. Its MAC is made of the address of its host,
so each host knows that of the other.'
expect 'vxlan id 1 local 192.0.2.1 dev eth0' at one ip -details link show dev vx-pods

say 'Three questions, three tables. Where to? The route. Which MAC has the next hop? The neighbour
entry. At which host is that MAC? The forwarding table (FDB).'
expect '10.5.2.0/24 via 10.5.2.0 dev vx-pods' at one ip route
expect '10.5.2.0 lladdr 02:76:c0:00:02:02 PERMANENT' at one ip neigh show dev vx-pods
expect '02:76:c0:00:02:02 dst 192.0.2.2' at one bridge fdb show dev vx-pods
expect vx-pods on one peers pods

say 'An endpoint on each host.'
run netcord none web
run netcord none db
expect 10.5.1.2 on one attach pods web
expect 10.5.2.2 on two attach pods db

say 'The second host captures what arrives while the one pings the other: first the outer packet on
eth0, with the addresses of the hosts and the UDP port 8472, then the inner one that the VTEP took
out of it, with the addresses of the endpoints.'
show at two nft monitor trace
at two nft -f - <<'END'
table ip capture {
    chain arriving {
        type filter hook prerouting priority -350
        udp dport 8472 meta nftrace set 1
        iifname "vx-pods" meta nftrace set 1
    }
}
END
at two nft monitor trace >/run/captured &
capture=$!
tries=0
until grep -qs 'ip saddr 10.5.1.2' /run/captured; do
    [ "$((tries += 1))" -le 20 ] || fail 'nothing was captured'
    netcord container web -- ping -q -c 1 -W 5 10.5.2.2 >/run/pinged
done
kill "$capture"
expect 'ip saddr 192.0.2.1 ip daddr 192.0.2.2' grep -m 1 'packet: iif "eth0"' /run/captured
expect 'ip saddr 10.5.1.2 ip daddr 10.5.2.2' grep -m 1 'packet: iif "vx-pods"' /run/captured
run at two nft delete table ip capture

say 'Break it: without the FDB entry nobody knows at which host the MAC is.'
run at one bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self
refuse netcord container web -- ping -c 1 -W 1 10.5.2.2
expect incomplete on one peers pods
refuse on one repair --check
run on one repair
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 10.5.2.2

say 'All of it goes with the network.'
run on one detach pods web
run on one rm pods
nothing at one ip route show type unicast proto 110
run on two detach pods db
run on two rm pods
run netcord rm netns:web netns:db

answer 'Why is the MTU of the overlay 50 bytes smaller than that of eth0?' \
    'Each frame travels in a packet of the hosts: 20 bytes of IPv4, 8 of UDP, 8 of VXLAN and 14 of the inner Ethernet header.'
