#!/bin/sh
# Lesson 12.
# Two hosts find each other in etcd: each gets a subnet of its own, and follows who comes and goes.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"
. "$(dirname "$0")/two-hosts"

say 'etcd runs on the first host.'
. "$(dirname "$0")/etcd"

say 'The first host gives the subnet of the whole network. Each host gets a part of it.'
run on one overlay pods --store $store --subnet 10.5.0.0/16
run on two overlay pods --store $store

say 'What is in the store is what flannel writes: the configuration, and one key for each host.'
expect '"Network":"10.5.0.0/16"' keys get /netcord/pods/config
expect '"PublicIP":"192.0.2.2"' keys get --prefix /netcord/pods/subnets/

say 'An endpoint on each host.'
run netcord none web
run netcord none db
run on one attach pods web
there=$(on two attach pods db | head -n 1)

say 'netcord-agent, one process on each host, has made the entries for the other host.'
tries=0
until on one peers pods | grep -q ' ok'; do
    [ "$((tries += 1))" -le 100 ] || fail 'the other host did not appear'
    sleep 0.1
done
run on one peers pods
expect 'proto 110' at one ip route
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 "$there"

say 'Without the store, packets still pass.'
run kill -STOP "$etcd"
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 "$there"
run kill -CONT "$etcd"

say 'A host that leaves gives its subnet back, and the other forgets it.'
run on two detach pods db
run on two rm pods
tries=0
while at one ip route show type unicast | grep -q 'proto 110'; do
    [ "$((tries += 1))" -le 100 ] || fail 'the host that left is still known'
    sleep 0.1
done
nothing at one ip neigh show dev vx-pods
run on one detach pods web
run on one rm pods
nothing keys get --keys-only --prefix /netcord/pods/subnets/
run netcord rm netns:web netns:db
kill "$etcd"

answer 'What happens to connections while etcd does not answer?' \
    'Nothing: routes, neighbours and FDB entries are in the kernel. Only changes are not seen, and a host that stays away until its lease ends loses its subnet.'
