#!/bin/sh
set -eu

# an endpoint cannot answer 127.0.0.1, only the host's address on the bridge
iptables -w -t nat -D NETCORD-POSTROUTING -s 127.0.0.0/8 -o lab0 -m comment --comment 'netcord:lab0 from loopback 172.17.0.0/16' -j MASQUERADE

# a neighbour that calls a published port must be answered by way of the host
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 -o lab0 -m conntrack --ctstate DNAT -m comment --comment 'netcord:lab0 hairpin 172.17.0.0/16' -j MASQUERADE

# and so does what has no ports
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -m comment --comment 'netcord:lab0 masquerade 172.17.0.0/16' -j MASQUERADE

# what leaves by another link gets that link's address, so that answers find back
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -p udp -m comment --comment 'netcord:lab0 masquerade udp 172.17.0.0/16' -j MASQUERADE --to-ports 1024-65535
iptables -w -t nat -D NETCORD-POSTROUTING -s 172.17.0.0/16 ! -o lab0 -p tcp -m comment --comment 'netcord:lab0 masquerade tcp 172.17.0.0/16' -j MASQUERADE --to-ports 1024-65535

# and so may the answers
iptables -w -t filter -D NETCORD-FORWARD -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in 172.17.0.0/16' -j ACCEPT

# what endpoints send may pass, also where the policy is DROP
iptables -w -t filter -D NETCORD-FORWARD -i lab0 -m comment --comment 'netcord:lab0 out 172.17.0.0/16' -j ACCEPT

# from outside come answers, and what is for a published port
iptables -w -t filter -D NETCORD-ISOLATE ! -i lab0 -o lab0 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 unpublished 172.17.0.0/16' -j DROP

# nobody reaches the host's own 127.0.0.1 from the bridge
iptables -w -t raw -D NETCORD-PREROUTING -d 127.0.0.0/8 -i lab0 -m comment --comment 'netcord:lab0 loopback 172.17.0.0/16' -j DROP

# nobody reaches an endpoint by routing to its address, past the host's ports
iptables -w -t raw -D NETCORD-PREROUTING -d 172.17.0.0/16 ! -i lab0 -m comment --comment 'netcord:lab0 direct 172.17.0.0/16' -j DROP

# chains of our own, after everybody else's rules
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

# a bridge is the switch that all endpoints plug into
ip link del lab0
