#!/bin/sh
# The kernel may lack `dummy`: an `ifb` does the same for these tests. It is one link too, and its addresses
# are never tentative.
case " $* " in
*' type dummy '*) ;;
*) exec /usr/sbin/ip "$@" ;;
esac
[ "$3" = type ] && name=dummy0 || name=$3
exec /usr/sbin/ip link add "$name" type ifb
