#!/bin/sh
# Make .venv with everything Triptych needs. Idempotent: does nothing when the requirements have not changed.
#   scripts/setup.sh [PYTHON]      PYTHON: an interpreter, 3.11 or newer; by default the system's, else the newest found
set -eu
cd "$(dirname "$0")/.."
venv=.venv

say() { printf '%s\n' "$*" >&2; }

# The system's own first: distributions build Python with its profile (PGO), and without it, as pyenv and a plain `configure`
# build it, everything that is Python takes 1.4 times as long.
find_python() {
    system=
    if [ "$(uname)" = Linux ]; then system=/usr/bin/python3; fi
    for candidate in ${1:-} $system python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c '
import sys
import ensurepip, venv  # Debian has them in a package of their own
sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "error: no Python 3.11, 3.12 or 3.13 with venv was found. Install one (Debian, Ubuntu: apt-get install python3 python3-venv)."
    exit 1
}

# Without an NVIDIA card some CUDA packages that torch asks for are never loaded: leave them out (uv only).
wants_cuda() { command -v nvidia-smi >/dev/null 2>&1; }

uv_command() {
    if command -v uv >/dev/null 2>&1 && uv pip install --help 2>/dev/null | grep -q -- --excludes; then
        echo uv
    elif [ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes -r scripts/uv.lock >&2; then
        echo "$venv/bin/uv"
    fi
}

stamp=$(cat requirements.lock cpu-excludes.txt pyproject.toml scripts/setup.sh | cksum)
if [ -x "$venv/bin/triptych" ] && [ "$(cat $venv/.triptych-setup 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi

python=$(find_python "${1:-}")
if [ ! -x "$venv/bin/python" ]; then
    say "Making $venv with $python"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        say "error: $python cannot make a virtual environment. Debian, Ubuntu: apt-get install python3-venv"
        exit 1
    fi
fi
uv=$(uv_command) || uv=
if [ -n "$uv" ]; then
    excludes=
    wants_cuda || excludes="--excludes cpu-excludes.txt"
    say "Installing the packages with uv (about 3 GB the first time)"
    # Compiled here once: torch and transformers take 10 s of every start where Python may not keep what it compiled.
    # shellcheck disable=SC2086
    "$uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" --require-hashes -r requirements.lock $excludes
    "$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
else
    say "uv cannot be had; installing the packages with pip (about 3.5 GB the first time, some minutes)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
printf '%s' "$stamp" >"$venv/.triptych-setup"
