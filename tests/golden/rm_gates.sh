#!/bin/sh
set -eu

# and so do the answers, and what is for a published port
iptables -w -t filter -D FORWARD -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in' -j ACCEPT

# what endpoints send passes others' rules too: they drop what none of them accepts
iptables -w -t filter -D FORWARD -i lab0 -m comment --comment 'netcord:lab0 out' -j ACCEPT

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
