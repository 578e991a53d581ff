package dynreg

import (
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-lti/lti/internal/service"
)

const (
	maxText  = 200       // runes of a stranger's in messages and pages
	maxWords = 300       // a list of what is wrong needs a little more
	maxRead  = 64 << 10  // a message has no place further down
	maxURL   = 2 << 10   // no platform's is nearly as long
	maxToken = 8 << 10   // a header must hold it
	maxBytes = 256 << 10 // of a document; that of Canvas has 20 KB
)

var (
	htmlNoise = regexp.MustCompile(`(?is)<(script|style|head)\b.*?</(?:script|style|head)\s*>|<!--.*?-->`)
	htmlTag   = regexp.MustCompile(`(?s)<[^>]*>?`)
)

// words are what an answer says in the forms that are in use: OAuth's error and
// error_description (RFC 7591 §3.2.2), the lists of Canvas, the plain text of
// Moodle, a web page.
func words(body []byte, secrets []string) string {
	body = body[:min(len(body), maxRead)]
	text := strings.TrimSpace(string(body))
	var v any
	switch {
	case json.Unmarshal(body, &v) == nil:
		text = strings.Join(jsonWords(nil, v, 0), "; ")
	case strings.HasPrefix(text, "<"):
		text = htmlTag.ReplaceAllString(htmlNoise.ReplaceAllString(text, " "), " ")
	}
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return service.Sanitize(text, maxWords)
}

// jsonWords finds messages, wherever they are.
func jsonWords(found []string, v any, depth int) []string {
	if depth > 4 || len(found) >= maxNotes {
		return found
	}
	switch v := v.(type) {
	case string:
		return append(found, v)
	case []any:
		for _, elem := range v {
			found = jsonWords(found, elem, depth+1)
		}
	case map[string]any:
		code, _ := v["error"].(string)
		if text, ok := v["error_description"].(string); ok && text != "" {
			return append(found, strings.TrimPrefix(code+": "+text, ": "))
		}
		for _, name := range []string{"error", "message", "errorMessage", "detail", "reason", "title"} {
			if text, ok := v[name].(string); ok && text != "" {
				return append(found, text)
			}
		}
		// Canvas: {"errors": {MEMBER: [{"message": …}]}}. What else is at the top is
		// no message, but perhaps a registration.
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if _, ok := v[name].(string); !ok && (depth > 0 || name == "error" || name == "errors") {
				found = jsonWords(found, v[name], depth+1)
			}
		}
	}
	return found
}

// secretsOf are what must not show in messages: the token and the values in the
// queries of URLs, where Canvas and Blackboard put it.
func secretsOf(token string, urls ...string) []string {
	all := []string{token}
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		for _, vals := range u.Query() {
			all = append(all, vals...)
		}
	}
	// What is this short is no secret, and taking it out would mangle the rest.
	return slices.DeleteFunc(all, func(s string) bool { return len(s) < 8 })
}
