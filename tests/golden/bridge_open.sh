#!/bin/sh
set -eu

# the bridge: the Ethernet switch that all endpoints plug into
ip link add lab0 address 02:42:ac:14:00:01 mtu 1501 group 28259 type bridge stp_state 0 forward_delay 0

# the alias marks the link as netcord's and names its owner
ip link set dev lab0 alias 'netcord:lab0 open subnet=172.20.0.1/16 subnet=fd00:1::1/64'

# an MTU set explicitly stays; otherwise a bridge follows the smallest MTU of its ports
ip link set dev lab0 mtu 1500

# the host ignores router advertisements (RA) that endpoints send
sysctl -qw net/ipv6/conf/lab0/accept_ra=0

# the host ignores ICMPv6 redirects that endpoints send
sysctl -qw net/ipv6/conf/lab0/accept_redirects=0

# the network has an IPv6 subnet, so the link needs IPv6
sysctl -qw net/ipv6/conf/lab0/disable_ipv6=0

# netcord's own nftables table: the rules of others stay as they are
# no change: nft -f - <<'EOF' ...

# the network's filter rules, and its source NAT (masquerade)
nft -f - <<'EOF'
add chain inet netcord filter-lab0
flush chain inet netcord filter-lab0
add rule inet netcord filter-lab0 iifname != "lab0" oifname "lab0" ct state ! established,related ct status ! dnat jump from-open comment "only replies and traffic to published ports may enter from outside"
add chain inet netcord nat-lab0
flush chain inet netcord nat-lab0
add rule inet netcord nat-lab0 ip saddr 172.20.0.0/16 oifname != "lab0" meta l4proto tcp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-lab0 ip saddr 172.20.0.0/16 oifname != "lab0" meta l4proto udp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-lab0 ip saddr 172.20.0.0/16 oifname != "lab0" masquerade comment "masquerade for protocols without ports, such as ICMP"
add rule inet netcord nat-lab0 ip saddr 172.20.0.0/16 oifname "lab0" ct status dnat masquerade comment "hairpin: replies to an endpoint that uses a published port must return through the host"
add rule inet netcord nat-lab0 ip saddr 127.0.0.0/8 oifname "lab0" masquerade comment "an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge"
add rule inet netcord nat-lab0 ip6 saddr fd00:1::/64 oifname != "lab0" meta l4proto tcp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-lab0 ip6 saddr fd00:1::/64 oifname != "lab0" meta l4proto udp masquerade to :1024-65535 comment "masquerade (SNAT): packets to other links get that link's address, so replies return"
add rule inet netcord nat-lab0 ip6 saddr fd00:1::/64 oifname != "lab0" masquerade comment "masquerade for protocols without ports, such as ICMP"
add rule inet netcord nat-lab0 ip6 saddr fd00:1::/64 oifname "lab0" ct status dnat masquerade comment "hairpin: replies to an endpoint that uses a published port must return through the host"
add element inet netcord bridges { "lab0" }
add element inet netcord filter { "lab0" : jump filter-lab0 }
add element inet netcord nat { "lab0" : jump nat-lab0 }
add element inet netcord open { "lab0" }
EOF

# the bridge's address: the default gateway of the endpoints
ip addr add 172.20.0.1/16 brd + dev lab0
ip addr add fd00:1::1/64 nodad dev lab0

# the host forwards IPv4 packets between the bridge and its other links
# no change: sysctl -qw net/ipv4/ip_forward=1

# forwarding is also set per link: the host forwards what arrives from this bridge
sysctl -qw net/ipv4/conf/lab0/forwarding=1

# the host forwards IPv6 packets between the bridge and its other links
sysctl -qw net/ipv6/conf/all/forwarding=1

# forwarding is also set per link: the host forwards what arrives from this bridge
sysctl -qw net/ipv6/conf/lab0/forwarding=1

# a link carries no frames until it is up
ip link set dev lab0 up
