// Package caddylti makes Caddy an LTI 1.3 tool for any website behind it.
//
// Modules:
//
//   - http.handlers.lti (directive lti): the gateway;
//   - http.matchers.lti (matcher lti): by role, course, platform, message;
//   - lti (global option lti): what all handlers share;
//   - lti.stores.bolt, lti.stores.memory: where sessions live.
//
// The protocol itself is in package lti and imports no Caddy. This package
// joins it with configuration, requests, logs and storage.
package caddylti
