package ags

import (
	"encoding/json"
	"maps"
	"strings"
)

// object is a JSON object in the making, on top of members that came from a
// platform.
type object map[string]any

func newObject(extra map[string]json.RawMessage) object {
	o := make(object, len(extra)+8)
	for name, raw := range extra {
		o[name] = raw
	}
	return o
}

// text sets a member unless s is empty.
func (o object) text(name, s string) {
	if s != "" {
		o[name] = s
	}
}

// isExtension tells whether a member is one that anybody may add: its name is a
// full URL.
func isExtension(name string) bool {
	return strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://")
}

// extensions returns those of extra whose name is a full URL.
func extensions(extra map[string]json.RawMessage) map[string]json.RawMessage {
	extra = maps.Clone(extra)
	maps.DeleteFunc(extra, func(name string, _ json.RawMessage) bool { return !isExtension(name) })
	return extra
}
