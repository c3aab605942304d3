#!/bin/sh
# Lesson 3.
# From one container to its neighbour: a direct route, a question to everybody (ARP), an answer, and
# from then on frames to one MAC.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

run netcord none nginx-1
run netcord none nginx-2
run netcord bridge lab0 --subnet 172.17.0.0/16
run netcord attach lab0 nginx-1 nginx-2

say 'The route to 172.17.0.0/16 has no gateway: who is in there is a neighbour, and
is reached by eth0 directly. Everybody else is reached by way of the gateway.'
expect '172.17.0.0/16 dev eth0' netcord container nginx-1 -- ip route
expect 'dev eth0 src 172.17.0.2' netcord container nginx-1 -- ip route get 172.17.0.3
expect 'via 172.17.0.1' netcord container nginx-1 -- ip route get 192.0.2.1

say 'Frames go to a MAC, not to an address, and nginx-1 knows none yet.'
nothing netcord container nginx-1 -- ip neigh show 172.17.0.3

say 'So the first ping asks everybody on the bridge who has 172.17.0.3. nginx-2 hears
it and answers.'
expect ' 0% packet loss' netcord container nginx-1 -- ping -c 1 -W 5 172.17.0.3

say 'Now it is known, by both: who asks says who it is.'
expect '172.17.0.3 dev eth0 lladdr 02:42:ac:11:00:03' netcord container nginx-1 -- ip neigh show 172.17.0.3
expect '172.17.0.2 dev eth0 lladdr 02:42:ac:11:00:02' netcord container nginx-2 -- ip neigh show 172.17.0.2

say 'It is the MAC of the other eth0, and the address is written in it: ac:11:00:03.'
expect '02:42:ac:11:00:03' netcord container nginx-2 -- ip -brief link show eth0

say 'Remove everything.'
run netcord detach lab0 nginx-1 nginx-2
run netcord rm lab0

answer 'Why does the gateway take no part?' \
    'The neighbour is in the subnet of eth0: the route has no gateway, so the frame is addressed to the neighbour'\''s own MAC. A bridge forwards frames; it does not route.'
