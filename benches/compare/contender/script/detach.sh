# What undoes attach.sh.
set -eu
target=$1

ip link del A
rm "/run/netns/$target-by-hand"
