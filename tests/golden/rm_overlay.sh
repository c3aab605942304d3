#!/bin/sh
set -eu

# remove the route
ip route del 10.5.2.0/24 via 192.0.2.2 dev eth0 src 10.5.1.1 proto 110
ip route del unreachable 10.5.0.0/16 metric 65535 proto 110

# remove the firewall rules that nothing needs any more
nft -f - <<'EOF'
delete element inet netcord nat { "pods" }
delete element inet netcord filter { "pods" }
delete element inet netcord bridges { "pods" }
flush chain inet netcord filter-pods
delete chain inet netcord filter-pods
flush chain inet netcord nat-pods
delete chain inet netcord nat-pods
EOF
nft delete table inet netcord

# delete the bridge, with its addresses and routes
ip link del pods
