# The three rules that docker has for a published port: -A or -D.
set -eu
verb=$1 bridge=$2 to=$3 port=$4 target_port=$5

iptables -t nat "$verb" DOCKER ! -i "$bridge" -p tcp --dport "$port" \
    -j DNAT --to-destination "$to:$target_port"
iptables "$verb" DOCKER -d "$to" ! -i "$bridge" -o "$bridge" -p tcp --dport "$target_port" -j ACCEPT
iptables -t nat "$verb" POSTROUTING -s "$to" -d "$to" -p tcp --dport "$target_port" -j MASQUERADE
