#!/bin/sh
# Type-checks eventd and the shim for Redox. Exit status 3: this machine has no source of std to do it with.
set -eu
cd "$(dirname "$0")/../.."
cargo=${REDOX_CARGO:-cargo}

if [ -z "${REDOX_CARGO:-}" ] && [ ! -e "$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.toml" ]; then
    echo "check-redox: rust-src is missing: rustup component add rust-src --toolchain nightly"
    exit 3
fi
# Without quotes: REDOX_CARGO may be a command with arguments.
# shellcheck disable=SC2086
CARGO_UNSTABLE_BUILD_STD=std,panic_abort $cargo check --locked --target x86_64-unknown-redox -p eventd -p eventd-shim -p eventd-redox-guest
