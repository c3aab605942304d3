#!/bin/sh
# An older DNAT rule matches first, so a published port leads to another endpoint.
. "$(dirname "$0")/lab"

mkdir /run/red /run/blue
echo red >/run/red/index.html
echo blue >/run/blue/index.html
netcord container red -- busybox httpd -p 80 -h /run/red
netcord container blue -- busybox httpd -p 80 -h /run/blue
run netcord publish blue 8080:80
expect blue netcord container outside -- busybox wget -qO- http://192.0.2.1:8080/
iptables -t nat -I PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.7.0.2:80
say 'It was blue that was published.'
expect red netcord container outside -- busybox wget -qO- http://192.0.2.1:8080/
solve port-shadowed
expect blue netcord container outside -- busybox wget -qO- http://192.0.2.1:8080/
