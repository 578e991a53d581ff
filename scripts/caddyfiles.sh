#!/usr/bin/env bash
# Checks that every Caddyfile of the repository is formatted and valid, and every block of a Markdown file
# marked ```caddyfile, which must stand on its own, formatted and adaptable.
# Usage: caddyfiles.sh CADDY, or caddyfiles.sh --list to name the files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

list() { # folders named testdata may hold broken ones
  git ls-files --cached --others --exclude-standard -- "$@" ':(exclude,glob)**/testdata/**'
}
caddyfiles() { list ':(glob)**/Caddyfile' ':(glob)**/*.caddyfile'; }

if [[ $1 == --list ]]; then
  caddyfiles
  exit 0
fi

caddy=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_DATA_HOME=$work/data XDG_CONFIG_HOME=$work/config
checked=0
failed=0

check() { # check NAME COMMAND...: silent if it succeeds
  local name=$1
  shift
  checked=$((checked + 1))
  if ! "$@" >"$work/output" 2>&1; then
    failed=$((failed + 1))
    printf '%s: %s failed:\n' "$name" "$(basename "$1") $2" >&2
    cat "$work/output" >&2
  fi
}

while read -r file; do
  echo "$file"
  check "$file" "$caddy" fmt --diff "$file"
  check "$file" "$caddy" validate --adapter caddyfile --config "$file"
done < <(caddyfiles)
if ((checked == 0)); then
  echo "there is no Caddyfile at all" >&2
  exit 1
fi

while read -r file; do
  rm -f "$work"/block-*
  awk -v prefix="$work/block-" '
    /^```/ { open = !open && /^```caddyfile *$/; if (open) out = prefix FNR + 1; next }
    open { print >out }' "$file"
  for block in "$work"/block-*; do
    [[ -e $block ]] || continue
    name=$file:${block##*-}
    echo "$name"
    check "$name" "$caddy" fmt --diff "$block"
    check "$name" "$caddy" adapt --adapter caddyfile --config "$block"
  done
done < <(list '*.md')

echo "$checked checks, $failed failed"
((failed == 0))
