#!/bin/sh
# Ends the package's services, if it is not an upgrade, and nothing else: networks serve containers that
# run, and stay as they are. `netcord reset --yes` removes them.
set -e
case ${1:-} in
remove | 0) ;;
*) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
for unit in /usr/lib/systemd/system/netcord*; do
    # An instance of a template ends by itself.
    [ "${unit%@.service}" = "$unit" ] || continue
    systemctl --quiet disable --now "${unit##*/}" || :
done
