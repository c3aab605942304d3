#!/bin/sh
set -eu

# the bridge has this IPv6 address now
ip addr add 2001:db8::1/64 nodad dev eth0
ip addr add 2001:db8:1::1/64 metric 300 nodad dev eth0 && ip addr change 2001:db8:1::1/64 metric 300 dev eth0
ip addr add fe80::1/64 scope 253 nodad dev eth0

# wait for carrier and for duplicate address detection (DAD)
until [ "$(cat /sys/class/net/eth0/operstate)" != down ] && [ -z "$(ip -6 addr show dev eth0 tentative)" ]; do sleep 0.01; done

# the policy rule for the link no longer matches any packet
ip -6 rule add from all oif eth0 pref 501 protocol 0 lookup 78
ip rule add from all iif eth0 fwmark 0x7/0xff pref 500 protocol 0 lookup 77

# give the parent back what was moved from it
ip neigh del 2001:db8::9 dev mydr0 2>/dev/null || true
ip neigh del proxy 192.0.2.99 dev mydr0
ip neigh del 192.0.2.9 dev mydr0 2>/dev/null || true
ip -6 route del default via fe80::2 dev mydr0 table 254 proto 3 metric 512 pref high
ip -6 route del 2001:db8:8::/64 table 254 proto 3 metric 1024 nexthop via 2001:db8::2 dev mydr0 weight 1 nexthop via 2001:db8::3 dev mydr0 weight 1
ip route del 203.0.113.0/24 via 192.0.2.2 dev mydr0 table 254 proto 3 src 192.0.2.11
ip route del 10.8.0.0/16 table 254 proto 3 nexthop via 192.0.2.2 dev mydr0 weight 2 nexthop via 192.0.2.3 dev mydr0 weight 1
ip route del default via 192.0.2.2 dev mydr0 table 254 proto 4 metric 100 mtu 1400
ip route del default via 10.9.9.9 dev mydr0 onlink table 77 proto 3
ip addr del 192.0.2.11/24 dev mydr0
ip addr del 10.7.0.1/24 dev mydr0
ip addr del 192.0.2.1/24 dev mydr0
ip addr del 198.51.100.1/25 dev mydr0

# the address moves from the link
ip addr add 198.51.100.1/25 scope 253 metric 77 dev eth0
ip addr add 192.0.2.1/24 brd 192.0.2.255 dev eth0
ip addr add 10.7.0.1/24 noprefixroute dev eth0
ip addr add 192.0.2.11/24 label eth0:two dev eth0

# the route moves from the link
ip route add default via 10.9.9.9 dev eth0 onlink table 77 proto 3
ip route add default via 192.0.2.2 dev eth0 table 254 proto 4 metric 100 mtu 1400
ip route add 10.8.0.0/16 table 254 proto 3 nexthop via 192.0.2.2 dev eth0 weight 2 nexthop via 192.0.2.3 dev eth0 weight 1
ip route add 203.0.113.0/24 via 192.0.2.2 dev eth0 table 254 proto 3 src 192.0.2.11
ip -6 route add 2001:db8:8::/64 table 254 proto 3 metric 1024 nexthop via 2001:db8::2 dev eth0 weight 1 nexthop via 2001:db8::3 dev eth0 weight 1
ip -6 route add default via fe80::2 dev eth0 table 254 proto 3 metric 512 pref high

# give the parent back what was moved from it
ip -6 rule del from all oif mydr0 pref 501 protocol 0 lookup 78
ip rule del from all iif mydr0 fwmark 0x7/0xff pref 500 protocol 0 lookup 77

# a permanent neighbour entry moves from the link
ip neigh replace 2001:db8::9 lladdr 02:00:00:00:00:09 nud permanent dev eth0
ip neigh replace proxy 192.0.2.99 dev eth0
ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev eth0

# give the parent back what was moved from it
ip link set dev eth0 nomaster
ip addr del fe80::1/64 dev mydr0
ip addr del 2001:db8:1::1/64 dev mydr0
ip addr del 2001:db8::1/64 dev mydr0

# remove the firewall rules that nothing needs any more
ip6tables -w -t filter -D NETCORD-FORWARD -i mydr0 -o mydr0 -m comment --comment 'netcord:mydr0 bridged' -j ACCEPT
ip6tables -w -t filter -D FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD
ip6tables -w -t filter -D NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
ip6tables -w -t filter -D NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP
ip6tables -w -t filter -F NETCORD-FROM-OPEN && ip6tables -w -t filter -X NETCORD-FROM-OPEN
ip6tables -w -t filter -F NETCORD-ISOLATE && ip6tables -w -t filter -X NETCORD-ISOLATE
ip6tables -w -t filter -F NETCORD-FORWARD && ip6tables -w -t filter -X NETCORD-FORWARD
iptables -w -t filter -D NETCORD-FORWARD -i mydr0 -o mydr0 -m comment --comment 'netcord:mydr0 bridged' -j ACCEPT
iptables -w -t filter -D FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD
iptables -w -t filter -D NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
iptables -w -t filter -D NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP
iptables -w -t filter -F NETCORD-FROM-OPEN && iptables -w -t filter -X NETCORD-FROM-OPEN
iptables -w -t filter -F NETCORD-ISOLATE && iptables -w -t filter -X NETCORD-ISOLATE
iptables -w -t filter -F NETCORD-FORWARD && iptables -w -t filter -X NETCORD-FORWARD

# delete the bridge, with its addresses and routes
ip link del mydr0
