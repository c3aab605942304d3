#!/bin/sh
set -eu

# netcord's own chains, called after the rules of others
# no change: iptables -w -t raw -S NETCORD-PREROUTING >/dev/null 2>&1 || iptables -w -t raw -N NETCORD-PREROUTING
# no change: iptables -w -t raw -S NETCORD-FROM-OPEN >/dev/null 2>&1 || iptables -w -t raw -N NETCORD-FROM-OPEN
# no change: iptables -w -t filter -S NETCORD-FORWARD >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-FORWARD
# no change: iptables -w -t filter -S NETCORD-ISOLATE >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-ISOLATE
# no change: iptables -w -t filter -S NETCORD-FROM-OPEN >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-FROM-OPEN
# no change: iptables -w -t nat -S NETCORD-DNAT >/dev/null 2>&1 || iptables -w -t nat -N NETCORD-DNAT
# no change: iptables -w -t nat -S NETCORD-POSTROUTING >/dev/null 2>&1 || iptables -w -t nat -N NETCORD-POSTROUTING
# no change: iptables -w -t raw -C NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of raw drops the rest' -j DROP 2>/dev/null || iptables -w -t raw -A NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of raw drops the rest' -j DROP
# no change: iptables -w -t filter -C NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP 2>/dev/null || iptables -w -t filter -A NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP
# no change: iptables -w -t raw -C PREROUTING -m comment --comment 'netcord: PREROUTING to NETCORD-PREROUTING' -j NETCORD-PREROUTING 2>/dev/null || iptables -w -t raw -A PREROUTING -m comment --comment 'netcord: PREROUTING to NETCORD-PREROUTING' -j NETCORD-PREROUTING
# no change: iptables -w -t filter -C NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE 2>/dev/null || iptables -w -t filter -I NETCORD-FORWARD 1 -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
# no change: iptables -w -t filter -C FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD 2>/dev/null || iptables -w -t filter -A FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD
# no change: iptables -w -t nat -C PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment 'netcord: PREROUTING to NETCORD-DNAT' -j NETCORD-DNAT 2>/dev/null || iptables -w -t nat -A PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment 'netcord: PREROUTING to NETCORD-DNAT' -j NETCORD-DNAT
# no change: iptables -w -t nat -C OUTPUT -m addrtype --dst-type LOCAL -m comment --comment 'netcord: OUTPUT to NETCORD-DNAT' -j NETCORD-DNAT 2>/dev/null || iptables -w -t nat -A OUTPUT -m addrtype --dst-type LOCAL -m comment --comment 'netcord: OUTPUT to NETCORD-DNAT' -j NETCORD-DNAT
# no change: iptables -w -t nat -C POSTROUTING -m comment --comment 'netcord: POSTROUTING to NETCORD-POSTROUTING' -j NETCORD-POSTROUTING 2>/dev/null || iptables -w -t nat -A POSTROUTING -m comment --comment 'netcord: POSTROUTING to NETCORD-POSTROUTING' -j NETCORD-POSTROUTING

# drop packets routed directly to endpoint addresses: only published ports are open
# no change: iptables -w -t raw -A NETCORD-PREROUTING -d 172.17.0.0/16 ! -i lab0 -m comment --comment 'netcord:lab0 direct 172.17.0.0/16' -j DROP

# endpoints must not reach the host's 127.0.0.1
# no change: iptables -w -t raw -A NETCORD-PREROUTING -d 127.0.0.0/8 -i lab0 -m comment --comment 'netcord:lab0 loopback 172.17.0.0/16' -j DROP

# only replies and traffic to published ports may enter from outside
# no change: iptables -w -t filter -A NETCORD-ISOLATE ! -i lab0 -o lab0 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 unpublished 172.17.0.0/16' -j DROP

# endpoints may send, even if the FORWARD policy is DROP
# no change: iptables -w -t filter -A NETCORD-FORWARD -i lab0 -m comment --comment 'netcord:lab0 out 172.17.0.0/16' -j ACCEPT

# replies are accepted, even if the FORWARD policy is DROP
# no change: iptables -w -t filter -A NETCORD-FORWARD -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in 172.17.0.0/16' -j ACCEPT

# masquerade (SNAT): packets to other links get that link's address, so replies return
# no change: iptables -w -t nat -I NETCORD-POSTROUTING 1 -s 172.17.0.0/16 ! -o lab0 -p tcp -m comment --comment 'netcord:lab0 masquerade tcp 172.17.0.0/16' -j MASQUERADE --to-ports 1024-65535
# no change: iptables -w -t nat -I NETCORD-POSTROUTING 1 -s 172.17.0.0/16 ! -o lab0 -p udp -m comment --comment 'netcord:lab0 masquerade udp 172.17.0.0/16' -j MASQUERADE --to-ports 1024-65535

# masquerade for protocols without ports, such as ICMP
# no change: iptables -w -t nat -A NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -m comment --comment 'netcord:lab0 masquerade 172.17.0.0/16' -j MASQUERADE

# hairpin: replies to an endpoint that uses a published port must return through the host
# no change: iptables -w -t nat -A NETCORD-POSTROUTING -s 172.17.0.0/16 -o lab0 -m conntrack --ctstate DNAT -m comment --comment 'netcord:lab0 hairpin 172.17.0.0/16' -j MASQUERADE

# an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge
# no change: iptables -w -t nat -A NETCORD-POSTROUTING -s 127.0.0.0/8 -o lab0 -m comment --comment 'netcord:lab0 from loopback 172.17.0.0/16' -j MASQUERADE

# route_localnet: packets from the host's 127.0.0.1 can be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=1

# hairpin mode: with br_netfilter, an endpoint can reach its own published port
ip link set dev HOSTLINK type bridge_slave hairpin on

# DNAT: packets to the host's port go to the endpoint's address and port
iptables -w -t nat -A NETCORD-DNAT -p tcp --dport 8080 -m comment --comment 'netcord:lab0/web publish 0.0.0.0:8080 -> 172.17.0.2:80/tcp' -j DNAT --to-destination 172.17.0.2:80
iptables -w -t nat -A NETCORD-DNAT -p udp --dport 5000:5004 -m comment --comment 'netcord:lab0/web publish 0.0.0.0:5000-5004 -> 172.17.0.2:6000-6004/udp' -j DNAT --to-destination 172.17.0.2:6000-6004/5000

# conntrack entries of earlier UDP flows would bypass the new rule
for port in $(seq 5000 5004); do conntrack -D -f ipv4 -p udp --orig-port-dst "$port" 2>/dev/null || true; done
