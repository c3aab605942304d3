#!/bin/sh
# Lesson 8.
# Two processes, one network stack: a server and its helper meet on localhost, as in a pod or
# with `docker run --network container:web`.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

mkdir /run/site
echo 'For my helper only.' >/run/site/index.html

say 'A namespace, and in it a server that listens on localhost alone.'
run netcord none web -- busybox httpd -p 127.0.0.1:8080 -h /run/site

say 'A helper joins the stack of web, and finds the server on its own localhost.'
expect 'For my helper only.' netcord container web -- busybox wget -qO- http://127.0.0.1:8080/

say 'The localhost of the host is another one.'
refuse busybox wget -qO- http://127.0.0.1:8080/

say 'One cable serves both: an address belongs to the stack, not to a process.'
run netcord bridge lab0 --subnet 10.7.0.0/24
run netcord attach lab0 web
expect 10.7.0.2/24 netcord container web -- ip -brief address show eth0

say 'Remove everything.'
run netcord detach lab0 web
run netcord rm lab0

answer 'What happens to the second process when the first one ends?' \
    'Nothing: the namespace lives as long as one process is in it, or its name. That is why a pod has a process that only sleeps and holds the stack.'
