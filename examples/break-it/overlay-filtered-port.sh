#!/bin/sh
# A filtered port: something on the way drops UDP packets to port 8472, as cloud networks do.
. "$(dirname "$0")/overlay-lab"

at two nft 'table ip cloud { chain arriving { type filter hook prerouting priority -400; udp dport 8472 drop; }; }'
misses 56
say 'All entries are there, and the other host answers. What is lost is what the tunnel sends.'
nothing on one doctor
checks 'ok, filtered on the way'
run at two nft delete table ip cloud
whole
