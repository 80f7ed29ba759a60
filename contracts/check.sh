#!/usr/bin/env bash
# Everything that CI asks of the contracts: sizes, format, tests with gas figures, artifacts as committed.
set -euo pipefail
cd "$(dirname "$0")"

# The lock file is copied beside what it installed; a difference means that node_modules is stale.
if ! cmp -s package-lock.json node_modules/.installed-lock.json; then
  npm ci --ignore-scripts --no-audit --no-fund
  cp package-lock.json node_modules/.installed-lock.json
fi
PATH="$PWD/node_modules/.bin:$PATH"

forge fmt --check
# The first build of the sources alone, so that no test can exceed or hide a size limit.
forge build --sizes --skip test >/dev/null
# A wanted change of a gas figure: `forge test --match-path test/Gas.t.sol` writes .gas-snapshot/.
FORGE_SNAPSHOT_CHECK=true forge test "$@"

rebuilt="$(mktemp -d)"
trap 'rm -rf "$rebuilt"' EXIT
node tools/artifacts.mjs "$rebuilt"
if ! diff -r artifacts "$rebuilt" >/dev/null; then
  echo "artifacts/ differs from what the sources give; run: forge build && node tools/artifacts.mjs" >&2
  exit 1
fi
echo "contracts: ok"
