#!/bin/sh
set -eu

# a name in /run/netns makes the namespace known to `ip netns`
mkdir -p /run/netns && ln -s /proc/PID/ns/net /run/netns/db
