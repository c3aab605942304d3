#!/bin/sh
set -eu

# what may pass by the bridge, and with which address it leaves
nft -f - <<'EOF'
delete element inet netcord nat { "lab0" }
delete element inet netcord filter { "lab0" }
delete element inet netcord bridges { "lab0" }
flush chain inet netcord filter-lab0
delete chain inet netcord filter-lab0
flush chain inet netcord nat-lab0
delete chain inet netcord nat-lab0
EOF

# a table of our own: nobody else's rules are touched
nft delete table inet netcord

# a bridge is the switch that all endpoints plug into
ip link del lab0
