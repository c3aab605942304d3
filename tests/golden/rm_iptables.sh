#!/bin/sh
set -eu

# an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge
iptables -w -t nat -D NETCORD-POSTROUTING -s 127.0.0.0/8 -o lab0 -m comment --comment 'netcord:lab0 from loopback 172.17.0.0/16' -j MASQUERADE

# hairpin: replies to an endpoint that uses a published port must return through the host
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 -o lab0 -m conntrack --ctstate DNAT -m comment --comment 'netcord:lab0 hairpin 172.17.0.0/16' -j MASQUERADE

# masquerade for protocols without ports, such as ICMP
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -m comment --comment 'netcord:lab0 masquerade 172.17.0.0/16' -j MASQUERADE

# masquerade (SNAT): packets to other links get that link's address, so replies return
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -p udp -m comment --comment 'netcord:lab0 masquerade udp 172.17.0.0/16' -j MASQUERADE --to-ports 1024-65535
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -p tcp -m comment --comment 'netcord:lab0 masquerade tcp 172.17.0.0/16' -j MASQUERADE --to-ports 1024-65535

# replies are accepted, even if the FORWARD policy is DROP
iptables -w -t filter -D NETCORD-FORWARD -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in 172.17.0.0/16' -j ACCEPT

# endpoints may send, even if the FORWARD policy is DROP
iptables -w -t filter -D NETCORD-FORWARD -i lab0 -m comment --comment 'netcord:lab0 out 172.17.0.0/16' -j ACCEPT

# only replies and traffic to published ports may enter from outside
iptables -w -t filter -D NETCORD-ISOLATE ! -i lab0 -o lab0 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 unpublished 172.17.0.0/16' -j DROP

# endpoints must not reach the host's 127.0.0.1
iptables -w -t raw -D NETCORD-PREROUTING -d 127.0.0.0/8 -i lab0 -m comment --comment 'netcord:lab0 loopback 172.17.0.0/16' -j DROP

# drop packets routed directly to endpoint addresses: only published ports are open
iptables -w -t raw -D NETCORD-PREROUTING -d 172.17.0.0/16 ! -i lab0 -m comment --comment 'netcord:lab0 direct 172.17.0.0/16' -j DROP

# netcord's own chains, called after the rules of others
iptables -w -t nat -D POSTROUTING -m comment --comment 'netcord: POSTROUTING to NETCORD-POSTROUTING' -j NETCORD-POSTROUTING
iptables -w -t nat -D OUTPUT -m addrtype --dst-type LOCAL -m comment --comment 'netcord: OUTPUT to NETCORD-DNAT' -j NETCORD-DNAT
iptables -w -t nat -D PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment 'netcord: PREROUTING to NETCORD-DNAT' -j NETCORD-DNAT
iptables -w -t filter -D FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD
iptables -w -t filter -D NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
iptables -w -t raw -D PREROUTING -m comment --comment 'netcord: PREROUTING to NETCORD-PREROUTING' -j NETCORD-PREROUTING
iptables -w -t nat -F NETCORD-POSTROUTING && iptables -w -t nat -X NETCORD-POSTROUTING
iptables -w -t nat -F NETCORD-DNAT && iptables -w -t nat -X NETCORD-DNAT
iptables -w -t filter -F NETCORD-ISOLATE && iptables -w -t filter -X NETCORD-ISOLATE
iptables -w -t filter -F NETCORD-FORWARD && iptables -w -t filter -X NETCORD-FORWARD
iptables -w -t raw -F NETCORD-PREROUTING && iptables -w -t raw -X NETCORD-PREROUTING

# the bridge: the Ethernet switch that all endpoints plug into
ip link del lab0
