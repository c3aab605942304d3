# Prints everything of a host's network that netcord could change. Each part begins with a line
# `== PART`. Nothing is sorted or filtered here: a process for each of that would cost more than
# all that is read.

part() { echo "== $1"; }

part link
ip -o -d link
part addr
ip -o addr
part route
ip route show table all
part rule
ip rule
ip -6 rule
tc qdisc show | while read -r _ kind _ _ port _; do
    [ "$kind" = clsact ] || continue
    part "filter $port"
    tc -d filter show dev "$port" ingress
done
part neigh
ip neigh show nud permanent
part fdb
bridge fdb show 2>/dev/null
part nft
nft list ruleset 2>/dev/null
for save in iptables-save ip6tables-save; do
    part $save
    $save 2>/dev/null
done
part sysctl
# Not what stays on by promise: forwarding, and what the kernel turns with it. Those of neighbour
# tables (neigh) come and go with their links, and netcord sets none.
(cd /proc/sys/net && grep -rsH --exclude=ip_forward --exclude=forwarding --exclude=mc_forwarding \
    --exclude=flush --exclude-dir=netfilter --exclude-dir=core --exclude-dir=neigh . .)
part name
find /run/netns -mindepth 1 -printf '%M %f %l\n' 2>/dev/null
part record
find /run/netcord -name '*.json' 2>/dev/null
for netns in /run/netns/*; do
    part "in ${netns##*/}"
    nsenter "--net=$netns" ip -o -batch - <<END 2>/dev/null
link
addr
route show table all
END
done
