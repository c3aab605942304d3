#!/bin/sh
# The link of blue is down, and the kernel removed its default route with it.
. "$(dirname "$0")/lab"

ip -n blue link set eth0 down
say 'Nobody answers at the address of blue.'
misses red 10.7.0.3
solve link-down
reaches red 10.7.0.3
