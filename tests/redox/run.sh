#!/bin/bash
# Boots Redox with eventd under QEMU. "run.sh test" runs the conformance programs there and compares with native Linux; "run.sh bench" runs the benchmarks.
# docs/redox.md says what the variables below stand for and where to find these parts.
set -euo pipefail

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
here=$repository/tests/redox
work=$repository/target/redox
action=${1:-test}
boot_limit=${REDOX_BOOT_SECONDS:-600}
target=x86_64-unknown-redox

say() {
    echo "$action-redox: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

check_parts() {
    local missing=
    for variable in REDOX_KERNEL REDOX_BOOTSTRAP REDOX_BASE REDOX_SYSROOT; do
        [ -n "${!variable:-}" ] || missing="$missing $variable"
    done
    if [ -n "$missing" ]; then
        say "these variables are not set:$missing"
        cat >&2 <<'TEXT'
  REDOX_KERNEL     the kernel (an ELF file)
  REDOX_BOOTSTRAP  base's bootstrap
  REDOX_BASE       a directory with base's init, logd, ramfs, randd, zerod, ipcd, its archiver redox-initfs-ar (for
                   this machine) and its init.initfs.d and init.d
  REDOX_SYSROOT    relibc with recipes/relibc applied: include/ and lib/
  REDOX_CC         a C compiler that links static programs against it (default x86_64-unknown-redox-gcc)
  REDOX_CARGO      a cargo with rust-src and that linker (default cargo)
docs/redox.md says where to find these parts in a Redox build tree.
TEXT
        exit 3
    fi
    for file in "$REDOX_KERNEL" "$REDOX_BOOTSTRAP" "$REDOX_BASE" "$REDOX_SYSROOT/lib/libc.a"; do
        [ -e "$file" ] || fail "$file is missing"
    done
    [ -e "$REDOX_SYSROOT/include/sys/eventfd.h" ] || fail "$REDOX_SYSROOT has no sys/eventfd.h: is recipes/relibc applied?"
    command -v qemu-system-x86_64 >/dev/null || fail "qemu-system-x86_64 is missing (Debian package qemu-system-x86)"
    cc=${REDOX_CC:-x86_64-unknown-redox-gcc}
    cargo=${REDOX_CARGO:-cargo}
    command -v "$cc" >/dev/null || fail "$cc is missing: set REDOX_CC"
}

# base keeps its programs and units in several places of its tree; they are taken from wherever they are below REDOX_BASE.
base_file() {
    find -L "$REDOX_BASE" -name "$1" -type f -print -quit | grep . || fail "$1 is not below $REDOX_BASE"
}

compile() { # SOURCE OUTPUT
    "$cc" -std=gnu11 -O1 -pthread -Wl,--gc-sections -Wno-deprecated-declarations -DTIME_LIMIT_SECONDS=30 -DCREATIONS=${REDOX_CREATIONS:-1000} -DROUNDS=${REDOX_ROUNDS:-1000} -DOPERATIONS=${REDOX_OPERATIONS:-100000} -DVALUES=${REDOX_VALUES:-10000} "$1" -o "$2" || fail "cannot compile $1"
}

build() {
    local name
    rm -rf "$work/bin" "$work/native"
    mkdir -p "$work/bin" "$work/native"
    CARGO_TARGET_DIR=$work/cargo CARGO_BUILD_TARGET=$target CARGO_UNSTABLE_BUILD_STD=std,panic_abort \
        CARGO_TARGET_X86_64_UNKNOWN_REDOX_LINKER=$(basename "${REDOX_LINKER:-x86_64-unknown-redox-gcc}") \
        CARGO_TARGET_X86_64_UNKNOWN_REDOX_RUSTFLAGS="-C panic=abort -C target-feature=+crt-static -C relocation-model=static -L native=$REDOX_SYSROOT/lib" \
        $cargo build --release --locked --manifest-path "$repository/Cargo.toml" -p eventd -p eventd-redox-guest --bin eventd --bin rust-eventfd ||
        fail "cannot build eventd for $target"
    cp "$work/cargo/$target/release/eventd" "$work/cargo/$target/release/rust-eventfd" "$work/bin/"
    for source in "$here"/guest/*.c "${programs[@]}"; do
        name=$(basename "$source" .c)
        case $source in
        */conformance/*) [[ $name == ${REDOX_PROGRAMS:-*} ]] || continue ;;
        esac
        case $name in
        # These ask about Linux's /proc and its kernel's AIO, and about timers and limits that Redox does not have.
        eventfd_proc | eventfd_aio | signalfd_proc | signalfd_timer | signalfd_limit) continue ;;
        # These take a kernel and a process manager with the patches in kernel-patch.
        signalfd_*) [ -n "${REDOX_SIGNALS:-}" ] || continue ;;
        esac
        compile "$source" "$work/bin/$name"
    done
    # An initfs holds 64 MiB, and static programs soon have more, with their symbols and all of libc.
    strip "$work"/bin/*
    as --32 "$here/loader/loader.S" -o "$work/loader.o"
    ld -m elf_i386 -T "$here/loader/loader.ld" "$work/loader.o" -o "$work/loader"
}

run_native() {
    local source name
    cargo build --release --manifest-path "$repository/Cargo.toml" -p eventd-redox-guest -p eventd-suite
    "$repository/target/release/rust-eventfd" >"$work/native/rust-eventfd.out"
    for source in "$repository"/tests/conformance/*.c; do
        name=$(basename "$source" .c)
        [ -e "$work/bin/$name" ] || continue
        cc -std=gnu11 -O1 -pthread "$source" -o "$work/native/$name" || fail "cannot compile $source"
        "$work/native/$name" >"$work/native/$name.out" || fail "$name failed on native Linux"
    done
}

test_commands() {
    local name
    echo "show /scheme/eventd /scheme/eventd/stat /scheme/eventd/list/eventfd /scheme/eventd/list/waiters"
    echo "meet wait &"
    echo "meet post"
    for name in "$work"/native/*.out; do basename "$name" .out; done
    echo "show /scheme/eventd/stat /scheme/eventd/list/eventfd /scheme/eventd/list/sem /scheme/eventd/list/waiters"
    echo "show /scheme/logging/sys/ipc/eventd.log"
}

bench_commands() {
    echo "bench_eventfd"
    echo "bench_signals ${REDOX_SIGNALS:+signalfd}"
}

pack() { # OUTPUT
    local tree=$work/initfs-tree name
    rm -rf "$tree"
    mkdir -p "$tree/bin" "$tree/lib/init.d" "$tree/root/usr/lib/init.d" "$tree/root/usr/lib/environment.d"
    cp "$work"/bin/* "$tree/bin/"
    for name in init logd ramfs randd rtcd zerod ipcd; do
        cp "$(base_file "$name")" "$tree/bin/"
    done
    for name in 00_logd.service 00_nulld.service 00_randd.service 00_rtcd.service 00_runtime.target 00_zerod.service \
        ramfs@.service 90_initfs.target; do
        cp "$(base_file "$name")" "$tree/lib/init.d/"
    done
    cp "$here/services/50_rootfs.service" "$tree/lib/init.d/"
    cp "$(base_file 00_ipcd.service)" "$repository/recipes/eventd/init.d/00_eventd.service" \
        "$here/services/99_runner.service" "$tree/root/usr/lib/init.d/"
    echo 'PATH=/usr/bin:/scheme/initfs/bin' >"$tree/root/usr/lib/environment.d/path"
    "${action}_commands" >"$tree/root/usr/lib/commands"
    "$(base_file redox-initfs-ar)" "$tree" "$REDOX_BOOTSTRAP" -o "$1" >"$work/archiver.log" 2>&1 ||
        fail "cannot pack the initfs: see $work/archiver.log"
}

boot() { # CPUS LOG
    timeout --kill-after=5 "$boot_limit" qemu-system-x86_64 \
        -machine q35 "${accelerator[@]}" -cpu max -smp "$1" -m 1024 \
        -display none -vga none -nic none -no-reboot -nodefaults -monitor none -serial "file:$2" \
        -kernel "$work/loader" -initrd "$REDOX_KERNEL,$work/initfs" </dev/null ||
        say "the machine did not stop by itself within $boot_limit s"
}

test_results() { # LOG
    "$repository/target/release/redox-report" "$1" "$work/native" "$repository/tests/conformance/exceptions.txt" redox
}

# What the programs printed, without the carriage returns of the serial line; each of them has to end well.
bench_results() { # LOG
    local figures=$work/bench-$(basename "$1" .log | cut -d- -f2).txt
    rm -f "$figures"
    tr -d '\r' <"$1" | awk '
        /^@begin bench/ { begun++; inside = 1; next }
        /^@end bench/ { inside = 0; if (/: exit status 0$/) { ended++; next } }
        /^@done/ { done = 1 }
        inside || /^@end bench/
        END { exit !done || ended != begun }' | tee "$figures.partial" || { say "not everything was measured"; return 1; }
    mv "$figures.partial" "$figures"
    cargo run --release --locked --quiet --manifest-path "$repository/Cargo.toml" -p eventd-bench --bin bench-chart -- \
        redox "$figures" "${figures%.txt}.svg" || return 1
    echo "figures: $figures, picture: ${figures%.txt}.svg"
}

case $action in
test)
    programs=("$repository"/tests/conformance/*.c)
    cpus=${REDOX_CPUS:-1 2}
    accelerator=(-accel tcg,thread=multi)
    ;;
bench)
    programs=("$here"/bench/*.c)
    cpus=${REDOX_CPUS:-1}
    # The machine's clock counts instructions, one a nanosecond: what else the host does cannot be seen in the figures.
    accelerator=(-accel tcg,thread=single -icount shift=0,sleep=off)
    ;;
*)
    echo "usage: $0 [test|bench]" >&2
    exit 2
    ;;
esac
check_parts
build
[ "$action" = bench ] || run_native
pack "$work/initfs"
status=0
for count in $cpus; do
    log=$work/serial-$count.log
    rm -f "$log"
    start=$SECONDS
    boot "$count" "$log"
    echo "$count CPU(s), $((SECONDS - start)) s, serial log: $log"
    "${action}_results" "$log" || status=1
done
exit $status
