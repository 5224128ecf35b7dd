# make run    builds eventd and serves at $SCHEME_ROOT/eventd (default /tmp/scheme/eventd)
# make test   everything that can be tested on this machine
# make bench  native eventfd and ours, measured side by side
# make check  formatting and lints, as CI wants them
# make check-redox  type-checks eventd and the shim for Redox
# make test-redox   boots Redox with eventd in QEMU; docs/redox.md says what it needs
# make bench-redox  what eventd costs there, with the same parts
# make chart  puts the pictures of the last make bench and make bench-redox into docs/; chart-linux and chart-redox, one of them

SCHEME_ROOT ?= /tmp/scheme
export SCHEME_ROOT

.PHONY: run build test bench check check-redox check-redox-if-possible test-redox bench-redox chart chart-linux chart-redox bench-chart clean

run: build
	@echo
	@echo "eventd will serve $(SCHEME_ROOT)/eventd until you press Ctrl-C. Try in another terminal:"
	@echo
	@echo "  cd $(CURDIR)"
	@test "$(SCHEME_ROOT)" = /tmp/scheme || echo "  export SCHEME_ROOT=$(SCHEME_ROOT)"
	@echo "  LD_PRELOAD=target/release/libeventd_preload.so python3 -c 'import os; f=os.eventfd(3); os.eventfd_write(f,4); print(os.eventfd_read(f))'"
	@echo "  cat $(SCHEME_ROOT)/eventd/stat $(SCHEME_ROOT)/eventd/list/eventfd"
	@echo
	@exec target/release/eventd

build:
	@tests/setup.sh build
	cargo build --release --workspace

test:
	@tests/setup.sh test
	cargo build --release --workspace
	@tests/run.sh

bench: build
	target/release/bench

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

check-redox:
	@tests/redox/check.sh

# Exit status 3 means that this machine has no source of std; anything else is the outcome.
check-redox-if-possible:
	@tests/redox/check.sh || { status=$$?; [ $$status = 3 ] && echo "check-redox: skipped" || exit $$status; }

test-redox:
	@tests/redox/run.sh test

bench-redox:
	@tests/redox/run.sh bench

chart: chart-linux chart-redox

chart-linux: bench-chart
	target/release/bench-chart linux target/bench.json docs/performance-linux.svg

chart-redox: bench-chart
	target/release/bench-chart redox target/redox/bench-1.txt docs/performance-redox.svg

bench-chart:
	cargo build --release -p eventd-bench

clean:
	cargo clean
