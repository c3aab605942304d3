#!/bin/sh
# A wrong MTU: a part of the way takes less than the link of either host says. Small packets pass.
. "$(dirname "$0")/overlay-lab"

at two ip link set eth0 mtu 1400
pings 56
misses 1422
say 'The first host cannot see that. It sends a packet as large as the network takes.'
nothing on one doctor
checks 'large packets are lost'
run at two ip link set eth0 mtu 1500
whole
