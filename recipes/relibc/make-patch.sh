#!/bin/sh
# Makes one patch of all that relibc needs: the shim, our files, and the hooks.
# Usage: recipes/relibc/make-patch.sh OUTPUT [HOOK ...]
# Without HOOKs all of hooks/ are taken; name those that you want if upstream has mended the others.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
output=$(realpath -m "$1")
shift
[ $# -gt 0 ] || set -- "$here"/hooks/*.patch
hooks=$(realpath -- "$@")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$here/files/." "$work/"
mkdir "$work/eventd-shim"
cp -R "$here/../../shim/Cargo.toml" "$here/../../shim/src" "$work/eventd-shim/"

# New files, as an empty repository sees them.
git -C "$work" -c init.defaultBranch=main init -q
git -C "$work" add -A
git -C "$work" -c core.quotePath=false diff --cached -U0 --no-color >"$output"
for hook in $hooks; do
    sed -n '/^diff --git/,$p' "$hook" >>"$output"
done
echo "made $output"
