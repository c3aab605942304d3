#!/bin/sh
# A smaller MTU on the path: small packets pass, large ones are dropped, connections hang.
. "$(dirname "$0")/lab"

ip -n red link set eth0 mtu 9000
say 'A small packet arrives, a large one does not.'
reaches red 10.7.0.3
refuse netcord container red -- ping -c 1 -W 1 -s 4000 -M 'do' 10.7.0.3
solve mtu-mismatch
