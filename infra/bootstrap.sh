#!/bin/sh
# Make .venv from the lock file: every package pinned, hashed and prebuilt, so that no compiler is needed.
set -eu
cd "$(dirname "$0")/.."

die() { echo "costlab: $*" >&2; exit 1; }

new_enough() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if new_enough "$candidate"; then echo "$candidate"; return; fi
    done
}

python=$(find_python)
[ -n "$python" ] || die "Python 3.11 to 3.14 is needed; name one with PYTHON=/path/to/python3 make ..."
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$("$python" --version) has no venv module; on Debian and Ubuntu: apt-get install python3-venv"

echo "installing costlab's packages into .venv (about half a minute, once) ..."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" >"$log" 2>&1; }
explain() { die "the packages could not be installed: $(grep -v '^WARNING' "$log" | tail -n 1)"; }

"$python" -m venv --clear .venv >"$log" 2>&1 || explain
install --only-binary :all: --require-hashes --requirement infra/requirements/dev.txt || explain
install --no-deps --no-build-isolation --editable . || explain
