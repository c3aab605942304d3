#!/bin/sh
set -eu

# a new network namespace, kept alive by a bind mount in /run/netns
ip netns add db

# programs expect lo to be up and to have 127.0.0.1
ip -n db addr replace 127.0.0.1/8 scope host dev lo
ip -n db link set dev lo up
