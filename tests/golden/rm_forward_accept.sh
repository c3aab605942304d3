#!/bin/sh
set -eu

# accept replies and traffic to published ports there too
iptables -w -t filter -D FORWARD -o lab0 -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment 'netcord:lab0 in' -j ACCEPT

# another firewall would drop what endpoints send: accept it there too
iptables -w -t filter -D FORWARD -i lab0 -m comment --comment 'netcord:lab0 out' -j ACCEPT

# the network's filter rules, and its source NAT (masquerade)
nft -f - <<'EOF'
delete element inet netcord nat { "lab0" }
delete element inet netcord filter { "lab0" }
delete element inet netcord bridges { "lab0" }
flush chain inet netcord filter-lab0
delete chain inet netcord filter-lab0
flush chain inet netcord nat-lab0
delete chain inet netcord nat-lab0
EOF

# netcord's own nftables table: the rules of others stay as they are
nft delete table inet netcord

# the bridge: the Ethernet switch that all endpoints plug into
ip link del lab0
