#!/bin/sh
# Lesson 1.
# A process with an empty network namespace, known by its PID only, is wired to a bridge: what
# takes ten commands by hand is one, and --explain shows what it does.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

mkdir /run/site
echo 'Welcome!' >/run/site/index.html
mkfifo /run/ready

say 'A web server in an empty namespace, as docker run --network=none starts it.
Nothing but its PID is known here.'
unshare --net sh -c 'busybox httpd -p 80 -h /run/site; echo; exec sleep infinity' >/run/ready &
pid=$!
read -r _ </run/ready
echo "PID $pid"

say 'It has a loopback that is not even up. Nobody can call it.'
expect lo nsenter -t "$pid" -n ip -brief address

say 'The bridge, as docker makes docker0.'
run netcord bridge lab0 --subnet 172.17.0.0/16

say 'The name in /run/netns, the veth, the bridge port, the address, the route: one
command. Each step is shown as what you could have typed.'
run netcord --explain attach lab0 "$pid" --ip 172.17.0.10

say 'The process has an eth0 now, and a way out.'
expect 172.17.0.10/16 nsenter -t "$pid" -n ip -brief address
expect 'default via 172.17.0.1' nsenter -t "$pid" -n ip route

say 'The host knows its namespace by name, and the bridge has a port.'
expect "$pid" ip netns list
expect UP ip -brief link show master lab0

say 'So the host reads its page.'
expect Welcome busybox wget -qO- http://172.17.0.10/

say 'The same request again changes nothing.'
expect '"changed"' netcord --format json attach lab0 "$pid" --ip 172.17.0.10
case $(printf %s "$found" | tr -d ' \n') in
*'"changed":false'*) ;;
*) fail 'the second attach changed something' ;;
esac

say 'And back: the process has its empty namespace again.'
run netcord detach lab0 "$pid"
run netcord rm lab0
expect lo nsenter -t "$pid" -n ip -brief address
case $found in
*eth0*) fail 'eth0 is still there' ;;
esac

kill "$pid"

answer 'Why has /run/netns a name for the namespace only since the attach?' \
    'A namespace lives as long as a process, a mount or an open file holds it. docker'\''s have no name; ip netns finds those that are mounted (or linked) in /run/netns, so netcord made a name to work with, and removed it at detach.'
