#!/bin/sh
set -eu

# remove the firewall rules that nothing needs any more
nft -f - <<'EOF'
delete element inet netcord nat { "lab0" }
delete element inet netcord filter { "lab0" }
delete element inet netcord bridges { "lab0" }
flush chain inet netcord filter-lab0
delete chain inet netcord filter-lab0
flush chain inet netcord nat-lab0
delete chain inet netcord nat-lab0
EOF
nft delete table inet netcord

# delete the bridge, with its addresses and routes
ip link del lab0
