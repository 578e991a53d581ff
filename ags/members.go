package ags

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
)

// members are those of a JSON object that a platform sent. Reading one that
// fits takes it out; the rest is kept, to be sent back as it came.
type members map[string]json.RawMessage

// text takes out a string. Platforms send null for none, and numbers for ids.
func (m members) text(name string) string {
	raw, ok := m[name]
	if !ok {
		return ""
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil {
		var n json.Number
		if json.Unmarshal(raw, &n) != nil {
			return ""
		}
		s = (*string)(&n)
	}
	delete(m, name)
	if s == nil {
		return ""
	}
	return *s
}

// number takes out a number, perhaps within a string.
func (m members) number(name string) *float64 {
	raw, ok := m[name]
	if !ok {
		return nil
	}
	var f *float64
	if json.Unmarshal(raw, &f) != nil {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return nil
		}
		if s = strings.TrimSpace(s); s != "" {
			n, err := strconv.ParseFloat(s, 64)
			if err != nil || !finite(n) {
				return nil
			}
			f = &n
		}
	}
	delete(m, name)
	return f
}

// boolean takes out a truth value.
func (m members) boolean(name string) *bool {
	var b *bool
	if raw, ok := m[name]; !ok || json.Unmarshal(raw, &b) != nil {
		return nil
	}
	delete(m, name)
	return b
}

// rest returns what nobody took out.
func (m members) rest() map[string]json.RawMessage {
	if len(m) == 0 {
		return nil
	}
	return m
}

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
