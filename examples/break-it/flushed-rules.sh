#!/bin/sh
# The firewall rules were flushed: without masquerade, outside hosts have no route for replies.
. "$(dirname "$0")/lab"

mkdir /run/blue
echo blue >/run/blue/index.html
netcord container blue -- busybox httpd -p 80 -h /run/blue
run netcord publish blue 8080:80
iptables -t nat -F
nft flush ruleset
say 'Red reaches the host, and the world does not know where to answer.'
reaches red 192.0.2.1
misses red 192.0.2.2
solve rules-missing port-missing
reaches red 192.0.2.2
