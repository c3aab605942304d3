#!/bin/sh
# Lesson 5.
# A port of the host that leads into a container: the destination of what comes for the host is
# rewritten (DNAT), and the answer is rewritten back.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

mkdir /run/site
echo 'hello from inside' >/run/site/index.html

say 'A machine outside, which knows this host and nothing behind it.'
run netcord none outside
run ip link add uplink type veth peer name eth0 netns outside
run ip address add 192.0.2.1/24 dev uplink
run ip link set uplink up
run netcord container netns:outside -- ip address add 192.0.2.2/24 dev eth0
run netcord container netns:outside -- ip link set eth0 up

say 'A web server in a container.'
run netcord none web -- busybox httpd -p 80 -h /run/site
run netcord bridge lab0 --subnet 10.7.0.0/24
run netcord attach lab0 web

say 'Outside nobody has a route to 10.7.0.2, and nothing listens on the host.'
refuse netcord container netns:outside -- timeout 2 busybox wget -qO- http://192.0.2.1:2333/

say 'The port is published. No process listens: it is an element of a map.'
run netcord publish web 2333:80
expect 'hello from inside' netcord container netns:outside -- timeout 5 busybox wget -qO- http://192.0.2.1:2333/

say 'The rule, as nftables has it: what comes for port 2333 goes to 10.7.0.2, port 80.'
if command -v nft >/dev/null; then
    expect 'tcp . 2333' nft list map inet netcord ports4
fi

say 'The same in iptables, the way docker does it. netcord moves its rules over, and back.'
if command -v iptables >/dev/null; then
    run netcord --firewall iptables publish web 2333:80
    expect '--dport 2333' iptables -t nat -S NETCORD-DNAT
    expect 'hello from inside' netcord container netns:outside -- timeout 5 busybox wget -qO- http://192.0.2.1:2333/
    run netcord --firewall nftables publish web 2333:80
fi

say 'Unpublished: connections to it find nobody.'
run netcord unpublish web 2333:80
refuse netcord container netns:outside -- timeout 2 busybox wget -qO- http://192.0.2.1:2333/

say 'Remove everything.'
run netcord detach lab0 web
run netcord rm lab0

answer 'Why does the answer come from the host'\''s address?' \
    'Connection tracking has an entry for the connection with both its ends. It rewrites the source of each reply back to 192.0.2.1:2333, the address that the client called.'
