#!/usr/bin/env bash
# Builds Caddy from this checkout in the two ways that xcaddy.md gives, and looks at what came out.
# Usage: xcaddy.sh XCADDY
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

xcaddy=$1
module=github.com/caddy-lti/lti
version=$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Only this checkout counts: nothing of our module is looked up outside, where there may be another release of it,
# or a proxy that refuses to answer for a module it does not know.
export GONOPROXY=github.com/caddy-lti GOVCS='github.com/caddy-lti/*:off'
export XDG_DATA_HOME=$work/data XDG_CONFIG_HOME=$work/config

modules_of() { "$1" list-modules >"$1.modules"; }

has() { # has BINARY MODULE
  grep -qxF "$2" "$1.modules" && return
  echo "$(basename "$1") has no module $2" >&2
  return 1
}

echo "--> xcaddy build $version --with $module=."
"$xcaddy" build "$version" --output "$work/caddy" --with "$module=."
modules_of "$work/caddy"
for name in lti http.handlers.lti http.matchers.lti http.handlers.devlms; do
  has "$work/caddy" "$name"
done
"$work/caddy" validate --adapter caddyfile --config examples/Caddyfile

echo "--> xcaddy build $version --with $module/caddylti --replace $module=."
"$xcaddy" build "$version" --output "$work/plugin-only" --with "$module/caddylti" --replace "$module=."
modules_of "$work/plugin-only"
for name in lti http.handlers.lti http.matchers.lti; do
  has "$work/plugin-only" "$name"
done
if grep devlms "$work/plugin-only.modules"; then
  echo "the plugin alone must not bring the demo LMS" >&2
  exit 1
fi
