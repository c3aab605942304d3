#!/bin/sh
# Lesson 15.
# The UDP backend: packets between hosts pass through a process, which reads them from a TUN link and
# sends them in UDP packets. It is how flannel began, and shows what the kernel does in the other
# backends.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"
. "$(dirname "$0")/two-hosts"

say 'Each host runs one command: the subnet of all, its own part of it, and who has the other part.'
expect 10.5.1.0/24 on one overlay pods --backend udp --subnet 10.5.0.0/16 \
    --host-subnet 10.5.1.0/24 --peer 10.5.2.0/24=192.0.2.2
expect 10.5.2.0/24 on two overlay pods --backend udp --subnet 10.5.0.0/16 \
    --host-subnet 10.5.2.0/24 --peer 10.5.1.0/24=192.0.2.1

say 'A TUN link: the kernel gives what is sent to it to the process that has it open, the relay.'
expect 'tun type tun' at one ip -details link show dev tu-pods
expect LOWER_UP at one ip link show dev tu-pods

say 'One question, one table. At which host is the subnet? The route names it, and the relay reads the
routes. There is no neighbour and no MAC: a TUN link carries packets, not frames.'
expect '10.5.2.0/24 via 192.0.2.2 dev tu-pods' at one ip route
expect tu-pods on one peers pods

say 'An endpoint on each host.'
run netcord none web
run netcord none db
expect 10.5.1.2 on one attach pods web
expect 10.5.2.2 on two attach pods db
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 10.5.2.2

say 'The relay is a router, too: beside the two hosts, each end of the tunnel takes one off the TTL.'
expect ttl=60 netcord container web -- ping -c 1 -W 5 10.5.2.2

say 'Each packet is copied out of the kernel and into it again, on both hosts. The system calls of the
relay show it: it reads a packet, which begins with E (IPv4, and a header of 20 bytes), and sends the
same packet to port 8285 of the other host.'
relay=$(at one pgrep -of 'netcord-agent relay')
show strace -e trace=read,sendmsg -p RELAY
strace -qq -e trace=read,sendmsg -p "$relay" 2>/run/calls &
tracer=$!
tries=0
until grep -qs sendmsg /run/calls; do
    [ "$((tries += 1))" -le 20 ] || fail 'no system call was seen'
    netcord container web -- ping -q -c 1 -W 5 10.5.2.2 >/run/pinged
done
kill "$tracer"
expect 'sin_port=htons(8285), sin_addr=inet_addr("192.0.2.2")' cat /run/calls

say 'One system call for each packet made this backend slow in flannel. The TUN link says that it can
split segments, so TCP gives it up to 64 KB at once; the relay splits them, and gives all the packets
to the kernel in one system call. On the other host it gets many at once, and merges them again.'
expect '"send":"segments","receive":"gro"' on one --format json peers pods

say 'Break it: without the process, nobody reads the link.'
show kill -9 'PROCESSES-OF-ONE'
# shellcheck disable=SC2046 # each is a word
kill -9 $(ip netns pids one)
refuse netcord container web -- ping -c 1 -W 1 10.5.2.2
expect NO-CARRIER at one ip link show dev tu-pods
refuse on one doctor
run on one repair
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 10.5.2.2

say 'All of it goes with the network.'
run on one detach pods web
run on one rm pods
nothing at one ip route show type unicast proto 110
run on two detach pods db
run on two rm pods
run netcord rm netns:web netns:db

answer 'Why is the MTU only 28 bytes smaller than that of eth0, and not 50 as with VXLAN?' \
    'The UDP packet carries an IP packet, and no Ethernet frame: 20 bytes of IPv4 and 8 of UDP.'
