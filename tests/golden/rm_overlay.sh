#!/bin/sh
set -eu

# the route to the other host's endpoints: that host is the next hop
ip route del 10.5.2.0/24 via 192.0.2.2 dev eth0 src 10.5.1.1 proto 110

# the network's filter rules, and its source NAT (masquerade)
nft -f - <<'EOF'
delete element inet netcord nat { "pods" }
delete element inet netcord filter { "pods" }
delete element inet netcord bridges { "pods" }
flush chain inet netcord filter-pods
delete chain inet netcord filter-pods
flush chain inet netcord nat-pods
delete chain inet netcord nat-pods
EOF

# netcord's own nftables table: the rules of others stay as they are
nft delete table inet netcord

# the bridge: the Ethernet switch that all endpoints plug into
ip link del pods
