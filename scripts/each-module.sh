#!/usr/bin/env bash
# Runs a command in the folder of each Go module that has Go files. Usage: each-module.sh COMMAND...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for module in . e2e; do
  echo "--> $(basename "$1") in $module"
  (cd "$module" && "$@")
done
