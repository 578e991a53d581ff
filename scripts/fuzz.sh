#!/usr/bin/env bash
# Runs each fuzz test for a while; go test takes one at a time. Usage: fuzz.sh TIME
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

git grep --untracked -E '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go' |
  sed -E 's/^(.*)\/[^/]*:func (Fuzz[A-Za-z0-9_]*)\(.*/\1 \2/' |
  while read -r folder name; do
    echo "--> $folder $name"
    go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" "./$folder" </dev/null
  done
