# The manual steps to give a running namespace a link, an address and a way out.
set -eu
bridge=$1 target=$2 address=$3 gateway=$4 name=$2-by-hand

mkdir -p /run/netns
ln -s "/run/netns/$target" "/run/netns/$name"
ip link add A type veth peer name B
ip link set A master "$bridge"
ip link set A up
ip link set B netns "$name"
ip netns exec "$name" ip link set dev B name eth0
ip netns exec "$name" ip link set eth0 up
ip netns exec "$name" ip addr add "$address" dev eth0
ip netns exec "$name" ip route add default via "$gateway"
