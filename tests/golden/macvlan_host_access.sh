#!/bin/sh
set -eu

# the host reaches its parent's macvlans by a macvlan of its own only
ip link add link eth0 name lan0 address 02:6e:7c:65:0b:b1 mtu 1500 group 28259 type macvlan mode bridge

# the alias says whose link it is
ip link set dev lan0 alias netcord:lan0

# the host has one address on the wire: this link must not answer for it too
sysctl -qw net/ipv4/conf/lan0/arp_ignore=8

# nor announce or accept anything of IPv6's
sysctl -qw net/ipv6/conf/lan0/accept_ra=0
sysctl -qw net/ipv6/conf/lan0/accept_redirects=0
sysctl -qw net/ipv6/conf/lan0/addr_gen_mode=1

# a link carries nothing until it is up
ip link set dev lan0 up
