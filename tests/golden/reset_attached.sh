#!/bin/sh
set -eu

# programs expect lo to be up and to have 127.0.0.1
ip -n web link set dev lo down
ip -n web addr del 127.0.0.1/8 dev lo

# a veth pair is a virtual cable: one end in the bridge, the other inside the target
ip link del HOSTLINK
