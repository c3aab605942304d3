#!/bin/sh
set -eu

# the host forwards IPv4 packets between the bridge and its other links
sysctl -qw net/ipv4/ip_forward=1

. tests/golden/shared/table.sh

# replies from published ports return through the host (masquerade)
nft -f - <<'EOF'
add chain inet netcord nat-docker0
flush chain inet netcord nat-docker0
add rule inet netcord nat-docker0 ip saddr 172.17.0.0/16 oifname "docker0" ct status dnat masquerade comment "hairpin: replies to an endpoint that uses a published port must return through the host"
add rule inet netcord nat-docker0 ip saddr 127.0.0.0/8 oifname "docker0" masquerade comment "an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge"
add element inet netcord nat { "docker0" : jump nat-docker0 }
EOF

# hairpin mode: with br_netfilter, an endpoint can reach its own published port
ip link set dev HOSTLINK type bridge_slave hairpin on

# DNAT: packets to the host's port go to the endpoint's address and port
nft add element inet netcord ports4 '{ tcp . 8080 comment "netcord:docker0/web" : 172.17.0.2 . 80 }'
