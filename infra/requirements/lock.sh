#!/bin/sh
# Resolve pyproject.toml for every supported Python and platform into two hashed requirement files.
# They name no package index, so they install from any mirror.
set -eu
cd "$(dirname "$0")/../.."
command -v uv >/dev/null || { echo "costlab: locking needs uv (pip install uv)" >&2; exit 3; }

lock() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header "$@"; }

lock --upgrade pyproject.toml --output-file infra/requirements/service.txt
lock --upgrade pyproject.toml --extra lab --extra test \
    --constraint infra/requirements/service.txt --output-file infra/requirements/dev.txt
