#!/bin/sh
# Whether the patches apply to a checkout of Redox's base or kernel; changes nothing there.
# Usage: kernel-patch/check.sh TREE [base|kernel]
# Exit status 0 if they do, 1 if not.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ $# -lt 1 ]; then
    sed -n '3s/^# //p' "$0" >&2
    exit 2
fi
tree=$1
kind=${2-}
if [ -z "$kind" ]; then
    if [ -e "$tree/bootstrap/src/procmgr.rs" ]; then
        kind=base
    elif [ -e "$tree/src/scheme/user.rs" ]; then
        kind=kernel
    else
        echo "$tree is neither Redox's base nor its kernel" >&2
        exit 2
    fi
fi
patch=$(mktemp)
trap 'rm -f "$patch"' EXIT
"$here/make-patch.sh" "$kind" "$patch" >/dev/null

wanted=$(sed -n 's/^Against [a-z]* \([0-9a-f]\{40\}\)\..*/\1/p' "$here/$kind"/hooks/*.patch | sort -u)
found=$(git -C "$tree" rev-parse HEAD 2>/dev/null || echo unknown)
# Without context git applies a hook wherever its line number says. So the commit counts as much as what git says.
if [ "$found" != "$wanted" ]; then
    echo "$kind: $tree is at $found, and the hooks are for $wanted: move them as README.md says" >&2
    exit 1
fi
git -C "$tree" apply --check --unidiff-zero "$patch"
echo "$kind: applies to $found"
