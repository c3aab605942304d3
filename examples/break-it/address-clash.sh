#!/bin/sh
# Two have one address: who is reached is a matter of luck.
. "$(dirname "$0")/lab"

ip -n blue addr add 10.7.0.2/24 dev eth0
solve address-clash
