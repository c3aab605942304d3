#!/bin/sh
# Lesson 9.
# Underlay: the host's own link moves into a bridge, and an endpoint sits beside the host in the
# physical network, with an address of it. A connection lives through the move and back.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

say 'The physical network: a machine on the other end of our eth0, which is our router too.'
run netcord none router
run ip link add eth0 type veth peer name eth0 netns router
run netcord container netns:router -- ip address add 192.0.2.254/24 dev eth0
run netcord container netns:router -- ip link set eth0 up
run ip address add 192.0.2.1/24 dev eth0
run ip link set eth0 up
run ip route add default via 192.0.2.254
expect ' 0% packet loss' ping -c 1 -W 5 192.0.2.254

say 'Somebody outside watches us the whole time: a ping every 10 ms, until we stop it.'
netcord container netns:router -- ping -i 0.01 -W 1 192.0.2.1 >/run/watched 2>&1 &
watcher=$!

say 'By hand this is where one locks oneself out. So netcord asks whether we mean it:'
refuse netcord underlay mydr0 --parent eth0

say 'We do. The script of it is the way of the notes, with the reason of each step.'
run netcord --dry-run underlay mydr0 --parent eth0 --takeover
run netcord underlay mydr0 --parent eth0 --ip-range 192.0.2.64/27 --takeover --confirm 60

say 'The bridge has the MAC, the address and the route. If we were cut off now, a watchdog would
put it all back in a minute. We are not, so it stays.'
expect 192.0.2.1/24 ip -brief address show dev mydr0
expect 'dev mydr0' ip route show default
run netcord confirm mydr0

say 'An endpoint gets an address of the physical network: the wire was asked whether it is free.'
run netcord none web
expect 192.0.2.64 netcord attach mydr0 web
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 192.0.2.254
say 'Nothing is published and nothing translated: the machine outside reaches it as it is.'
expect ' 0% packet loss' netcord container netns:router -- ping -c 1 -W 5 192.0.2.64

say 'All back: eth0 has what it had.'
refuse netcord rm mydr0
run netcord detach mydr0 web
run netcord rm mydr0
expect 192.0.2.1/24 ip -brief address show dev eth0
expect 'dev eth0' ip route show default

say 'And who watched us saw nothing of it.'
kill -INT "$watcher"
wait "$watcher" || :
expect 'packets transmitted' tail -n 3 /run/watched
lost=$(sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p' /run/watched)
[ "${lost%.*}" -le 1 ] || fail "$lost % of the pings were lost"

answer 'What must move with the link, and in which order?' \
    'Its addresses, routes and neighbour entries go to the bridge: first the addresses, since a route needs its source address; then routes without a gateway, as a gateway must be reachable; then the others.'
