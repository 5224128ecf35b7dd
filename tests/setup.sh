#!/bin/sh
# Checks that what the build and the tests need is there; as root on Debian or Ubuntu, installs it.
# Usage: tests/setup.sh build|test|bench
set -eu

say() {
    printf '%s\n' "setup: $*" >&2
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# The packages that are missing, as words.
missing_packages() {
    has cc || echo gcc libc6-dev
    [ "$1" = test ] || return 0
    has c++ || echo g++
    has pkg-config || echo pkg-config
    has fusermount3 || echo fuse3
    has /usr/bin/python3 || echo python3
    if has pkg-config; then
        pkg-config --exists glib-2.0 || echo libglib2.0-dev
        pkg-config --exists libuv || echo libuv1-dev
        pkg-config --exists libsystemd || echo libsystemd-dev
    else
        echo libglib2.0-dev libuv1-dev libsystemd-dev
    fi
    has /usr/bin/python3 && /usr/bin/python3 -c 'import test.test_os' 2>/dev/null || python_tests
}

# Debian keeps the test suite of its Python in a package of the version's name.
python_tests() {
    if has /usr/bin/python3; then
        /usr/bin/python3 -c 'import sys; print("libpython%d.%d-testsuite" % sys.version_info[:2])'
    else
        echo libpython3-testsuite
    fi
}

install_packages() {
    [ $# -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && has apt-get; then
        say "installing $*"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        say "please install: $*"
        say "on Debian or Ubuntu: sudo apt-get install $*"
        exit 1
    fi
}

packages=$(missing_packages "$1" | tr '\n' ' ')
# Without quotes: the packages are words.
# shellcheck disable=SC2086
install_packages $packages
# What could be asked for only once Python was there.
if [ "$1" = test ] && ! /usr/bin/python3 -c 'import test.test_os' 2>/dev/null; then
    # shellcheck disable=SC2046
    install_packages $(python_tests)
fi

if ! has cargo; then
    say "please install Rust: https://rustup.rs, then"
    say "    rustup toolchain install nightly --profile minimal -c clippy -c rustfmt"
    exit 1
fi
if ! cargo --version >/dev/null 2>&1; then
    say "please install the toolchain that rust-toolchain.toml names:"
    say "    rustup toolchain install nightly --profile minimal -c clippy -c rustfmt"
    exit 1
fi
