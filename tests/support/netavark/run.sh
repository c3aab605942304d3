# Runs netavark's own tests against netcord in its place; prints TAP. $1 is what `./x setup` fetched, $2
# netcord, $3 the directory of this file, the rest are files of tests.
set -eu
suite=$1 netcord=$2 here=$3
shift 3
mkdir -p /run/shim /run/sysctl.d /run/libexec/podman
ln -s "$netcord" /run/shim/netavark
ln -s "$here/ip.sh" /run/shim/ip
ln -s "$here/jq.sh" /run/shim/jq
cp "$suite/debian/usr/lib/podman/aardvark-dns" /run/libexec/podman/
# netavark looks for it in this directory, which the machine may not have.
cp -r /usr/libexec/. /run/libexec/ 2>/dev/null || :
mount --bind /run/libexec /usr/libexec
export PATH="/run/shim:$PATH"
export BATS_ROOT="$suite/debian/usr" BATS_LIBEXEC="$suite/debian/usr/lib/bats-core"
export NETAVARK=/run/shim/netavark NETAVARK_CONNECTION_TESTER="$here/tester.py"
cd "$suite/netavark-2.1.0/test"
exec "$suite/debian/usr/bin/bats" --tap "$@"
