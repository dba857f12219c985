# For developers; all of it calls what `./postbus test` calls. Users need no make.
.PHONY: check integration proto lock compose-test bench

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

bench:
	@for file in benchmarks/*.py; do echo "== $$file"; .venv/bin/python "$$file" || exit; done
