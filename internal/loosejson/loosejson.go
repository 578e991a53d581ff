// Package loosejson reads what platforms send, forgivingly: what does not fit is
// kept as it came, to be sent back or looked at by somebody who knows better.
package loosejson

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Members are those of a JSON object. Reading one that fits takes it out.
type Members map[string]json.RawMessage

// Text takes out a string. Platforms send null for none, and numbers for ids.
func (m Members) Text(name string) string {
	raw, ok := m[name]
	if !ok {
		return ""
	}
	// Most strings stand for themselves, and rosters have millions of them.
	if n := len(raw); n > 1 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		delete(m, name)
		return string(raw[1 : n-1])
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

// Number takes out a number, perhaps within a string.
func (m Members) Number(name string) *float64 {
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
			if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
				return nil
			}
			f = &n
		}
	}
	delete(m, name)
	return f
}

// Boolean takes out a truth value.
func (m Members) Boolean(name string) *bool {
	var b *bool
	if raw, ok := m[name]; !ok || json.Unmarshal(raw, &b) != nil {
		return nil
	}
	delete(m, name)
	return b
}

// Rest returns what nobody took out.
func (m Members) Rest() map[string]json.RawMessage {
	if len(m) == 0 {
		return nil
	}
	return m
}
