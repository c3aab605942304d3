# A link whose wire leads to a neighbour, with addresses of both families.
ip netns add web
ip netns add peer
ip link add eth0 address 02:00:00:00:00:01 type veth \
    peer name wire address 02:00:00:00:00:02 netns peer
ip link set eth0 addrgenmode none
ip addr add 192.0.2.1/24 dev eth0
ip addr add 2001:db8::1/64 nodad dev eth0
ip link set eth0 up
ip -n peer link set wire addrgenmode none up
ip route add default via 192.0.2.2
ip -6 route add default via 2001:db8::2
