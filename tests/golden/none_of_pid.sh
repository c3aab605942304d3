#!/bin/sh
set -eu

# a name in /run/netns lets `ip netns` find the namespace
mkdir -p /run/netns && ln -s /proc/PID/ns/net /run/netns/db
