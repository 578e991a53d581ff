package inspect

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxShown  = 300      // bytes of one value
	maxDoc    = 16 << 10 // bytes of a token
	maxParams = 40
)

// Token shows an id_token: its header and its claims, masked, and never its
// signature. Nothing in it has been checked.
func Token(idToken string) string {
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		return fmt.Sprintf("(no signed JWT: %d parts instead of 3)", len(parts))
	}
	var b strings.Builder
	for i, what := range []string{"header", "claims"} {
		fmt.Fprintf(&b, "%s ", what)
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			b.WriteString("(not base64url)\n")
			continue
		}
		b.WriteString(Claims(raw, what == "claims"))
		b.WriteByte('\n')
	}
	return clip(strings.TrimSuffix(b.String(), "\n"), maxDoc)
}

// Claims shows a JSON object. Names of members are as they are; of values only
// those are that say nothing of a person.
func Claims(raw []byte, claims bool) string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil || doc == nil {
		return "(not a JSON object)"
	}
	shown := header
	if claims {
		shown = payload
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(shown.mask(doc)); err != nil {
		return "(cannot be shown)"
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Params shows the parameters of a request, those of these names as they are.
func Params(v url.Values, open ...string) []Param {
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	var out []Param
	for _, name := range names[:min(len(names), maxParams)] {
		for _, val := range v[name][:min(len(v[name]), 3)] {
			if slices.Contains(open, name) {
				val = address(val)
			} else {
				val = hidden(val)
			}
			out = append(out, Param{clip(name, 100), val})
		}
	}
	return out
}

// rule says what is shown of a value.
type rule struct {
	open    bool            // as it is, whatever is in it, but for secrets in a URL
	names   bool            // URIs in it are names, and have none
	members map[string]rule // of an object
	each    *rule           // of a member that is not named
}

var (
	shown  = rule{open: true}
	terms  = rule{open: true, names: true}
	header = rule{members: map[string]rule{"alg": shown, "kid": shown, "typ": shown, "crit": shown, "jku": shown, "x5u": shown, "cty": shown}}
	// A course has a title that may name people; its id and label do for telling
	// it from others.
	place = rule{members: map[string]rule{"id": shown, "label": shown, "type": terms}}
)

const (
	core = "https://purl.imsglobal.org/spec/lti/claim/"
	dl   = "https://purl.imsglobal.org/spec/lti-dl/claim/"
)

// payload has the claims of which values are shown.
var payload = rule{members: map[string]rule{
	"iss": shown, "aud": shown, "azp": shown, "exp": shown, "iat": shown, "nbf": shown, "locale": shown,
	core + "message_type": shown, core + "version": shown, core + "deployment_id": shown, core + "target_link_uri": shown, core + "roles": terms,
	core + "resource_link": place,
	core + "context":       place,
	core + "tool_platform": {members: map[string]rule{
		"guid": shown, "url": shown, "name": shown, "product_family_code": shown, "version": shown,
	}},
	core + "launch_presentation": {members: map[string]rule{
		"document_target": shown, "width": shown, "height": shown, "return_url": shown, "locale": shown,
	}},
	core + "custom": {each: &rule{}},
	"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": {members: map[string]rule{
		"scope": shown, "lineitems": shown, "lineitem": shown,
	}},
	"https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": {members: map[string]rule{
		"context_memberships_url": shown, "service_versions": shown,
	}},
	dl + "deep_linking_settings": {members: map[string]rule{
		"deep_link_return_url": shown, "accept_types": shown, "accept_media_types": shown, "accept_presentation_document_targets": shown,
		"accept_multiple": shown, "accept_lineitem": shown, "auto_create": shown, "accept_copy_advice": shown,
	}},
}}

func (k rule) mask(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, val := range v {
			of, known := k.members[name]
			switch {
			case k.open:
				of = k
			case !known && k.each != nil:
				of = *k.each
			}
			out[clip(name, 200)] = of.mask(val)
		}
		return out
	case []any:
		if !k.open && k.members == nil {
			return fmt.Sprintf("‹list of %d›", len(v))
		}
		out := make([]any, len(v))
		for i, val := range v {
			out[i] = k.mask(val)
		}
		return out
	case string:
		switch {
		case k.names:
			return clip(v, maxShown)
		case k.open:
			return address(v)
		}
		return hidden(v)
	case json.Number:
		if k.open {
			return v
		}
		return "‹number›"
	default: // bool, nil
		return v
	}
}

// hidden says how long a text is. A variable that the platform did not fill in
// says nothing but that.
func hidden(s string) string {
	switch {
	case s == "":
		return ""
	case isVariable(s):
		return s
	}
	n := utf8.RuneCountInString(s)
	if n == 1 {
		return "‹1 character›"
	}
	return fmt.Sprintf("‹%d characters›", n)
}

// isVariable reports whether a custom parameter holds a variable's name, such as
// $CourseSection.sourcedId, in the place of its value.
func isVariable(s string) bool {
	name, ok := strings.CutPrefix(s, "$")
	if !ok || name == "" || len(name) > 80 || !strings.Contains(name, ".") {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool {
		return c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	})
}

// address shows a text, without what stands in the query of a URL or before its
// host: that may be worth something.
func address(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		u.User, u.Fragment, u.RawFragment = nil, "", ""
		var kept []string
		for pair := range strings.SplitSeq(u.RawQuery, "&") {
			if name, val, ok := strings.Cut(pair, "="); ok && val != "" {
				pair = name + "=…"
			}
			kept = append(kept, pair)
		}
		u.RawQuery = strings.Join(kept, "&")
		s = u.String()
	}
	return clip(s, maxShown)
}

// clip cuts a text that is too long.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
