#!/bin/sh
set -eu

# packets from this host's 127.0.0.1 may be routed to the bridge
sysctl -qw net/ipv4/conf/lab0/route_localnet=1

# with br_netfilter, who calls its own published port is answered by its own port
ip link set dev HOSTLINK type bridge_slave hairpin on

# what comes for the host's port gets the endpoint's address instead
iptables -w -t nat -A NETCORD-DNAT -p tcp --dport 8080 -m comment --comment 'netcord:lab0/web publish 0.0.0.0:8080 -> 172.17.0.2:80/tcp' -j DNAT --to-destination 172.17.0.2:80
iptables -w -t nat -A NETCORD-DNAT -p udp --dport 5000:5004 -m comment --comment 'netcord:lab0/web publish 0.0.0.0:5000-5004 -> 172.17.0.2:6000-6004/udp' -j DNAT --to-destination 172.17.0.2:6000-6004/5000

# flows that conntrack remembers would go on as before
for port in $(seq 5000 5004); do conntrack -D -f ipv4 -p udp --orig-port-dst "$port" 2>/dev/null || true; done
