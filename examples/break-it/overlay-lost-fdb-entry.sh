#!/bin/sh
# A lost FDB entry: nobody knows at which host the MAC of the next hop is.
. "$(dirname "$0")/overlay-lab"

at one bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self
misses 56
say 'The route, the neighbour entry or the FDB entry? The host itself answers.'
checks 'incomplete, filtered on the way'
refuse on one doctor
run on one repair
whole
