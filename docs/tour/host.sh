# The host of the tour, before netcord: a link to a network of its own, where somebody is, and a
# bridge that a script made some time ago.
ip netns add outside
ip link add eth0 address 52:54:00:12:34:56 type veth \
    peer name eth0 address 52:54:00:12:34:01 netns outside
ip addr add 192.168.1.10/24 dev eth0
ip link set eth0 up
ip -n outside addr add 192.168.1.1/24 dev eth0
ip -n outside link set eth0 up
ip route add default via 192.168.1.1

ip netns add printer
ip link add br0 address 52:54:00:12:34:60 type bridge
ip addr add 10.8.0.1/24 dev br0
ip link add printer0 address 52:54:00:12:34:61 master br0 up type veth \
    peer name eth0 address 52:54:00:12:34:62 netns printer
ip link set br0 up
ip -n printer addr add 10.8.0.9/24 dev eth0
ip -n printer link set eth0 up
ip -n printer route add default via 10.8.0.1
