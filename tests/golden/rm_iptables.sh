#!/bin/sh
set -eu

# remove the firewall rules that nothing needs any more
iptables -w -t nat -D NETCORD-POSTROUTING -s 127.0.0.0/8 -o lab0 -m comment --comment 'netcord:lab0 from loopback 172.17.0.0/16' -j MASQUERADE
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 -o lab0 -m conntrack --ctstate DNAT -m comment --comment 'netcord:lab0 hairpin 172.17.0.0/16' -j MASQUERADE
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -m comment --comment 'netcord:lab0 masquerade 172.17.0.0/16' -j MASQUERADE
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -p udp -m comment --comment 'netcord:lab0 masquerade udp 172.17.0.0/16' -j MASQUERADE --to-ports 1024-65535
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -p tcp -m comment --comment 'netcord:lab0 masquerade tcp 172.17.0.0/16' -j MASQUERADE --to-ports 1024-65535
iptables -w -t filter -D NETCORD-FORWARD -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in 172.17.0.0/16' -j ACCEPT
iptables -w -t filter -D NETCORD-FORWARD -i lab0 -m comment --comment 'netcord:lab0 out 172.17.0.0/16' -j ACCEPT
iptables -w -t filter -D NETCORD-ISOLATE ! -i lab0 -o lab0 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 unpublished 172.17.0.0/16' -j DROP
iptables -w -t raw -D NETCORD-PREROUTING -d 127.0.0.0/8 -i lab0 -m comment --comment 'netcord:lab0 loopback 172.17.0.0/16' -j DROP
iptables -w -t raw -D NETCORD-PREROUTING -d 172.17.0.0/16 ! -i lab0 -m comment --comment 'netcord:lab0 direct 172.17.0.0/16' -j DROP
iptables -w -t nat -D POSTROUTING -m comment --comment 'netcord: POSTROUTING to NETCORD-POSTROUTING' -j NETCORD-POSTROUTING
iptables -w -t nat -D OUTPUT -m addrtype --dst-type LOCAL -m comment --comment 'netcord: OUTPUT to NETCORD-DNAT' -j NETCORD-DNAT
iptables -w -t nat -D PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment 'netcord: PREROUTING to NETCORD-DNAT' -j NETCORD-DNAT
iptables -w -t filter -D FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD
iptables -w -t filter -D NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
iptables -w -t raw -D PREROUTING -m comment --comment 'netcord: PREROUTING to NETCORD-PREROUTING' -j NETCORD-PREROUTING
iptables -w -t filter -D NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP
iptables -w -t raw -D NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of raw drops the rest' -j DROP
iptables -w -t nat -F NETCORD-POSTROUTING && iptables -w -t nat -X NETCORD-POSTROUTING
iptables -w -t nat -F NETCORD-DNAT && iptables -w -t nat -X NETCORD-DNAT
iptables -w -t filter -F NETCORD-FROM-OPEN && iptables -w -t filter -X NETCORD-FROM-OPEN
iptables -w -t filter -F NETCORD-ISOLATE && iptables -w -t filter -X NETCORD-ISOLATE
iptables -w -t filter -F NETCORD-FORWARD && iptables -w -t filter -X NETCORD-FORWARD
iptables -w -t raw -F NETCORD-FROM-OPEN && iptables -w -t raw -X NETCORD-FROM-OPEN
iptables -w -t raw -F NETCORD-PREROUTING && iptables -w -t raw -X NETCORD-PREROUTING

# delete the bridge, with its addresses and routes
ip link del lab0
