#!/bin/sh
# Runs a command, as root, as a user without rights of whom only one thing is special: in its mount namespace everybody may open /dev/fuse.
# Usage: tests/as_user.sh COMMAND [ARGUMENT...]
set -eu

PLACE=$(mktemp -d)
export PLACE
trap 'rmdir "$PLACE"' EXIT

# shellcheck disable=SC2016
unshare -m --propagation private sh -euc '
    mount -t tmpfs -o mode=755 none "$PLACE"
    mknod -m 666 "$PLACE/fuse" c 10 229
    mount --bind "$PLACE/fuse" /dev/fuse
    exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"' sh "$@"
