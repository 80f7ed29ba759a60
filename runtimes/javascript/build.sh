#!/usr/bin/env bash
# Builds the JavaScript runtime: QuickJS-ng without its own library, as one component of wit/runtime.wit. Equal sources give
# equal bytes, on any machine and in any folder.
#
#   runtimes/javascript/build.sh [FILE]     writes FILE; without it, a file in the cache, and prints where
#   runtimes/javascript/build.sh --check    builds twice, in two folders, and compares both with runtime.sha256
#
# QuickJS-ng 0.18.0 comes out of a crate that carries it, by the crate's own SHA-256; the compiler is that of jobs/build.sh.
set -euo pipefail
[ "${1:-}" = --check ] || file=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/../.."
. .ci/tools.sh

crate=libquickjs-ng-sys version=0.14.0
crate_sha256=9c81e864c33a1d1543f2f651d7622de0e8fb9b8e0c50b808eee606c056dd02e2
ours=runtimes/javascript

# Unpacks QuickJS into the folder $1.
fetch() {
    local scratch=$1/fetch packed
    mkdir -p "$scratch/src"
    touch "$scratch/src/lib.rs"
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\n[dependencies]\n%s = "=%s"\n' "$crate" "$version" >"$scratch/Cargo.toml"
    cargo fetch --quiet --manifest-path "$scratch/Cargo.toml"
    packed=$(find "${CARGO_HOME:-$HOME/.cargo}"/registry/cache -name "$crate-$version.crate" | head -n 1)
    echo "$crate_sha256  $packed" | sha256sum --check --quiet
    mkdir "$1/quickjs"
    tar xzf "$packed" -C "$1/quickjs" --strip-components=3 "$crate-$version/embed/quickjs"
}

# Writes a runtime to $2, built in the folder $1.
build() {
    local zig source objects=()
    zig="$(jobs/build.sh --zig) -m ziglang cc"
    fetch "$1"
    cp "$ours"/*.{c,h,js} "$1"
    # Fixed target, no host's features, no debug names, no path: the folder does not show in the bytes.
    compile() {
        (cd "$1" && $zig --target=wasm32-wasi -mcpu=mvp+bulk_memory+sign_ext+nontrapping_fptoint -std=gnu23 -O2 \
            -ffp-contract=off -funsigned-char -D_GNU_SOURCE -isystem quickjs -ffile-prefix-map="$1"=. -c "${@:2}")
    }
    for source in dtoa libregexp libunicode; do
        compile "$1" -w "quickjs/$source.c" -o "$source.o"
        objects+=("$source.o")
    done
    for source in app machine; do
        compile "$1" -Wall -Wextra -Werror "$source.c" -o "$source.o"
        objects+=("$source.o")
    done
    (cd "$1" && $zig --target=wasm32-wasi -mexec-model=reactor -mcpu=mvp+bulk_memory+sign_ext+nontrapping_fptoint -s \
        -Wl,-z,stack-size=262144 "${objects[@]}" -o module.wasm)
    cargo run --quiet --release --locked -p collective-node --example componentize -- --runtime "$1/module.wasm" "$2"
}

work=$(mktemp -d "$COLLECTIVE_CACHE/javascript-runtime.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ "${1:-}" = --check ]; then
    mkdir "$work/one" "$work/another"
    # Nothing of one build is left for the other, but the compiler.
    ZIG_LOCAL_CACHE_DIR=$work/cache-one ZIG_GLOBAL_CACHE_DIR=$work/cache-one build "$work/one" "$work/one.wasm"
    ZIG_LOCAL_CACHE_DIR=$work/cache-two ZIG_GLOBAL_CACHE_DIR=$work/cache-two build "$work/another" "$work/another.wasm"
    cmp "$work/one.wasm" "$work/another.wasm"
    echo "$(cat $ours/runtime.sha256)  $work/one.wasm" | sha256sum --check --quiet
    echo "two builds, the $(stat -c %s "$work/one.wasm") bytes of $ours/runtime.sha256"
    exit
fi
runtime=${file:-$COLLECTIVE_CACHE/javascript-runtime-$(cut -c1-16 $ours/runtime.sha256).wasm}
if [ -n "$file" ] || ! echo "$(cat $ours/runtime.sha256)  $runtime" | sha256sum --check --status 2>/dev/null; then
    mkdir "$work/build"
    build "$work/build" "$work/runtime.wasm"
    [ -n "$file" ] || echo "$(cat $ours/runtime.sha256)  $work/runtime.wasm" | sha256sum --check --quiet
    # Into its place as a whole: a build that is cut leaves nothing that looks like a runtime.
    mv "$work/runtime.wasm" "$runtime"
fi
sha256sum "$runtime" >&2
echo "$runtime"
