#!/usr/bin/env bash
# Builds the Python runtime: CPython with the modules of standard.py, as one component of wit/runtime.wit.
#
#   runtimes/python/build.sh [FILE]     writes FILE; without it, a file in the cache, and prints where
#
# componentize-py comes from PyPI by its pinned version. Its builds differ from each other in every byte that a hash seed touches,
# so the file in the cache is kept as long as what it is made of stays: a collective approves the runtime that somebody built, by
# its SHA-256, and everybody runs that one.
set -euo pipefail
file=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/../.."
. .ci/tools.sh

sources=(wit/program.wit wit/runtime.wit runtimes/python/{build.sh,requirements.txt,app.py,collective.py,standard.py})
runtime=${file:-$COLLECTIVE_CACHE/python-runtime-$(cat "${sources[@]}" | sha256sum | cut -c1-16).wasm}
if [ $# -gt 0 ] || [ ! -e "$runtime" ]; then
    tools=$(dirname "$(python_with runtimes/python/requirements.txt)")
    # Beside its place, into which it is moved whole: a build that is cut leaves nothing that looks like a runtime.
    work=$(mktemp -d "$runtime.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    cp runtimes/python/{app,collective,standard}.py "$work"
    "$tools/componentize-py" --quiet -d wit/program.wit -d wit/runtime.wit -w collective:runtime/runtime \
        componentize app -p "$work" -o "$work/runtime.wasm" >&2
    mv "$work/runtime.wasm" "$runtime"
fi
sha256sum "$runtime" >&2
echo "$runtime"
