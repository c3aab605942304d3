#!/bin/sh
# Blue is silent: its cable was pulled, and with it went its route.
. "$(dirname "$0")/lab"

ip -n blue link set eth0 down
say 'Nobody answers at the address of blue.'
misses red 10.7.0.3
solve link-down
reaches red 10.7.0.3
