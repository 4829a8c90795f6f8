#!/bin/sh
# After installing and upgrading, from deb and rpm. Nothing is started: the worker needs an address and a migrated schema first,
# and after an upgrade the schema is migrated before workers restart.
set -e
root=${DPKG_ROOT:-}

if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers ${root:+"--root=$root"} iuworker.conf
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
