#!/bin/sh
# A lost neighbour entry in a flat network: nobody answers ARP requests for the endpoint.
. "$(dirname "$0")/../lesson"
. "$(dirname "$0")/../show"
. "$(dirname "$0")/../two-hosts"

. "$(dirname "$0")/../etcd"
expect 10.5.0.0/16 on one overlay pods --store $store --flat --subnet 10.5.0.0/16
expect 10.5.0.0/16 on two overlay pods --store $store
run netcord none red
run netcord none blue
expect 10.5.0.2 on one attach pods red
expect 10.5.0.3 on two attach pods blue
# is_known HOST ADDRESS: the host has the entry of an endpoint on the other host.
is_known() { at "$1" ip neigh show "$2" dev vx-pods | grep PERMANENT; }
await is_known one 10.5.0.3
await is_known two 10.5.0.2
expect ' 0% packet loss' netcord container red -- ping -c 1 -W 5 10.5.0.3

# The agent would mend it at once.
agent=$(at one pgrep -f netcord-agent | while read -r pid; do
    [ "$(readlink "/proc/$pid/ns/net")" != "$(at one readlink /proc/self/ns/net)" ] || echo "$pid"
done)
kill -9 "$agent"
at one ip neigh del 10.5.0.3 dev vx-pods
ip -n red neigh flush dev eth0
refuse netcord container red -- ping -c 1 -W 1 10.5.0.3
ask 'Who should have answered the ARP request? Then trace it.'
show netcord trace red 10.5.0.3
found=$(on one trace red 10.5.0.3) && fail 'it arrives'
printf '%s\n' "$found"
case $found in
*'knows no endpoint of another host with 10.5.0.3'*) ;;
*) fail 'trace did not say who should have answered' ;;
esac
refuse on one doctor
run on one repair
await is_known one 10.5.0.3
expect ' 0% packet loss' netcord container red -- ping -c 1 -W 5 10.5.0.3
nothing on one doctor
on one detach pods red >/dev/null
on two detach pods blue >/dev/null
on one rm pods >/dev/null
on two rm pods >/dev/null
netcord rm netns:red netns:blue >/dev/null
kill "$etcd"
