#!/bin/sh
set -eu

# the bridge: the Ethernet switch that all endpoints plug into
ip link add pods address 02:42:0a:05:01:01 mtu 1451 group 28259 type bridge stp_state 0 forward_delay 0

# the alias marks the link as netcord's and names its owner
ip link set dev pods alias 'netcord:pods overlay=vxlan cluster=10.5.0.0/16 internal subnet=10.5.1.1/24'

# an MTU set explicitly stays; otherwise a bridge follows the smallest MTU of its ports
ip link set dev pods mtu 1450

# no IPv6 subnet: with IPv6 off, the link has no IPv6 attack surface
sysctl -qw net/ipv6/conf/pods/disable_ipv6=1

# netcord's own chains, called after the rules of others
iptables -w -t raw -S NETCORD-PREROUTING >/dev/null 2>&1 || iptables -w -t raw -N NETCORD-PREROUTING
iptables -w -t raw -S NETCORD-FROM-OPEN >/dev/null 2>&1 || iptables -w -t raw -N NETCORD-FROM-OPEN
iptables -w -t filter -S NETCORD-FORWARD >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-FORWARD
iptables -w -t filter -S NETCORD-ISOLATE >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-ISOLATE
iptables -w -t filter -S NETCORD-FROM-OPEN >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-FROM-OPEN
iptables -w -t nat -S NETCORD-DNAT >/dev/null 2>&1 || iptables -w -t nat -N NETCORD-DNAT
iptables -w -t nat -S NETCORD-POSTROUTING >/dev/null 2>&1 || iptables -w -t nat -N NETCORD-POSTROUTING
iptables -w -t raw -C NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of raw drops the rest' -j DROP 2>/dev/null || iptables -w -t raw -A NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of raw drops the rest' -j DROP
iptables -w -t filter -C NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP 2>/dev/null || iptables -w -t filter -A NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP
iptables -w -t raw -C PREROUTING -m comment --comment 'netcord: PREROUTING to NETCORD-PREROUTING' -j NETCORD-PREROUTING 2>/dev/null || iptables -w -t raw -A PREROUTING -m comment --comment 'netcord: PREROUTING to NETCORD-PREROUTING' -j NETCORD-PREROUTING
iptables -w -t filter -C NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE 2>/dev/null || iptables -w -t filter -I NETCORD-FORWARD 1 -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
iptables -w -t filter -C FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD 2>/dev/null || iptables -w -t filter -A FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD
iptables -w -t nat -C PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment 'netcord: PREROUTING to NETCORD-DNAT' -j NETCORD-DNAT 2>/dev/null || iptables -w -t nat -A PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment 'netcord: PREROUTING to NETCORD-DNAT' -j NETCORD-DNAT
iptables -w -t nat -C OUTPUT -m addrtype --dst-type LOCAL -m comment --comment 'netcord: OUTPUT to NETCORD-DNAT' -j NETCORD-DNAT 2>/dev/null || iptables -w -t nat -A OUTPUT -m addrtype --dst-type LOCAL -m comment --comment 'netcord: OUTPUT to NETCORD-DNAT' -j NETCORD-DNAT
iptables -w -t nat -C POSTROUTING -m comment --comment 'netcord: POSTROUTING to NETCORD-POSTROUTING' -j NETCORD-POSTROUTING 2>/dev/null || iptables -w -t nat -A POSTROUTING -m comment --comment 'netcord: POSTROUTING to NETCORD-POSTROUTING' -j NETCORD-POSTROUTING

# drop packets routed directly to endpoint addresses: only published ports are open
iptables -w -t raw -A NETCORD-PREROUTING -d 10.5.1.0/24 ! -s 10.5.0.0/16 ! -i pods -m comment --comment 'netcord:pods direct 10.5.1.0/24' -j DROP

# endpoints must not reach the host's 127.0.0.1
iptables -w -t raw -A NETCORD-PREROUTING -d 127.0.0.0/8 -i pods -m comment --comment 'netcord:pods loopback 10.5.1.0/24' -j DROP

# an internal network sends nothing outside
iptables -w -t filter -A NETCORD-ISOLATE -i pods ! -o pods ! -d 10.5.0.0/16 -m comment --comment 'netcord:pods internal out 10.5.1.0/24' -j DROP

# only replies and traffic to published ports may enter from outside
iptables -w -t filter -A NETCORD-ISOLATE ! -i pods -o pods ! -s 10.5.0.0/16 -m comment --comment 'netcord:pods unpublished 10.5.1.0/24' -j DROP

# endpoints may send, even if the FORWARD policy is DROP
iptables -w -t filter -A NETCORD-FORWARD -i pods -m comment --comment 'netcord:pods out 10.5.1.0/24' -j ACCEPT

# replies are accepted, even if the FORWARD policy is DROP
iptables -w -t filter -A NETCORD-FORWARD -o pods -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:pods in 10.5.1.0/24' -j ACCEPT

# endpoints on other hosts are accepted, even if the FORWARD policy is DROP
iptables -w -t filter -A NETCORD-FORWARD -o pods -s 10.5.0.0/16 -m comment --comment 'netcord:pods from other hosts 10.5.1.0/24' -j ACCEPT

# hairpin: replies to an endpoint that uses a published port must return through the host
iptables -w -t nat -A NETCORD-POSTROUTING -s 10.5.1.0/24 -o pods -m conntrack --ctstate DNAT -m comment --comment 'netcord:pods hairpin 10.5.1.0/24' -j MASQUERADE

# an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge
iptables -w -t nat -A NETCORD-POSTROUTING -s 127.0.0.0/8 -o pods -m comment --comment 'netcord:pods from loopback 10.5.1.0/24' -j MASQUERADE

# the bridge's address: the default gateway of the endpoints
ip addr add 10.5.1.1/24 brd + dev pods

# the host forwards IPv4 packets between the bridge and its other links
sysctl -qw net/ipv4/ip_forward=1

# forwarding is also set per link: the host forwards what arrives from this bridge
sysctl -qw net/ipv4/conf/pods/forwarding=1

# a link carries no frames until it is up
ip link set dev pods up

# no host has the rest of the network's block: without this route, packets to it would leave by the default route
ip route add unreachable 10.5.0.0/16 metric 65535 proto 110

# the VXLAN link (VTEP): it sends frames to other hosts in UDP packets
ip link add vx-pods address 02:76:c0:00:02:01 mtu 1450 group 28259 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning

# the alias marks the link as netcord's and names its owner
ip link set dev vx-pods alias netcord:pods

# no IPv6 subnet: with IPv6 off, the link has no IPv6 attack surface
sysctl -qw net/ipv6/conf/vx-pods/disable_ipv6=1

# rp_filter=2 (loose): a host that routes directly replies by another link
sysctl -qw net/ipv4/conf/vx-pods/rp_filter=2

# forwarding is also set per link: the host forwards what the tunnel delivers
sysctl -qw net/ipv4/conf/vx-pods/forwarding=1

# the address that this host's own packets to other hosts' endpoints come from
ip addr add 10.5.1.0/32 dev vx-pods

# a link carries no frames until it is up
ip link set dev vx-pods up

# the MAC of the other host's VTEP: a permanent entry, so that nobody is asked (ARP, NDP)
ip neigh replace 10.5.2.0 lladdr 02:76:c0:00:02:02 dev vx-pods nud permanent protocol 110

# the FDB entry: frames for this VTEP go to this host, in UDP packets
bridge fdb replace 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self permanent

# the route to the other host's endpoints, through its VTEP
ip route add 10.5.2.0/24 via 10.5.2.0 dev vx-pods onlink proto 110
