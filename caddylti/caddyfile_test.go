package caddylti

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-lti/lti/lti"
)

// FuzzCaddyfile feeds the directive. It must not panic nor hang; what it accepts
// keeps the promises that the rest relies on; what it refuses, it refuses with a
// line.
func FuzzCaddyfile(f *testing.F) {
	for _, g := range readGoldens(f) {
		blocks, err := caddyfile.Parse("Caddyfile", []byte(g.caddyfile))
		if err != nil {
			continue
		}
		for _, block := range blocks {
			for _, segment := range block.Segments {
				if segment.Directive() == "lti" && len(block.Keys) > 0 {
					f.Add(text(segment))
				}
			}
		}
	}
	at := regexp.MustCompile(`, at Caddyfile:\d+$`)
	f.Fuzz(func(t *testing.T, source string) {
		tokens, err := caddyfile.Tokenize([]byte(source), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		h := new(Handler)
		if err := h.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			if !at.MatchString(err.Error()) {
				t.Errorf("%q: the error has no line: %v", source, err)
			}
			return
		}
		if len(h.Platforms) == 0 && h.Registration == nil {
			t.Errorf("%q: no platform", source)
		}
		names := make(map[string]bool)
		for _, p := range h.Platforms {
			if !platformName.MatchString(p.Name) || names[p.Name] {
				t.Errorf("%q: platform %q", source, p.Name)
			}
			names[p.Name] = true
			if len(p.Deployments) == 0 && !p.hasPlaceholders() {
				t.Errorf("%q: platform %s without deployment", source, p.Name)
			}
		}
		for name := range h.ExtraHeaders {
			if checkHeaderName(name) != nil {
				t.Errorf("%q: header %q", source, name)
			}
		}
		for _, pattern := range append(h.Public, h.Protect...) {
			if checkPattern(pattern) != nil {
				t.Errorf("%q: pattern %q", source, pattern)
			}
		}
		for _, name := range h.AllowRoles {
			if _, err := lti.ParseRole(name); err != nil {
				t.Errorf("%q: %v", source, err)
			}
		}
		if _, err := h.Session.resolve(); err != nil {
			t.Errorf("%q: %v", source, err)
		}
		data, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		loaded := new(Handler)
		if err := caddy.StrictUnmarshalJSON(data, loaded); err != nil {
			t.Errorf("%q: the JSON %s does not load: %v", source, data, err)
			return
		}
		again, err := json.Marshal(loaded)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(data, again) {
			t.Errorf("%q: the JSON is\n%s\nthen\n%s", source, data, again)
		}
	})
}

// text writes a segment as a Caddyfile again.
func text(segment caddyfile.Segment) string {
	out, line := "", 0
	for i, token := range segment {
		switch {
		case i == 0:
		case token.Line != line:
			out += "\n"
		default:
			out += " "
		}
		line = token.Line
		if token.Quoted() {
			out += `"` + token.Text + `"`
		} else {
			out += token.Text
		}
	}
	return out
}
