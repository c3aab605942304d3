#!/bin/sh
# The kernel may lack `dummy`: a veth, whose other end is up, does the same for these tests.
case " $* " in
*' type dummy '*) ;;
*) exec /usr/sbin/ip "$@" ;;
esac
[ "$3" = type ] && name=dummy0 || name=$3
/usr/sbin/ip link add "$name" type veth peer name "e$$" && /usr/sbin/ip link set "e$$" up
