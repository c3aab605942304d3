#!/bin/sh
# Lesson 6.
# Trace a packet: first computed from the kernel's state, then followed for real. This shows what
# `iptables -j TRACE` shows on a host, and does not show in a namespace.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

mkdir /run/site
echo hello >/run/site/index.html

run netcord none web -- busybox httpd -p 80 -h /run/site
run netcord none client
run netcord bridge lab0 --subnet 10.7.0.0/24
run netcord attach lab0 web client

say 'From neighbour to neighbour: a route without a gateway, ARP, the cable, the bridge.'
expect arrives netcord trace client web:80

say 'By the port that is published on the host: the destination is rewritten on the way.'
run netcord publish web 8080:80
expect arrives netcord trace client 10.7.0.1:8080

say 'A real packet takes the same way.'
expect arrives netcord trace --live client web:80

say 'Nobody listens at 81: it comes to web, and is refused there.'
refuse netcord trace client web:81

say 'Remove everything.'
run netcord detach lab0 web client
run netcord rm lab0

answer 'At which hook is the packet dropped if FORWARD drops?' \
    'At forward, after prerouting (where DNAT is) and the choice of the route, and before postrouting. From neighbour to neighbour nothing is routed: a bridged packet passes FORWARD only with br_netfilter.'
