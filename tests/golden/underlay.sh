#!/bin/sh
set -eu

# a bridge with the link's MAC: neighbours keep their ARP entries for the host
ip link add mydr0 address 02:00:00:00:00:01 mtu 1501 group 28259 type bridge stp_state 0 forward_delay 0

# the alias marks the link as netcord's and names its owner
ip link set dev mydr0 alias 'netcord:mydr0 parent=eth0 range=192.0.2.64/27'

# an MTU set explicitly stays; otherwise a bridge follows the smallest MTU of its ports
ip link set dev mydr0 mtu 1500

# netcord's own chains, called after the rules of others
iptables -w -t filter -S NETCORD-FORWARD >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-FORWARD
iptables -w -t filter -S NETCORD-ISOLATE >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-ISOLATE
iptables -w -t filter -S NETCORD-FROM-OPEN >/dev/null 2>&1 || iptables -w -t filter -N NETCORD-FROM-OPEN
iptables -w -t filter -C NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP 2>/dev/null || iptables -w -t filter -A NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP
iptables -w -t filter -C NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE 2>/dev/null || iptables -w -t filter -I NETCORD-FORWARD 1 -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
iptables -w -t filter -C FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD 2>/dev/null || iptables -w -t filter -A FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD

# bridged frames are accepted (br_netfilter), even if the FORWARD policy is DROP
iptables -w -t filter -A NETCORD-FORWARD -i mydr0 -o mydr0 -m comment --comment 'netcord:mydr0 bridged' -j ACCEPT

# netcord's own chains, called after the rules of others
ip6tables -w -t filter -S NETCORD-FORWARD >/dev/null 2>&1 || ip6tables -w -t filter -N NETCORD-FORWARD
ip6tables -w -t filter -S NETCORD-ISOLATE >/dev/null 2>&1 || ip6tables -w -t filter -N NETCORD-ISOLATE
ip6tables -w -t filter -S NETCORD-FROM-OPEN >/dev/null 2>&1 || ip6tables -w -t filter -N NETCORD-FROM-OPEN
ip6tables -w -t filter -C NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP 2>/dev/null || ip6tables -w -t filter -A NETCORD-FROM-OPEN -m comment --comment 'netcord: NETCORD-FROM-OPEN of filter drops the rest' -j DROP
ip6tables -w -t filter -C NETCORD-FORWARD -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE 2>/dev/null || ip6tables -w -t filter -I NETCORD-FORWARD 1 -m comment --comment 'netcord: NETCORD-FORWARD to NETCORD-ISOLATE' -j NETCORD-ISOLATE
ip6tables -w -t filter -C FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD 2>/dev/null || ip6tables -w -t filter -A FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD

# bridged frames are accepted (br_netfilter), even if the FORWARD policy is DROP
ip6tables -w -t filter -A NETCORD-FORWARD -i mydr0 -o mydr0 -m comment --comment 'netcord:mydr0 bridged' -j ACCEPT

# the bridge gets the sysctl values of the link
sysctl -qw net/ipv4/conf/mydr0/rp_filter=2
sysctl -qw net/ipv6/conf/mydr0/addr_gen_mode=1

# the bridge shares the link's link-local address, so DAD would report a duplicate
sysctl -qw net/ipv6/conf/mydr0/accept_dad=0

# a veth pair with both ends on the host: it gives the bridge carrier before the move
ip link add nck11cabc1f70 master mydr0 group 28259 type veth peer name ncl11cabc1f70

# the veth pair must send no IPv6 packets of its own
sysctl -qw net/ipv6/conf/nck11cabc1f70/disable_ipv6=1
sysctl -qw net/ipv6/conf/ncl11cabc1f70/disable_ipv6=1

# a veth pair has carrier when both ends are up
ip link set dev nck11cabc1f70 up
ip link set dev ncl11cabc1f70 up

# a link carries no frames until it is up
ip link set dev mydr0 up

# duplicate address detection (DAD) takes time, so IPv6 addresses are added early
ip addr add 2001:db8:1::1/64 metric 300 nodad dev mydr0 && ip addr change 2001:db8:1::1/64 metric 300 dev mydr0
ip addr add 2001:db8::1/64 nodad dev mydr0
ip addr add fe80::1/64 scope 253 nodad dev mydr0

# wait for carrier and for duplicate address detection (DAD)
until [ "$(cat /sys/class/net/mydr0/operstate)" != down ] && [ -z "$(ip -6 addr show dev mydr0 tentative)" ]; do sleep 0.01; done

# the link becomes a bridge port: the bridge receives its frames from now on
ip link set dev eth0 master mydr0

# a permanent neighbour entry moves from the link
ip neigh del 192.0.2.9 dev eth0 2>/dev/null || true
ip neigh del proxy 192.0.2.99 dev eth0
ip neigh del 2001:db8::9 dev eth0 2>/dev/null || true

# the policy rule names the link: the bridge needs the same rule
ip rule add from all iif mydr0 fwmark 0x7/0xff pref 500 protocol 0 lookup 77
ip -6 rule add from all oif mydr0 pref 501 protocol 0 lookup 78

# the route moves from the link
ip -6 route del default via fe80::2 dev eth0 table 254 proto 3 metric 512 pref high
ip -6 route del 2001:db8:8::/64 table 254 proto 3 metric 1024 nexthop via 2001:db8::2 dev eth0 weight 1 nexthop via 2001:db8::3 dev eth0 weight 1
ip route del 203.0.113.0/24 via 192.0.2.2 dev eth0 table 254 proto 3 src 192.0.2.11
ip route del 10.8.0.0/16 table 254 proto 3 nexthop via 192.0.2.2 dev eth0 weight 2 nexthop via 192.0.2.3 dev eth0 weight 1
ip route del default via 192.0.2.2 dev eth0 table 254 proto 4 metric 100 mtu 1400
ip route del default via 10.9.9.9 dev eth0 onlink table 77 proto 3

# the address moves from the link
ip addr del 192.0.2.11/24 dev eth0
ip addr del 10.7.0.1/24 dev eth0
ip addr del 192.0.2.1/24 dev eth0
ip addr del 198.51.100.1/25 dev eth0

# the address moves to the bridge
ip addr add 198.51.100.1/25 scope 253 metric 77 dev mydr0
ip addr add 192.0.2.1/24 brd 192.0.2.255 dev mydr0
ip addr add 10.7.0.1/24 noprefixroute dev mydr0
ip addr add 192.0.2.11/24 label mydr0:two dev mydr0

# the route moves to the bridge
ip route add default via 10.9.9.9 dev mydr0 onlink table 77 proto 3
ip route add default via 192.0.2.2 dev mydr0 table 254 proto 4 metric 100 mtu 1400
ip route add 10.8.0.0/16 table 254 proto 3 nexthop via 192.0.2.2 dev mydr0 weight 2 nexthop via 192.0.2.3 dev mydr0 weight 1
ip route add 203.0.113.0/24 via 192.0.2.2 dev mydr0 table 254 proto 3 src 192.0.2.11
ip -6 route add 2001:db8:8::/64 table 254 proto 3 metric 1024 nexthop via 2001:db8::2 dev mydr0 weight 1 nexthop via 2001:db8::3 dev mydr0 weight 1
ip -6 route add default via fe80::2 dev mydr0 table 254 proto 3 metric 512 pref high

# the permanent neighbour entry moves to the bridge
ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev mydr0
ip neigh replace proxy 192.0.2.99 dev mydr0
ip neigh replace 2001:db8::9 lladdr 02:00:00:00:00:09 nud permanent dev mydr0

# the policy rule for the link no longer matches any packet
ip rule del from all iif eth0 fwmark 0x7/0xff pref 500 protocol 0 lookup 77
ip -6 rule del from all oif eth0 pref 501 protocol 0 lookup 78

# the uplink now gives the bridge carrier
ip link del nck11cabc1f70

# the bridge takes over the link's own value
sysctl -qw net/ipv6/conf/mydr0/accept_dad=1

# wait for carrier and for duplicate address detection (DAD)
until [ "$(cat /sys/class/net/eth0/operstate)" != down ] && [ -z "$(ip -6 addr show dev eth0 tentative)" ]; do sleep 0.01; done

# the bridge has this IPv6 address now
ip addr del fe80::1/64 dev eth0
ip addr del 2001:db8::1/64 dev eth0
ip addr del 2001:db8:1::1/64 dev eth0
