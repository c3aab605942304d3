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
	set open {
		type ifname
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
	chain from-open {
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
flush chain inet netcord from-open
add rule inet netcord from-open iifname @open return comment "open networks reach each other"
add rule inet netcord from-open drop comment "only replies and traffic to published ports may enter from elsewhere"
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
