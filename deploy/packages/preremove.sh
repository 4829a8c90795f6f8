#!/bin/sh
# Before removing: $1 is "remove" for deb and 0 for rpm. An upgrade leaves the running worker alone.
set -e

case ${1:-} in
remove | 0)
    root=${DPKG_ROOT:-}
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemctl disable --now iuworker.service
    elif command -v systemctl >/dev/null; then # in an image or another root, where nothing runs
        systemctl --quiet ${root:+"--root=$root"} disable iuworker.service
    fi
    ;;
esac
