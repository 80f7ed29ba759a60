#!/usr/bin/env bash
# Static analysis. Fails on any finding that is not answered beside the line, or here for the detectors that
# slither.config.json leaves out:
#   naming-convention  names that ERC-6372 prescribes, constants with a getter in the interface
#   timestamp          every deadline is hours or days; a validator's seconds do not matter
#   unused-return      tuples are taken apart, and what is left out is not needed (tokens go through SafeERC20)
# COLLECTIVE_CACHE names the folder that keeps the Python environment between runs.
set -euo pipefail
cd "$(dirname "$0")"
version=0.11.6
venv="${COLLECTIVE_CACHE:?names a folder for the Python environment}/slither-$version"

if [ ! -x "$venv/bin/slither" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet "slither-analyzer==$version"
fi
PATH="$PWD/node_modules/.bin:$venv/bin:$PATH"
slither . --config-file slither.config.json --fail-pedantic
