# A host with a link `eth0` and everything that can hang on one; `peer` is the other end. The MACs
# are fixed, as the printed script names them.
ip netns add peer
ip link add eth0 address 02:00:00:00:00:01 type veth \
    peer name wire address 02:00:00:00:00:02 netns peer
ip link set eth0 addrgenmode none
ip -n peer link set wire addrgenmode none
ip -n peer addr add 192.0.2.2/24 dev wire
ip -n peer addr add 2001:db8::2/64 nodad dev wire
ip -n peer link set lo up
ip -n peer link set wire up
sysctl -qw net.ipv4.conf.eth0.rp_filter=2
ip addr add 192.0.2.1/24 brd + dev eth0
ip addr add 192.0.2.11/24 dev eth0 label eth0:two
ip addr add 198.51.100.1/25 dev eth0 metric 77 scope link
ip addr add 10.7.0.1/24 dev eth0 noprefixroute
ip addr add 2001:db8::1/64 nodad dev eth0
ip addr add 2001:db8:1::1/64 dev eth0 metric 300
ip addr add fe80::1/64 nodad dev eth0
ip link set eth0 up
ip route add default via 192.0.2.2 proto static metric 100 mtu 1400
ip route add 203.0.113.0/24 via 192.0.2.2 src 192.0.2.11
ip route add 10.8.0.0/16 nexthop via 192.0.2.2 weight 2 nexthop via 192.0.2.3 weight 1
ip route add default via 10.9.9.9 dev eth0 onlink table 77
ip -6 route add default via fe80::2 dev eth0 metric 512 pref high
ip -6 route add 2001:db8:8::/64 nexthop via 2001:db8::2 nexthop via 2001:db8::3
ip rule add iif eth0 fwmark 0x7/0xff lookup 77 pref 500
ip -6 rule add oif eth0 lookup 78 pref 501
ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev eth0
ip neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 nud permanent dev eth0
ip neigh add proxy 192.0.2.99 dev eth0
until [ "$(cat /sys/class/net/eth0/operstate)" = up ]; do sleep 0.02; done
until [ -z "$(ip -6 addr show dev eth0 tentative)" ]; do sleep 0.02; done
