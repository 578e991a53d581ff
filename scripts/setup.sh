#!/usr/bin/env bash
# Looks for what the tests need. As root on Debian it installs what is missing; elsewhere it says so and fails,
# because a test that is skipped proves nothing.
set -euo pipefail

has() { # has NAME...: any of them
  local name
  for name; do
    command -v "$name" >/dev/null && return
  done
  return 1
}
browser() { has chromium chromium-browser google-chrome; }

if ! has go; then
  echo "Go is missing: install the version that go.mod names from https://go.dev/dl/" >&2
  exit 1
fi

missing=()
browser || missing+=(chromium)                 # the browser tests
has "$(go env CC)" || missing+=(gcc libc6-dev) # the race detector
if ((${#missing[@]} == 0)); then
  echo "nothing is missing"
  exit 0
fi

if ((EUID != 0)) || ! has apt-get; then
  echo "missing: ${missing[*]} (Debian's names); install them and run this again" >&2
  exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o Acquire::Retries=3 update
apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends "${missing[@]}"
browser && has "$(go env CC)"
