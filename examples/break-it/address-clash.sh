#!/bin/sh
# A duplicate address: either of the two endpoints may answer.
. "$(dirname "$0")/lab"

ip -n blue addr add 10.7.0.2/24 dev eth0
solve address-clash
