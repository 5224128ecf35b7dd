#!/bin/sh
# Makes one patch of our files and hooks for a tree of Redox.
# Usage: kernel-patch/make-patch.sh base|kernel OUTPUT [HOOK ...]
# Without HOOKs all of that tree are taken; name those that you want if upstream has mended the others.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
case ${1-} in
base) sources=bootstrap/src ;;
kernel) sources=src/scheme ;;
*)
    sed -n '3,4s/^# //p' "$0" >&2
    exit 2
    ;;
esac
tree=$1
output=$(realpath -m "$2")
shift 2
[ $# -gt 0 ] || set -- "$here/$tree"/hooks/*.patch
hooks=$(realpath -- "$@")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$here/$tree/files/." "$work/"
cp "$here/pending_word.rs" "$work/$sources/"
cp "$here/protocol.rs" "$work/$sources/signal_protocol.rs"

# New files, as an empty repository sees them.
git -C "$work" -c init.defaultBranch=main init -q
git -C "$work" add -A
git -C "$work" -c core.quotePath=false diff --cached -U0 --no-color >"$output"
for hook in $hooks; do
    sed -n '/^diff --git/,$p' "$hook" >>"$output"
done
echo "made $output"
