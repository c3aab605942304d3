#!/bin/sh
# After the installation and the removal of the package: systemd reads the units. None is enabled or
# started.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
