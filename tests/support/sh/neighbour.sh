# Wires a neighbour of this host, whose name is $1: another host on the wire of the link `eth0`.
ip netns add "$1"
ip link add eth0 type veth peer name wire netns "$1"
ip link set eth0 addrgenmode none
ip -n "$1" link set wire addrgenmode none
ip addr add 192.0.2.1/24 dev eth0
ip addr add 2001:db8::1/64 nodad dev eth0
ip link set eth0 up
ip addr add fe80::1/64 nodad dev eth0
ip -n "$1" addr add fe80::2/64 nodad dev wire
ip -n "$1" addr add 192.0.2.2/24 dev wire
ip -n "$1" addr add 2001:db8::2/64 nodad dev wire
ip -n "$1" link set lo up
ip -n "$1" link set wire up
ip route add default via 192.0.2.2
ip -6 route add default via 2001:db8::2
