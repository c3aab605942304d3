#!/bin/sh
# The default route of red was deleted: it reaches its neighbours, and nothing else.
. "$(dirname "$0")/lab"

ip -n red route del default
say 'Red reaches blue, and not the world.'
reaches red 10.7.0.3
misses red 192.0.2.2
solve default-route
reaches red 192.0.2.2
