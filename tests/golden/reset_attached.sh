#!/bin/sh
set -eu

# take the link down again
ip -n web link set dev lo down

# remove the address
ip -n web addr del 127.0.0.1/8 dev lo

# delete one end of a veth pair: the other goes with it, and the addresses and routes of both
ip link del HOSTLINK
