#!/bin/sh
set -eu

# the bridge: the Ethernet switch that all endpoints plug into
ip link add pods address 02:42:0a:05:01:01 mtu 1501 group 28259 type bridge stp_state 0 forward_delay 0

# the alias marks the link as netcord's and names its owner
ip link set dev pods alias 'netcord:pods overlay=host-gw cluster=10.5.0.0/16 cluster=fd00:5::/48 via=eth0 host=192.0.2.1 subnet=10.5.1.1/24 subnet=fd00:5:0:1::1/64'

# an MTU set explicitly stays; otherwise a bridge follows the smallest MTU of its ports
ip link set dev pods mtu 1500

# the host ignores router advertisements (RA) that endpoints send
sysctl -qw net/ipv6/conf/pods/accept_ra=0

# the host ignores ICMPv6 redirects that endpoints send
sysctl -qw net/ipv6/conf/pods/accept_redirects=0

# the network has an IPv6 subnet, so the link needs IPv6
sysctl -qw net/ipv6/conf/pods/disable_ipv6=0

. tests/golden/shared/table.sh

# the network's filter rules, and its source NAT (masquerade)
nft -f - <<'EOF'
add chain inet netcord filter-pods
flush chain inet netcord filter-pods
add rule inet netcord filter-pods iifname != "pods" oifname "pods" ip saddr != 10.5.0.0/16 ct state ! established,related ct status ! dnat drop comment "only replies and traffic to published ports may enter from outside"
add rule inet netcord filter-pods iifname != "pods" oifname "pods" ip6 saddr != fd00:5::/48 ct state ! established,related ct status ! dnat drop comment "only replies and traffic to published ports may enter from outside"
add chain inet netcord nat-pods
flush chain inet netcord nat-pods
add rule inet netcord nat-pods ip saddr 10.5.1.0/24 oifname != "pods" ip daddr != 10.5.0.0/16 meta l4proto tcp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-pods ip saddr 10.5.1.0/24 oifname != "pods" ip daddr != 10.5.0.0/16 meta l4proto udp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-pods ip saddr 10.5.1.0/24 oifname != "pods" ip daddr != 10.5.0.0/16 masquerade comment "masquerade for protocols without ports, such as ICMP"
add rule inet netcord nat-pods ip saddr 10.5.1.0/24 oifname "pods" ct status dnat masquerade comment "hairpin: replies to an endpoint that uses a published port must return through the host"
add rule inet netcord nat-pods ip saddr 127.0.0.0/8 oifname "pods" masquerade comment "an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge"
add rule inet netcord nat-pods ip6 saddr fd00:5:0:1::/64 oifname != "pods" ip6 daddr != fd00:5::/48 meta l4proto tcp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-pods ip6 saddr fd00:5:0:1::/64 oifname != "pods" ip6 daddr != fd00:5::/48 meta l4proto udp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-pods ip6 saddr fd00:5:0:1::/64 oifname != "pods" ip6 daddr != fd00:5::/48 masquerade comment "masquerade for protocols without ports, such as ICMP"
add rule inet netcord nat-pods ip6 saddr fd00:5:0:1::/64 oifname "pods" ct status dnat masquerade comment "hairpin: replies to an endpoint that uses a published port must return through the host"
add element inet netcord bridges { "pods" }
add element inet netcord filter { "pods" : jump filter-pods }
add element inet netcord nat { "pods" : jump nat-pods }
EOF

# the bridge's address: the default gateway of the endpoints
ip addr add 10.5.1.1/24 brd + dev pods
ip addr add fd00:5:0:1::1/64 nodad dev pods

# the host forwards IPv4 packets between the bridge and its other links
sysctl -qw net/ipv4/ip_forward=1

# forwarding is also set per link: the host forwards what arrives from this bridge
sysctl -qw net/ipv4/conf/pods/forwarding=1

# the host forwards IPv6 packets between the bridge and its other links
sysctl -qw net/ipv6/conf/all/forwarding=1

# forwarding is also set per link: the host forwards what arrives from this bridge
sysctl -qw net/ipv6/conf/pods/forwarding=1

# a link carries no frames until it is up
ip link set dev pods up

# no host has the rest of the network's block: without this route, packets to it would leave by the default route
ip route add unreachable 10.5.0.0/16 metric 65535 proto 110
ip -6 route add unreachable fd00:5::/48 metric 65535 proto 110

# the route to the other host's endpoints: that host is the next hop
ip route add 10.5.2.0/24 via 192.0.2.2 dev eth0 src 10.5.1.1 proto 110
ip -6 route add fd00:5:0:2::/64 via 2001:db8::2 dev eth0 src fd00:5:0:1::1 proto 110
