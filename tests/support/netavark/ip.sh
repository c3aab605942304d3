#!/bin/sh
# The kernel may lack `dummy`: a veth, whose other end is up, does the same for these tests. An address of a
# dummy is never tentative; until an address of a veth is no longer, packets to it find no host.
case " $* " in
*' type dummy '*) ;;
*) exec /usr/sbin/ip "$@" ;;
esac
[ "$3" = type ] && name=dummy0 || name=$3
/usr/sbin/ip link add "$name" type veth peer name "e$$" && /usr/sbin/ip link set "e$$" up &&
    echo 0 >"/proc/sys/net/ipv6/conf/$name/accept_dad"
