#!/usr/bin/env bash
# Lists the Go files that gofumpt would change, and fails if there are any.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unformatted=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 bin/tools/gofumpt -l)
if [[ -n $unformatted ]]; then
  printf 'not formatted, run "make fmt":\n%s\n' "$unformatted" >&2
  exit 1
fi
