#!/bin/sh
# Refuses to release a tag that is not the version in the code. Without an argument it is no release.
set -e
if [ -n "${1:-}" ] && ! grep -q "^const ProgramVersion = \"$1\"\$" sql/version.go; then
    echo "the tag is v$1, and ProgramVersion in sql/version.go is another: change it, or the tag" >&2
    exit 1
fi
