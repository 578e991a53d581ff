#!/usr/bin/env bash
# Looks for what the tests need. As root on Debian it installs what is missing; elsewhere it says so and fails,
# because a test that is skipped proves nothing.
set -euo pipefail

has() { # has NAME...: any of them
  local name
  for name; do
    type -P "$name" >/dev/null && return
  done
  return 1
}
chromium() { has chromium chromium-browser google-chrome; }
firefox() { has firefox-esr firefox; }
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
has python3 || missing+=(python3)
has node || missing+=(nodejs)
has curl || missing+=(curl)
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
chromium && firefox && has "$(go env CC)" && dokuwiki && nginx && has python3 && has node && has curl
