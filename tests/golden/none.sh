#!/bin/sh
set -eu

# a network namespace of its own, held by its name
ip netns add db

# programs expect to reach themselves on 127.0.0.1
ip -n db addr replace 127.0.0.1/8 scope host dev lo
ip -n db link set dev lo up
