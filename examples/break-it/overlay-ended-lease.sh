#!/bin/sh
# A lease that ended: the host's key is gone from the store, and other hosts have forgotten it.
. "$(dirname "$0")/../lesson"
. "$(dirname "$0")/../show"
. "$(dirname "$0")/../two-hosts"

. "$(dirname "$0")/../etcd"
run on one overlay pods --store $store --subnet 10.5.0.0/16
subnet=$(on two overlay pods --store $store)
is_known() { at one ip route | grep "^$subnet"; }
await is_known

say 'The agent of the second host stands still, as a machine does that is suspended, and its lease ends.'
for pid in $(pidof netcord-agent); do
    [ "$(ip netns identify "$pid")" != two ] || agent=$pid
done
run kill -STOP "$agent"
key=/netcord/pods/subnets/$(printf %s "$subnet" | tr / -)
lease=$(keys get "$key" -w fields | sed -n 's/^"Lease" : //p')
run keys lease revoke "$(printf %x "$lease")"
is_forgotten() { ! is_known; }
await is_forgotten
nothing at one ip route show type unicast proto 110

ask 'What does the second host do when it goes on?'
say 'It goes on, notices that, and takes the same subnet again if nobody else has it.'
run kill -CONT "$agent"
await is_known
expect "$subnet" on one peers pods
for host in two one; do on "$host" rm pods >/dev/null; done
kill "$etcd"
