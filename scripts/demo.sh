#!/usr/bin/env bash
# Runs the demo. What it stores goes to .demo/ in this folder, so that a Caddy of this computer's owner is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cat <<'END'

  The demo starts. Open http://lms.localhost:8080 in a browser on this machine,
  choose who to be, and click an activity of a course.

  To see a tool register itself, choose "Add a tool" there and paste
  http://new.localhost:8080/lti/register?invite=demo-only-0123456789-make-your-own

  To see what a tool does with bad messages and attacks, choose "Laboratory".

  Ctrl-C stops it. What it stores is in .demo/, which "make clean" removes.

END
XDG_DATA_HOME=$PWD/.demo/data XDG_CONFIG_HOME=$PWD/.demo/config \
  exec bin/caddy run --config examples/Caddyfile --adapter caddyfile
