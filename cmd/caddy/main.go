// Command caddy is Caddy with its standard modules, the LTI plugin and the demo LMS.
//
// It is for development and tests. To build a Caddy for a server, see xcaddy.md.
package main

import (
	_ "time/tzdata" // time zones, where the system has none

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-lti/lti"
)

func main() {
	caddycmd.Main()
}
