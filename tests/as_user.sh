#!/bin/sh
# Runs a command, as root, as a user without rights of whom only one thing is special: in its mount namespace everybody may open /dev/fuse.
# Usage: tests/as_user.sh COMMAND [ARGUMENT...]
set -eu

# The file stays when the file system that it is made in has no place any more.
# shellcheck disable=SC2016
exec unshare -m --propagation private sh -euc '
    mount -t tmpfs none /mnt
    mknod -m 666 /mnt/fuse c 10 229
    mount --bind /mnt/fuse /dev/fuse
    umount /mnt
    exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"' sh "$@"
