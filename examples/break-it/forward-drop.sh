#!/bin/sh
# The policy of FORWARD is DROP, as after docker starts: forwarded packets need an accept rule.
. "$(dirname "$0")/lab"

iptables -P FORWARD DROP
say 'Red reaches the host, and not the world.'
reaches red 192.0.2.1
misses red 192.0.2.2
solve forward-drop
reaches red 192.0.2.2
