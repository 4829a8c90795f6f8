#!/bin/sh
# After removing. The user stays, as files may belong to it, and so does /etc/iuworker while it holds your files.
set -e

if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
