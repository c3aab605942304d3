#!/bin/sh
set -eu

# the bridge: the Ethernet switch that all endpoints plug into
ip link add lab0 address 02:42:ac:14:00:01 mtu 1501 group 28259 type bridge stp_state 0 forward_delay 0

# the alias marks the link as netcord's and names its owner
ip link set dev lab0 alias 'netcord:lab0 subnet=172.20.0.1/16 subnet=fd00:1::1/64 outbound=192.0.2.5 outbound=2001:db8::5'

# an MTU set explicitly stays; otherwise a bridge follows the smallest MTU of its ports
ip link set dev lab0 mtu 1500

# the host ignores router advertisements (RA) that endpoints send
sysctl -qw net/ipv6/conf/lab0/accept_ra=0

# the host ignores ICMPv6 redirects that endpoints send
sysctl -qw net/ipv6/conf/lab0/accept_redirects=0

# the network has an IPv6 subnet, so the link needs IPv6
sysctl -qw net/ipv6/conf/lab0/disable_ipv6=0

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
iptables -w -t raw -A NETCORD-PREROUTING -d 172.20.0.0/16 ! -i lab0 -m comment --comment 'netcord:lab0 direct 172.20.0.0/16' -j DROP

# endpoints must not reach the host's 127.0.0.1
iptables -w -t raw -A NETCORD-PREROUTING -d 127.0.0.0/8 -i lab0 -m comment --comment 'netcord:lab0 loopback 172.20.0.0/16' -j DROP

# only replies and traffic to published ports may enter from outside
iptables -w -t filter -A NETCORD-ISOLATE ! -i lab0 -o lab0 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 unpublished 172.20.0.0/16' -j DROP

# endpoints may send, even if the FORWARD policy is DROP
iptables -w -t filter -A NETCORD-FORWARD -i lab0 -m comment --comment 'netcord:lab0 out 172.20.0.0/16' -j ACCEPT

# replies are accepted, even if the FORWARD policy is DROP
iptables -w -t filter -A NETCORD-FORWARD -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in 172.20.0.0/16' -j ACCEPT

# SNAT: packets to other links get the address of --outbound-addr
iptables -w -t nat -I NETCORD-POSTROUTING 1 -s 172.20.0.0/16 ! -o lab0 -p tcp -m comment --comment 'netcord:lab0 masquerade tcp 172.20.0.0/16' -j SNAT --to-source 192.0.2.5:1024-65535
iptables -w -t nat -I NETCORD-POSTROUTING 1 -s 172.20.0.0/16 ! -o lab0 -p udp -m comment --comment 'netcord:lab0 masquerade udp 172.20.0.0/16' -j SNAT --to-source 192.0.2.5:1024-65535
iptables -w -t nat -A NETCORD-POSTROUTING -s 172.20.0.0/16 ! -o lab0 -m comment --comment 'netcord:lab0 masquerade 172.20.0.0/16' -j SNAT --to-source 192.0.2.5

# hairpin: replies to an endpoint that uses a published port must return through the host
iptables -w -t nat -A NETCORD-POSTROUTING -s 172.20.0.0/16 -o lab0 -m conntrack --ctstate DNAT -m comment --comment 'netcord:lab0 hairpin 172.20.0.0/16' -j MASQUERADE

# an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge
iptables -w -t nat -A NETCORD-POSTROUTING -s 127.0.0.0/8 -o lab0 -m comment --comment 'netcord:lab0 from loopback 172.20.0.0/16' -j MASQUERADE

# netcord's own chains, called after the rules of others
ip6tables -w -t raw -S NETCORD-PREROUTING >/dev/null 2>&1 || ip6tables -w -t raw -N NETCORD-PREROUTING
ip6tables -w -t raw -S NETCORD-FROM-OPEN >/dev/null 2>&1 || ip6tables -w -t raw -N NETCORD-FROM-OPEN
ip6tables -w -t filter -S NETCORD-FORWARD >/dev/null 2>&1 || ip6tables -w -t filter -N NETCORD-FORWARD
ip6tables -w -t filter -S NETCORD-ISOLATE >/dev/null 2>&1 || ip6tables -w -t filter -N NETCORD-ISOLATE
ip6tables -w -t filter -S NETCORD-FROM-OPEN >/dev/null 2>&1 || ip6tables -w -t filter -N NETCORD-FROM-OPEN
ip6tables -w -t nat -S NETCORD-DNAT >/dev/null 2>&1 || ip6tables -w -t nat -N NETCORD-DNAT
ip6tables -w -t nat -S NETCORD-POSTROUTING >/dev/null 2>&1 || ip6tables -w -t nat -N NETCORD-POSTROUTING
ip6tables -w -t raw -C NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of raw drops the rest' -j DROP 2>/dev/null || ip6tables -w -t raw -A NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of raw drops the rest' -j DROP
ip6tables -w -t filter -C NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP 2>/dev/null || ip6tables -w -t filter -A NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP
ip6tables -w -t raw -C PREROUTING -m comment --comment 'netcord: PREROUTING to NETCORD-PREROUTING' -j NETCORD-PREROUTING 2>/dev/null || ip6tables -w -t raw -A PREROUTING -m comment --comment 'netcord: PREROUTING to NETCORD-PREROUTING' -j NETCORD-PREROUTING
ip6tables -w -t filter -C NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE 2>/dev/null || ip6tables -w -t filter -I NETCORD-FORWARD 1 -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
ip6tables -w -t filter -C FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD 2>/dev/null || ip6tables -w -t filter -A FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD
ip6tables -w -t nat -C PREROUTING -m addrtype --dst-type LOCAL -m comment --comment 'netcord: PREROUTING to NETCORD-DNAT' -j NETCORD-DNAT 2>/dev/null || ip6tables -w -t nat -A PREROUTING -m addrtype --dst-type LOCAL -m comment --comment 'netcord: PREROUTING to NETCORD-DNAT' -j NETCORD-DNAT
ip6tables -w -t nat -C OUTPUT -m addrtype --dst-type LOCAL -m comment --comment 'netcord: OUTPUT to NETCORD-DNAT' -j NETCORD-DNAT 2>/dev/null || ip6tables -w -t nat -A OUTPUT -m addrtype --dst-type LOCAL -m comment --comment 'netcord: OUTPUT to NETCORD-DNAT' -j NETCORD-DNAT
ip6tables -w -t nat -C POSTROUTING -m comment --comment 'netcord: POSTROUTING to NETCORD-POSTROUTING' -j NETCORD-POSTROUTING 2>/dev/null || ip6tables -w -t nat -A POSTROUTING -m comment --comment 'netcord: POSTROUTING to NETCORD-POSTROUTING' -j NETCORD-POSTROUTING

# drop packets routed directly to endpoint addresses: only published ports are open
ip6tables -w -t raw -A NETCORD-PREROUTING -d fd00:1::/64 ! -i lab0 -m comment --comment 'netcord:lab0 direct fd00:1::/64' -j DROP

# only replies and traffic to published ports may enter from outside
ip6tables -w -t filter -A NETCORD-ISOLATE ! -i lab0 -o lab0 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 unpublished fd00:1::/64' -j DROP

# endpoints may send, even if the FORWARD policy is DROP
ip6tables -w -t filter -A NETCORD-FORWARD -i lab0 -m comment --comment 'netcord:lab0 out fd00:1::/64' -j ACCEPT

# replies are accepted, even if the FORWARD policy is DROP
ip6tables -w -t filter -A NETCORD-FORWARD -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in fd00:1::/64' -j ACCEPT

# SNAT: packets to other links get the address of --outbound-addr
ip6tables -w -t nat -I NETCORD-POSTROUTING 1 -s fd00:1::/64 ! -o lab0 -p tcp -m comment --comment 'netcord:lab0 masquerade tcp fd00:1::/64' -j SNAT --to-source '[2001:db8::5]:1024-65535'
ip6tables -w -t nat -I NETCORD-POSTROUTING 1 -s fd00:1::/64 ! -o lab0 -p udp -m comment --comment 'netcord:lab0 masquerade udp fd00:1::/64' -j SNAT --to-source '[2001:db8::5]:1024-65535'
ip6tables -w -t nat -A NETCORD-POSTROUTING -s fd00:1::/64 ! -o lab0 -m comment --comment 'netcord:lab0 masquerade fd00:1::/64' -j SNAT --to-source 2001:db8::5

# hairpin: replies to an endpoint that uses a published port must return through the host
ip6tables -w -t nat -A NETCORD-POSTROUTING -s fd00:1::/64 -o lab0 -m conntrack --ctstate DNAT -m comment --comment 'netcord:lab0 hairpin fd00:1::/64' -j MASQUERADE

# the bridge's address: the default gateway of the endpoints
ip addr add 172.20.0.1/16 brd + dev lab0
ip addr add fd00:1::1/64 nodad dev lab0

# the host forwards IPv4 packets between the bridge and its other links
sysctl -qw net/ipv4/ip_forward=1

# forwarding is also set per link: the host forwards what arrives from this bridge
sysctl -qw net/ipv4/conf/lab0/forwarding=1

# the host forwards IPv6 packets between the bridge and its other links
sysctl -qw net/ipv6/conf/all/forwarding=1

# forwarding is also set per link: the host forwards what arrives from this bridge
sysctl -qw net/ipv6/conf/lab0/forwarding=1

# a link carries no frames until it is up
ip link set dev lab0 up
