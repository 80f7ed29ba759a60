# Recipes for people. Each is one command that also works without just; .ci/run is what decides.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes
_default:
    @{{ just_executable() }} --list --unsorted

# Every check, or the named steps of it
ci *STEPS:
    .ci/run {{ STEPS }}

# README's test command
test *ARGS:
    cargo test --release {{ ARGS }}

# The whole story on real data
demo *ARGS:
    cargo run --release -- demo {{ ARGS }}

# Contracts: build, format, tests, gas, artifacts as committed
contracts:
    contracts/check.sh

# Example programs: rebuilt, and the bytes compared with the committed ones
jobs:
    .ci/run jobs

# The Python runtime; prints where it is
runtime-python *FILE:
    runtimes/python/build.sh {{ FILE }}

# The JavaScript runtime; prints where it is
runtime-javascript *FILE:
    runtimes/javascript/build.sh {{ FILE }}

# Files made by other age clients open here, and ours there
interop:
    interop/run.sh

# Coefficients by statsmodels, written anew to jobs/logit/reference/reference.json
reference:
    . .ci/tools.sh && "$(python_with jobs/logit/reference/requirements.txt)" jobs/logit/reference/reference.py

# Sealing against raw ChaCha20-Poly1305 and against the age crate
bench-seal:
    cargo run --release --manifest-path bench/Cargo.toml --target-dir target

# Partials against raw multiplication, and a page of 1,000 files through a quorum of three
bench-committee:
    cargo run --release --manifest-path bench/Cargo.toml --target-dir target --bin committee

# Contributions a node acknowledges in a second, and how many for one wait for the disk; beside it how often that disk can be waited for
bench-intake:
    cargo bench -p collective-node --bench intake

# A key among eight members: processor time, and what an absent member does to it
bench-ceremony:
    cargo run --release --manifest-path bench/Cargo.toml --target-dir target --bin ceremony

# DKG, release, refresh and reshare in a bad world, one history a seed: progress, and a table at the end
simulate-committee SEEDS="10000":
    #!/usr/bin/env bash
    set -uo pipefail
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    SEEDS={{ SEEDS }} cargo test --release -p collective --no-fail-fast --test committee_simulation \
        --test committee_release_simulation -- --nocapture 2>&1 | tee "$log"
    failed=$?
    echo
    grep '^|' "$log"
    exit "$failed"

# Payouts while blocks are cut out, the endpoint fails and the node crashes: one world a seed, on all cores, and a line for each core
simulate-payouts SEEDS="10000":
    #!/usr/bin/env bash
    set -euo pipefail
    cargo test --release --test node --no-run
    cores=$(nproc)
    each=$((({{ SEEDS }} + cores - 1) / cores))
    running=()
    for core in $(seq 0 $((cores - 1))); do
        SEED=$((1 + core * each)) SEEDS=$each cargo test --quiet --release --test node -- --nocapture payouts:: &
        running+=($!)
    done
    for one in "${running[@]}"; do
        wait "$one"
    done

# A GiB goes in and comes out, with the memory that it takes at both ends: 3 GiB of disk
gibibyte:
    cargo test --release --test node -- --ignored --nocapture streaming::

# A node whose blobs are in a bucket, on two S3-compatible services: s3s-fs and moto
stores:
    .ci/run stores

# A day's audit of a million contributions: bytes, processor time, and raw SHA-256 over the same bytes
bench-liveness:
    cargo run --release -p collective-node --example bench-liveness

# Python programs against native CPython on the same records, and how long a job process takes to start and end
bench-python:
    runtime=$(runtimes/python/build.sh) && cargo run --release -p collective-node --example bench-runtime -- python "$runtime"

# Programs in JavaScript against native Node.js, in the same way
bench-javascript:
    runtime=$(runtimes/javascript/build.sh) && cargo run --release -p collective-node --example bench-runtime -- javascript "$runtime"

# The worker that runs queries, beside the binary: DataFusion takes as long to build as all the rest
sql:
    cargo build --release -p collective-sql

# Twenty queries over sealed contributions, opened for each, against DuckDB on the plaintext
bench-sql:
    . .ci/tools.sh && python=$(python_with sql/randhie/requirements.txt) && \
        cargo run --release -p collective-sql --example bench-sql -- "$python"

# The worker of heavy nodes, beside the binary: tables of contributions, and recipes that are trained on them
heavy *FLAGS:
    cargo build --release -p collective-heavy {{ FLAGS }}

# Tokens that it trains on in a second, against PyTorch where Python has it, and on a device where there is nvcc
bench-heavy:
    #!/usr/bin/env bash
    set -euo pipefail
    target=${CARGO_TARGET_DIR:-target}
    cargo build --release -p collective-heavy
    if command -v nvcc >/dev/null; then
        cargo build --release -p collective-heavy --features cuda --target-dir "$target/cuda"
        python3 heavy/bench.py "$target/release/collective-heavy" "$target/cuda/release/collective-heavy"
    else
        python3 heavy/bench.py "$target/release/collective-heavy"
    fi

# Gas of every user story, from the committed snapshot
gas:
    cat contracts/.gas-snapshot/*.json

# Static analysis of the contracts
slither:
    .ci/run slither

# The dev chain against a real anvil
anvil-parity:
    .ci/run anvil-parity

# The whole story on a real anvil
anvil-story:
    .ci/run anvil-story

# Lines of code: median, biggest file, and those over 400
lines:
    @.ci/lines

# What an auditor of a key holder has to read: modules, their lines, crates
keyholder-path:
    @.ci/keyholder-path
