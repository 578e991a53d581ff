// Package lti makes the root of the module something that Caddy can be built with.
//
// It has no code of its own. It exists so that
//
//	xcaddy build --with github.com/caddy-lti/lti
//
// gives a Caddy with the LTI plugin and the demo LMS in it, from a release and from a checkout
// (…/lti=.) alike. A server that needs no demo LMS takes the plugin alone:
// --with github.com/caddy-lti/lti/caddylti.
package lti

import (
	_ "github.com/caddy-lti/lti/caddylti" // the plugin: the lti app, handler and matcher
	_ "github.com/caddy-lti/lti/devlms"   // a demo LMS; does nothing unless configured
)
