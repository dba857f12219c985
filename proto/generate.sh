#!/bin/sh
# Generates libs/postbus/rpc/gen from proto/ (`make proto`). The generated code is committed and checked by the style tests.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$(dirname "$python"):$PATH "$python" -m grpc_tools.protoc -I proto --python_out="$work" --mypy_out=quiet:"$work" \
    $(find proto -name '*.proto' | LC_ALL=C sort)
out=libs/postbus/rpc/gen
rm -rf "$out" && mkdir -p "$out"
printf '"""Generated from proto/ by proto/generate.sh: do not edit."""\n' > "$out/__init__.py"
find "$work" -name '*_pb2.py*' -exec mv {} "$out/" \;
sed -i -E 's/^from postbus\.[a-z_]+\.v1 import/from postbus.rpc.gen import/' "$out"/*_pb2.py*
