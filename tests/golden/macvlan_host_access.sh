#!/bin/sh
set -eu

# the host cannot reach macvlans through their parent: it needs a macvlan of its own
ip link add link eth0 name lan0 address 02:6e:7c:65:0b:b1 mtu 1500 group 28259 type macvlan mode bridge

# the alias marks the link as netcord's and names its owner
ip link set dev lan0 alias netcord:lan0

# arp_ignore: the parent answers ARP for the host's address, this link must not
sysctl -qw net/ipv4/conf/lan0/arp_ignore=8

# the host's macvlan gets no IPv6 address, router advertisement or redirect
sysctl -qw net/ipv6/conf/lan0/accept_ra=0
sysctl -qw net/ipv6/conf/lan0/accept_redirects=0
sysctl -qw net/ipv6/conf/lan0/addr_gen_mode=1

# a link carries no frames until it is up
ip link set dev lan0 up
