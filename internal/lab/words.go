package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Fill says what a word in braces stands for; a word that it does not know is an
// error.
type Fill func(word, arg string) (any, error)

// word matches what Expand replaces.
var word = regexp.MustCompile(`\{(absent|now|exact|text|origin|site|host|port|issuer|client|nonce|state|token|stranger|private|jwk|x5c|repeat)([^{}]*)\}`)

// Expand fills in the words in braces, in texts, lists, and names and values of
// objects:
//
//	absent                  removes the member, where it is all there is
//	now+60, exact+60.5      a time, as a whole number of seconds or not
//	text+60                 a time as text
//	origin, site            the tool's address, with and without scheme
//	host, port              its parts
//	issuer, client          as registered
//	nonce, state            of this login, or of another one: nonce SAME (begun
//	                        by this browser), OTHER (by another), ELSEWHERE (at
//	                        another site)
//	token                   the signed token
//	stranger, private       servers that must not be asked
//	jwk KEY, x5c KEY        a public key, and a certificate chain with it
//	repeat N TEXT           the text N times
func Expand(v any, fill Fill) (any, error) {
	var failed error
	keep := func(val any, err error) any {
		if err != nil && failed == nil {
			failed = err
		}
		return val
	}
	var expand func(v any) any
	expand = func(v any) any {
		switch v := v.(type) {
		case string:
			if m := word.FindStringSubmatch(v); m != nil && m[0] == v {
				return keep(fill(m[1], strings.TrimSpace(m[2])))
			}
			return word.ReplaceAllStringFunc(v, func(s string) string {
				m := word.FindStringSubmatch(s)
				val := keep(fill(m[1], strings.TrimSpace(m[2])))
				if text, ok := val.(string); ok {
					return text
				}
				data, err := json.Marshal(val)
				keep(nil, err)
				return string(data)
			})
		case map[string]any:
			out := make(map[string]any, len(v))
			for name, val := range v {
				text, _ := expand(name).(string)
				out[text] = expand(val)
			}
			return out
		case []any:
			out := make([]any, len(v))
			for i, item := range v {
				out[i] = expand(item)
			}
			return out
		}
		return v
	}
	out := expand(v)
	return out, failed
}

// expandText is Expand for a text that stays one.
func expandText(text string, fill Fill) (string, error) {
	val, err := Expand(text, fill)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(val), nil
}

// expandObject is Expand for an object.
func expandObject(m map[string]any, fill Fill) (map[string]any, error) {
	val, err := Expand(m, fill)
	if err != nil {
		return nil, err
	}
	out, _ := val.(map[string]any)
	return out, nil
}

// FillCommon fills in the words that mean the same everywhere; known is false for
// the others. Times count from at.
func FillCommon(word, arg string, at time.Time) (val any, known bool, err error) {
	offset := 0.0
	switch word {
	case "now", "exact", "text":
		if arg != "" {
			if offset, err = strconv.ParseFloat(arg, 64); err != nil {
				return nil, true, fmt.Errorf("{%s%s}: %w", word, arg, err)
			}
		}
	}
	seconds := float64(at.UnixMilli())/1000 + offset
	switch word {
	case "absent":
		return Absent, true, nil
	case "now":
		return int64(math.Ceil(seconds)), true, nil
	case "exact":
		return seconds, true, nil
	case "text":
		return strconv.FormatInt(int64(math.Ceil(seconds)), 10), true, nil
	case "repeat":
		count, text, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 {
			return nil, true, fmt.Errorf("{repeat %s}: expected a number and a text", arg)
		}
		return strings.Repeat(text, n), true, nil
	}
	return nil, false, nil
}

// With returns a copy of m with the members of more; the value Absent removes.
func With(m, more map[string]any) map[string]any {
	out := maps.Clone(m)
	for name, val := range more {
		if val == Absent {
			delete(out, name)
		} else {
			out[name] = val
		}
	}
	return out
}

// Absent stands for a member that is not there.
const Absent = "\x00absent"

// Claim returns the full name of a claim of LTI core.
func Claim(name string) string { return "https://purl.imsglobal.org/spec/lti/claim/" + name }
