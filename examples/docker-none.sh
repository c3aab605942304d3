#!/bin/sh
# Lesson 13.
# A docker container started with --network=none is attached to docker0, which docker itself
# refuses. Runs on the real host, and needs a running docker, root, and busybox-static.
. "$(dirname "$0")/show"

need() {
    printf 'error: this example needs %s\n' "$2" >&2
    exit "$1"
}
docker info >/dev/null 2>&1 || need 6 'a running docker that you may use'
busybox --list 2>/dev/null | grep -qx httpd || need 6 'busybox with httpd (Debian: busybox-static)'
grep -q '^ *docker0:' /proc/net/dev || need 6 'the bridge docker0 (dockerd runs without it)'
[ "$(id -u)" = 0 ] || need 5 'root'

name=netcord-example-$$
root=$(mktemp -d)
clean_up() {
    docker rm --force "$name" >/dev/null 2>&1 || true
    docker image rm "$name" >/dev/null 2>&1 || true
    rm -rf "$root"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# An image of one static program, so that nothing is downloaded.
mkdir "$root/bin" "$root/www"
cp "$(command -v busybox)" "$root/bin/busybox"
echo 'Hello from --network=none.' >"$root/www/index.html"
tar -C "$root" -c . | docker import - "$name" >/dev/null

say 'A container without a network, and a web server in it.'
run docker run --detach --network=none --name "$name" "$name" /bin/busybox sleep 3600
run docker exec "$name" /bin/busybox httpd -p 80 -h /www

say 'Docker refuses to connect it.'
refuse docker network connect bridge "$name"

say 'netcord does. docker0 is used as it is, and not changed.'
expect . netcord --explain attach docker0 "docker:$name"
address=${found%%/*}

say 'The host reads its page.'
expect Hello busybox wget -qO- "http://$address/"

say 'And back.'
run netcord detach docker0 "docker:$name"

answer 'Why does docker refuse what netcord does?' \
    'docker keeps who is in which network in its own records, and none excludes all others there. The kernel has no such rule: a namespace takes any link.'
