#!/bin/sh
set -eu

# the host forwards IPv4 packets between the bridge and its other links
sysctl -qw net/ipv4/ip_forward=1

# netcord's own nftables table: the rules of others stay as they are
nft -f - <<'EOF'
table inet netcord {
	set bridges {
		type ifname
	}
	map filter {
		type ifname : verdict
	}
	map nat {
		type ifname : verdict
	}
	map ports4-at {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
	}
	map ports4 {
		type inet_proto . inet_service : ipv4_addr . inet_service
	}
	map ranges4-at {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr
		flags interval
	}
	map ranges4 {
		type inet_proto . inet_service : ipv4_addr
		flags interval
	}
	map ports6-at {
		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
	}
	map ports6 {
		type inet_proto . inet_service : ipv6_addr . inet_service
	}
	map ranges6-at {
		type ipv6_addr . inet_proto . inet_service : ipv6_addr
		flags interval
	}
	map ranges6 {
		type inet_proto . inet_service : ipv6_addr
		flags interval
	}
	chain published {
	}
	chain raw {
		type filter hook prerouting priority -300; policy accept;
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
	}
	chain prerouting {
		type nat hook prerouting priority -99; policy accept;
	}
	chain output {
		type nat hook output priority -99; policy accept;
	}
	chain postrouting {
		type nat hook postrouting priority 101; policy accept;
	}
}
flush chain inet netcord published
add rule inet netcord published meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @ports4-at comment "DNAT to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4 comment "DNAT to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @ranges4-at comment "DNAT to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ranges4 comment "DNAT to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6-at comment "DNAT to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6 comment "DNAT to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @ranges6-at comment "DNAT to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ranges6 comment "DNAT to the endpoint of a published port"
flush chain inet netcord raw
add rule inet netcord raw ip daddr 127.0.0.0/8 iifname @bridges drop comment "endpoints must not reach the host's 127.0.0.1"
flush chain inet netcord forward
add rule inet netcord forward iifname vmap @filter comment "continue in the chain of the netcord network"
add rule inet netcord forward oifname vmap @filter comment "continue in the chain of the netcord network"
flush chain inet netcord prerouting
add rule inet netcord prerouting ip daddr 127.0.0.0/8 return comment "packets from outside to 127.0.0.1 reach no published port"
add rule inet netcord prerouting fib daddr type local jump published comment "look up the published ports"
flush chain inet netcord output
add rule inet netcord output fib daddr type local jump published comment "look up the published ports"
flush chain inet netcord postrouting
add rule inet netcord postrouting iifname vmap @nat comment "continue in the chain of the netcord network"
add rule inet netcord postrouting oifname vmap @nat comment "continue in the chain of the netcord network"
EOF

# replies from published ports return through the host (masquerade)
nft -f - <<'EOF'
add chain inet netcord nat-docker0
flush chain inet netcord nat-docker0
add rule inet netcord nat-docker0 ip saddr 172.17.0.0/16 oifname "docker0" ct status dnat masquerade comment "hairpin: replies to an endpoint that uses a published port must return through the host"
add rule inet netcord nat-docker0 ip saddr 127.0.0.0/8 oifname "docker0" masquerade comment "an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge"
add element inet netcord nat { "docker0" : jump nat-docker0 }
EOF

# hairpin mode: with br_netfilter, an endpoint can reach its own published port
ip link set dev HOSTLINK type bridge_slave hairpin on

# DNAT: packets to the host's port go to the endpoint's address and port
nft add element inet netcord ports4 '{ tcp . 8080 comment "netcord:docker0/web" : 172.17.0.2 . 80 }'
