#!/bin/sh
set -eu

# a bridge is the switch that all endpoints plug into
ip link add lab0 address 02:42:ac:14:00:01 mtu 1501 group 28259 type bridge stp_state 0 forward_delay 0

# the alias says whose link it is
ip link set dev lab0 alias 'netcord:lab0 subnet=172.20.0.1/16 subnet=fd00:1::1/64'

# an MTU that is set stays: any other follows the smallest port's
ip link set dev lab0 mtu 1500

# a container must not announce itself as the host's router
sysctl -qw net/ipv6/conf/lab0/accept_ra=0

# nor redirect the host's packets
sysctl -qw net/ipv6/conf/lab0/accept_redirects=0

# the network has an IPv6 subnet
sysctl -qw net/ipv6/conf/lab0/disable_ipv6=0

# a table of our own: nobody else's rules are touched
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
add rule inet netcord published meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @ports4-at comment "to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4 comment "to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @ranges4-at comment "to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ranges4 comment "to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6-at comment "to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6 comment "to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @ranges6-at comment "to the endpoint of a published port"
add rule inet netcord published meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ranges6 comment "to the endpoint of a published port"
flush chain inet netcord raw
add rule inet netcord raw ip daddr 127.0.0.0/8 iifname @bridges drop comment "nobody reaches the host's own 127.0.0.1 from a bridge"
flush chain inet netcord forward
add rule inet netcord forward iifname vmap @filter comment "on with the chain of a bridge of ours"
add rule inet netcord forward oifname vmap @filter comment "on with the chain of a bridge of ours"
flush chain inet netcord prerouting
add rule inet netcord prerouting ip daddr 127.0.0.0/8 return comment "what comes in for 127.0.0.1 is for nobody"
add rule inet netcord prerouting fib daddr type local jump published comment "is it for a published port?"
flush chain inet netcord output
add rule inet netcord output fib daddr type local jump published comment "is it for a published port?"
flush chain inet netcord postrouting
add rule inet netcord postrouting iifname vmap @nat comment "on with the chain of a bridge of ours"
add rule inet netcord postrouting oifname vmap @nat comment "on with the chain of a bridge of ours"
EOF

# what may pass by the bridge, and with which address it leaves
nft -f - <<'EOF'
add chain inet netcord filter-lab0
flush chain inet netcord filter-lab0
add rule inet netcord filter-lab0 iifname != "lab0" oifname "lab0" ct state ! established,related ct status ! dnat drop comment "from outside come answers, and what is for a published port"
add chain inet netcord nat-lab0
flush chain inet netcord nat-lab0
add rule inet netcord nat-lab0 ip saddr 172.20.0.0/16 oifname != "lab0" meta l4proto tcp masquerade to :1024-65535 comment "what leaves by another link gets that link's address: so answers find back"
add rule inet netcord nat-lab0 ip saddr 172.20.0.0/16 oifname != "lab0" meta l4proto udp masquerade to :1024-65535 comment "what leaves by another link gets that link's address: so answers find back"
add rule inet netcord nat-lab0 ip saddr 172.20.0.0/16 oifname != "lab0" masquerade comment "and so does what has no ports"
add rule inet netcord nat-lab0 ip saddr 172.20.0.0/16 oifname "lab0" ct status dnat masquerade comment "a neighbour that calls a published port is answered by way of the host"
add rule inet netcord nat-lab0 ip saddr 127.0.0.0/8 oifname "lab0" masquerade comment "an endpoint cannot answer 127.0.0.1, only the host's address on the bridge"
add rule inet netcord nat-lab0 ip6 saddr fd00:1::/64 oifname != "lab0" meta l4proto tcp masquerade to :1024-65535 comment "what leaves by another link gets that link's address: so answers find back"
add rule inet netcord nat-lab0 ip6 saddr fd00:1::/64 oifname != "lab0" meta l4proto udp masquerade to :1024-65535 comment "what leaves by another link gets that link's address: so answers find back"
add rule inet netcord nat-lab0 ip6 saddr fd00:1::/64 oifname != "lab0" masquerade comment "and so does what has no ports"
add rule inet netcord nat-lab0 ip6 saddr fd00:1::/64 oifname "lab0" ct status dnat masquerade comment "a neighbour that calls a published port is answered by way of the host"
add element inet netcord bridges { "lab0" }
add element inet netcord filter { "lab0" : jump filter-lab0 }
add element inet netcord nat { "lab0" : jump nat-lab0 }
EOF

# the bridge's address is the gateway of the subnet
ip addr add 172.20.0.1/16 brd + dev lab0
ip addr add fd00:1::1/64 nodad dev lab0

# the host passes packets on between the bridge and its other links
sysctl -qw net/ipv4/ip_forward=1

# and each link has a switch of its own for that
sysctl -qw net/ipv4/conf/lab0/forwarding=1

# the host passes IPv6 packets on
sysctl -qw net/ipv6/conf/all/forwarding=1

# and each link has a switch of its own for that
sysctl -qw net/ipv6/conf/lab0/forwarding=1

# a link carries nothing until it is up
ip link set dev lab0 up

# what endpoints send passes others' rules too: they drop what none of them accepts
iptables -w -t filter -I DOCKER-USER 1 -i lab0 -m comment --comment 'netcord:lab0 out' -j ACCEPT

# and so do the answers, and what is for a published port
iptables -w -t filter -I DOCKER-USER 1 -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in' -j ACCEPT

# what endpoints send passes others' rules too: they drop what none of them accepts
ip6tables -w -t filter -I FORWARD 1 -i lab0 -m comment --comment 'netcord:lab0 out' -j ACCEPT

# and so do the answers, and what is for a published port
ip6tables -w -t filter -I FORWARD 1 -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in' -j ACCEPT
