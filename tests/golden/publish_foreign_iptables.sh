#!/bin/sh
set -eu

# the host forwards IPv4 packets between the bridge and its other links
sysctl -qw net/ipv4/ip_forward=1

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

# traffic to published ports is accepted, even if the FORWARD policy is DROP
iptables -w -t filter -C NETCORD-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:docker0 in 172.17.0.0/16' -j ACCEPT 2>/dev/null || iptables -w -t filter -A NETCORD-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:docker0 in 172.17.0.0/16' -j ACCEPT

# replies are accepted, even if the FORWARD policy is DROP
iptables -w -t filter -C NETCORD-FORWARD -i docker0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:docker0 out 172.17.0.0/16' -j ACCEPT 2>/dev/null || iptables -w -t filter -A NETCORD-FORWARD -i docker0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:docker0 out 172.17.0.0/16' -j ACCEPT

# hairpin: replies to an endpoint that uses a published port must return through the host
iptables -w -t nat -C NETCORD-POSTROUTING -s 172.17.0.0/16 -o docker0 -m conntrack --ctstate DNAT -m comment --comment 'netcord:docker0 hairpin 172.17.0.0/16' -j MASQUERADE 2>/dev/null || iptables -w -t nat -A NETCORD-POSTROUTING -s 172.17.0.0/16 -o docker0 -m conntrack --ctstate DNAT -m comment --comment 'netcord:docker0 hairpin 172.17.0.0/16' -j MASQUERADE

# an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge
iptables -w -t nat -C NETCORD-POSTROUTING -s 127.0.0.0/8 -o docker0 -m comment --comment 'netcord:docker0 from loopback 172.17.0.0/16' -j MASQUERADE 2>/dev/null || iptables -w -t nat -A NETCORD-POSTROUTING -s 127.0.0.0/8 -o docker0 -m comment --comment 'netcord:docker0 from loopback 172.17.0.0/16' -j MASQUERADE

# hairpin mode: with br_netfilter, an endpoint can reach its own published port
ip link set dev HOSTLINK type bridge_slave hairpin on

# DNAT: packets to the host's port go to the endpoint's address and port
iptables -w -t nat -A NETCORD-DNAT -p tcp --dport 8080 -m comment --comment 'netcord:docker0/web publish 0.0.0.0:8080 -> 172.17.0.2:80/tcp' -j DNAT --to-destination 172.17.0.2:80
