#!/usr/bin/env bash
# Writes the Python code of proto/aion to proto/gen; with --check it only compares, and fails where they differ.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-.venv/bin/python}
draft=$(mktemp -d)
trap 'rm -rf "$draft"' EXIT

mapfile -t sources < <(find proto/aion -name '*.proto' | sort)
"$python" -m grpc_tools.protoc -I proto \
  --python_out="$draft" --pyi_out="$draft" --grpc_python_out="$draft" "${sources[@]}"

if [[ ${1:-} == --check ]]; then
  diff -r --exclude=__pycache__ "$draft" proto/gen || {
    echo "proto/gen differs from proto/aion: run make proto" >&2
    exit 1
  }
else
  rm -rf proto/gen
  mkdir proto/gen
  cp -r "$draft"/. proto/gen
fi
