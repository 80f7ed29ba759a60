#!/usr/bin/env bash
# Rebuilds the example programs byte for byte: core modules by a pinned Zig, components by wit-component.
#
#   jobs/build.sh [FOLDER]     writes FOLDER/logit.wasm and FOLDER/mean.wasm; without FOLDER, jobs/*/*.wasm
#   jobs/build.sh --check      rebuilds into a fresh folder and compares with the committed bytes
#   jobs/build.sh --zig        prints the Python that has the pinned Zig: `PYTHON -m ziglang` is the compiler
#
# Zig comes from PyPI (0.5 GB installed) into a virtual environment in $COLLECTIVE_ZIG (default: the
# user's cache), and stays there. Needs python3 with venv, and cargo.
set -euo pipefail
cd "$(dirname "$0")/.."

zig_version=0.17.1
cache=${COLLECTIVE_ZIG:-${XDG_CACHE_HOME:-$HOME/.cache}/collective-zig-$zig_version}
if [ ! -x "$cache/bin/python" ] || ! "$cache/bin/python" -c 'import ziglang' 2>/dev/null; then
    python3 -m venv "$cache"
    "$cache/bin/pip" install --quiet --disable-pip-version-check "ziglang==$zig_version"
fi
if [ "${1:-}" = --zig ]; then
    echo "$cache/bin/python"
    exit
fi

build() { # build NAME COMPONENT
    local module
    module=$(mktemp)
    # Fixed target, no host's features, no debug names: equal sources give equal bytes.
    "$cache/bin/python" -m ziglang cc --target=wasm32-freestanding -mcpu=mvp+bulk_memory+sign_ext+nontrapping_fptoint \
        -std=c23 -O2 -Wall -Wextra -Werror -fno-math-errno -ffp-contract=off -s \
        -Wl,--no-entry -Wl,-z,stack-size=65536 "jobs/$1/$1.c" -o "$module"
    cargo run --quiet --release -p collective-node --example componentize -- "$module" "$2"
    rm -f "$module"
}

if [ "${1:-}" = --check ]; then
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    for name in logit mean; do
        build "$name" "$fresh/$name.wasm"
        cmp "$fresh/$name.wasm" "jobs/$name/$name.wasm"
        sha256sum "jobs/$name/$name.wasm"
    done
else
    for name in logit mean; do
        build "$name" "${1:-jobs/$name}/$name.wasm"
    done
fi
