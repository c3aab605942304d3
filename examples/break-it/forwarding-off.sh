#!/bin/sh
# A hardening script turned IP forwarding off: endpoints reach each other, but not the outside.
. "$(dirname "$0")/lab"

echo 0 >/proc/sys/net/ipv4/ip_forward
say 'Red reaches blue and the host, and not the world.'
reaches red 10.7.0.3
reaches red 192.0.2.1
misses red 192.0.2.2
solve forwarding-off
reaches red 192.0.2.2
