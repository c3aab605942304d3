#!/bin/sh
# Lesson 4.
# A bridge is a switch: it learns behind which port a MAC is from the frames that come in there, and
# floods what it has not learned.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

# shellcheck disable=SC2016 # the dollar is awk's
heard() { netcord container "$1" -- awk '/eth0:/ { print $3 }' /proc/net/dev; }

for name in alice bob carol; do run netcord none "$name"; done
run netcord bridge lab0 --subnet 10.7.0.0/24
run netcord attach lab0 alice bob carol

say 'Each container is on a port of the bridge: the host end of its cable. It has a MAC,
and no address: it is a port of a switch, and no card of the host.'
run ip -brief link show master lab0
expect 'state forwarding' bridge link show

say 'The table is emptied, as if all had been silent for five minutes.'
run ip link set dev lab0 type bridge fdb_flush
nothing bridge fdb show br lab0 dynamic

say 'Alice calls bob. The bridge knows neither: it sends the question out by every port,
and learns from each frame behind which port its sender is.'
expect ' 0% packet loss' netcord container alice -- ping -c 1 -W 5 10.7.0.3
expect 02:42:0a:07:00:02 bridge fdb show br lab0 dynamic
expect 02:42:0a:07:00:03 bridge fdb show br lab0 dynamic

say 'Bob moves nowhere: from now on what is for him leaves by his port alone. Carol
hears nothing of a hundred pings.'
before=$(heard carol)
expect ' 0% packet loss' netcord container alice -- ping -c 100 -i 0.01 -q -W 5 10.7.0.3
after=$(heard carol)
say "Frames that carol got: $before before, $after after."
[ $((after - before)) -lt 50 ] || fail 'the bridge sent to carol what was for bob'

say 'Remove everything.'
run netcord detach lab0 alice bob carol
run netcord rm lab0

answer 'What does the bridge do with a frame for an unknown MAC?' \
    'It floods it: the frame leaves by every port but the one that it came from. The answer teaches the bridge the port, and later frames leave by that port alone.'
