package caddylti

import "runtime/debug"

const modulePath = "github.com/caddy-lti/lti"

// version returns the version of this module in the running program.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Path == modulePath && info.Main.Version != "" {
			return info.Main.Version
		}
		for _, dep := range info.Deps {
			if dep.Path == modulePath {
				return dep.Version
			}
		}
	}
	return "devel"
}
