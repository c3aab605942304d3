#!/bin/sh
# As after the start of docker: what is forwarded is dropped, unless somebody allowed it.
. "$(dirname "$0")/lab"

iptables -P FORWARD DROP
say 'Red reaches the host, and not the world.'
reaches red 192.0.2.1
misses red 192.0.2.2
solve forward-drop
reaches red 192.0.2.2
