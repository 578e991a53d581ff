#!/usr/bin/env bash
# Looks for what the tests need. As root on Debian it installs what is missing; elsewhere it says so and fails,
# because a test that is skipped proves nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has() { # has NAME...: any of them
  local name
  for name; do
    type -P "$name" >/dev/null && return
  done
  return 1
}
chromium() { has chromium chromium-browser google-chrome; }
firefox() { has firefox-esr firefox; }
axe() { [[ -e e2e/axe/node_modules/.package-lock.json ]] && cmp -s <(grep integrity e2e/axe/package-lock.json) <(grep integrity e2e/axe/node_modules/.package-lock.json); }
dokuwiki() { [[ -e /usr/share/dokuwiki/doku.php ]] && compgen -G '/usr/sbin/php-fpm*' >/dev/null; }
nginx() { [[ -x /usr/sbin/nginx ]] && compgen -G "/etc/nginx/modules-enabled/*headers-more*" >/dev/null; }

if ! has go; then
  echo "Go is missing: install the version that go.mod names from https://go.dev/dl/" >&2
  exit 1
fi

missing=()
chromium || missing+=(chromium)                # the browser tests
firefox || missing+=(firefox-esr)              # those of cookie settings
has "$(go env CC)" || missing+=(gcc libc6-dev) # the race detector
dokuwiki || missing+=(php-fpm dokuwiki)        # the app that is tested; without php-fpm, Apache would come along
nginx || missing+=(nginx libnginx-mod-http-headers-more-filter) # and what the guides of docs/apps run
has redis-server || missing+=(redis-server)    # the store of several nodes
has python3 || missing+=(python3)
has node || missing+=(nodejs)
has curl || missing+=(curl)
has npm || axe || missing+=(npm)               # brings axe-core, which looks at pages
if ((${#missing[@]})); then
  if ((EUID != 0)) || ! has apt-get; then
    echo "missing: ${missing[*]} (Debian's names); install them and run this again" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -o Acquire::Retries=3 update
  apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends "${missing[@]}"
  chromium && firefox && has "$(go env CC)" && dokuwiki && nginx && has redis-server && has python3 && has node && has curl
fi

# Only the tests use axe-core (MPL-2.0); its version and hash stand in e2e/axe. It has no scripts to install, and none may run.
if ! axe; then
  echo "installing axe-core"
  npm ci --prefix e2e/axe --ignore-scripts --no-audit --no-fund --loglevel=error
fi
echo "nothing is missing"
