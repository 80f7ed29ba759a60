# Where downloaded and built tools are kept, and how a missing one is installed by its package name.
# Sourced by .ci/run, interop/run.sh and the recipes of justfile; it changes nothing inside the clone.
# shellcheck shell=bash

# Outside the clone, so that a fresh clone on the same machine builds and downloads only what changed.
export COLLECTIVE_CACHE=${COLLECTIVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/collective-ci}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$COLLECTIVE_CACHE/target}
mkdir -p "$COLLECTIVE_CACHE"

# debian COMMAND PACKAGE…: installs Debian packages where a command is missing.
debian() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    echo "installing $* (no $command here)" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null
}

# cargo_tool PACKAGE VERSION [FLAG…]: prints the folder with the program of a crate, built once for all clones.
cargo_tool() {
    local name=$1-$2 package=$1@$2
    local root=$COLLECTIVE_CACHE/$name
    shift 2
    if [ ! -e "$root/.crates.toml" ]; then
        echo "building $name" >&2
        # A tool that runs for seconds is not worth minutes of optimisation.
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            CARGO_PROFILE_RELEASE_DEBUG=false CARGO_TARGET_DIR=$COLLECTIVE_CACHE/build-tools \
            cargo install --quiet --locked --root "$root" "$package" "$@" >&2 || return
        rm -rf "$COLLECTIVE_CACHE/build-tools"
    fi
    echo "$root/bin"
}

# python_with REQUIREMENTS: prints a Python whose environment holds exactly those packages.
python_with() {
    local root
    root=$COLLECTIVE_CACHE/python-$(sha256sum "$1" | cut -c1-16)
    if [ ! -e "$root/complete" ]; then
        debian python3 python3 python3-venv
        rm -rf "$root"
        python3 -m venv "$root" >&2 || {
            # Debian keeps the part that makes environments in a package of its own.
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >&2 </dev/null
            python3 -m venv --clear "$root" >&2
        }
        "$root/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --requirement "$1" >&2 || return
        touch "$root/complete"
    fi
    echo "$root/bin/python"
}
