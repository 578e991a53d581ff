package ags

import (
	"net/url"
	"strings"

	"github.com/caddy-lti/lti/internal/httpx"
)

// ScoresURL returns where scores of a line item go: its path with /scores behind
// it. A query stays behind the path (AGS 2.0 §3.4.1); Moodle's line items have
// one.
func ScoresURL(lineItem string) (string, error) { return appendPath(lineItem, "/scores") }

// ResultsURL returns where results of a line item are: its path with /results
// behind it (AGS 2.0 §3.3.1).
func ResultsURL(lineItem string) (string, error) { return appendPath(lineItem, "/results") }

// appendPath works on the text, so that nothing else in it changes.
func appendPath(raw, tail string) (string, error) {
	if _, err := httpx.CheckURL(raw); err != nil {
		return "", err
	}
	// A URL without a fragment has its first question mark before the query.
	path, query, ok := strings.Cut(raw, "?")
	path = strings.TrimSuffix(path, "/") + tail
	if ok {
		path += "?" + query
	}
	return path, nil
}

// param is one to add to a query.
type param struct{ name, value string }

// withParams adds what is not empty to the query of a URL, after what is there.
func withParams(raw string, params ...param) (string, error) {
	if _, err := httpx.CheckURL(raw); err != nil {
		return "", err
	}
	for _, p := range params {
		if p.value == "" {
			continue
		}
		switch {
		case !strings.Contains(raw, "?"):
			raw += "?"
		case !strings.HasSuffix(raw, "?") && !strings.HasSuffix(raw, "&"):
			raw += "&"
		}
		raw += p.name + "=" + url.QueryEscape(p.value)
	}
	return raw, nil
}
