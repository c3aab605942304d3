#!/bin/sh
# A namespace without a network gets one, and its page is read through a published port.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

# The lab's /run is its own, and goes with it.
mkdir /run/site
echo 'Hello from a namespace that had no network.' >/run/site/index.html

say 'A web server in a namespace with nothing but a loopback. A container started
with --network=none lives in one.'
run netcord none web -- busybox httpd -p 80 -h /run/site

say 'A bridge with a subnet, and the way out to the world.'
run netcord bridge lab0 --subnet 10.7.0.0/24

say 'The cable between the two. --explain shows each step, and why.'
run netcord --explain attach lab0 web

say 'Port 8080 of this host becomes port 80 of the web server.'
run netcord publish web 8080:80

say 'The page, read from outside the namespace, by two addresses of the host.'
expect Hello busybox wget -qO- http://10.7.0.1:8080/
expect Hello busybox wget -qO- http://127.0.0.1:8080/

say 'The endpoint, its network and its address.'
expect 10.7.0.2 netcord ps

say 'Away again: what was made is taken back.'
run netcord detach lab0 web
run netcord rm lab0
[ -z "$(netcord ls -q)" ] || fail 'a network is left'
refuse busybox wget -qO- http://127.0.0.1:8080/

say 'All of it happened in a throwaway host. Yours was not touched.'
