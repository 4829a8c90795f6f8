#!/bin/sh
# Before removing: $1 is "remove" for deb and 0 for rpm. An upgrade leaves the running worker alone.
set -e

case ${1:-} in
remove | 0)
    if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
        systemctl disable --now iuworker.service
    fi
    ;;
esac
