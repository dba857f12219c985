# For developers; all of it calls what `./postbus test` calls. Users need no make.
.PHONY: check integration proto lock compose-test bench bench-growth bench-peers bench-profile

check:
	./postbus test style
	./postbus test unit

integration:
	./postbus test integration

# Generated code is committed; `./postbus test style` compares.
proto:
	./postbus test --help >/dev/null
	./proto/generate.sh

# Lock files for Python 3.11 and later, x86_64 and aarch64, without anything of this machine in them.
LOCK = env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null build/lock/bin/uv pip compile --no-config \
	--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q
lock:
	test -x build/lock/bin/uv || { python3 -m venv build/lock && build/lock/bin/pip install -q uv; }
	$(LOCK) -o requirements.lock pyproject.toml
	$(LOCK) -o requirements-build.lock requirements-build.in
	$(LOCK) -o requirements-dev.lock requirements-dev.in

# compose.yaml with real containers, about four minutes; deploy/compose_test/__main__.py says what it does and needs.
compose-test:
	./postbus test --help >/dev/null
	.venv/bin/python deploy/compose_test

# Figures of this machine, about six minutes; docs/performance.md tells what they mean. JSON goes to build/bench.
BENCH = .venv/bin/python benchmarks
BENCH_JSON = build/bench
bench:
	./postbus test --help >/dev/null
	@for command in "road.py --json $(BENCH_JSON)/road.json" "imap.py --json $(BENCH_JSON)/imap.json" \
		"outbound.py --messages 200" "startup.py --rounds 1 --idle-seconds 15" "resolve.py" "group_login.py" \
		"api.py --json $(BENCH_JSON)/api.json" "import_mailboxes.py" "mailstore.py --messages 20000 --appends 2000" "mime.py"; \
		do echo "== $$command"; $(BENCH)/$$command || exit; done

# Memory of every process over 20,000 messages, about six minutes.
bench-growth:
	./postbus test --help >/dev/null
	$(BENCH)/growth.py --json $(BENCH_JSON)/growth.json

# Beside the peer stacks of POSTBUS_SHARED/bench, about ten minutes as root; QUICK=1: one round of each.
bench-peers:
	./postbus test --help >/dev/null
	$(BENCH)/peers.py --json $(BENCH_JSON)/peers.json $(if $(QUICK),--quick)

# Where the CPU goes, two minutes: make bench-profile PY_SPY=/path/of/py-spy
bench-profile:
	./postbus test --help >/dev/null
	$(BENCH)/cpu_profile.py --py-spy $(PY_SPY) --json $(BENCH_JSON)/profile.json
