#!/bin/sh
# Lesson 7.
# Host mode: a process with no stack of its own. It uses the host's links, addresses and ports, which
# is how a container is made that sets up the host's network.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

mkdir /run/site
echo 'on the host' >/run/site/index.html

say 'In a namespace of its own a process sees its own links alone, and nobody its ports.'
run netcord none web -- busybox httpd -p 127.0.0.1:8080 -h /run/site
expect lo netcord container web -- ip -brief link
refuse timeout 2 busybox wget -qO- http://127.0.0.1:8080/

say 'In host mode it is on the stack of the host: its port is a port of the host.'
run netcord host -- busybox httpd -p 127.0.0.1:8080 -h /run/site
expect 'on the host' timeout 5 busybox wget -qO- http://127.0.0.1:8080/

say 'There is nothing to publish, and a second one cannot have the same port.'
refuse netcord host -- busybox httpd -p 127.0.0.1:8080 -h /run/site

say 'What it changes, it changes for the host: so does a container that sets one up.'
run netcord host -- ip link add uplink type veth peer name far
expect uplink ip -brief link show uplink

say 'The namespace is the same one.'
run netcord host

answer 'What follows from it that two programs cannot listen on one port?' \
    'Two containers in host mode with the same server get in each other'\''s way, which namespaces of their own avoid: each has all 65535 ports, and publishing gives them different ones of the host.'
