package ags

import (
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

type param = httpx.Param

func withParams(raw string, params ...param) (string, error) { return httpx.WithParams(raw, params...) }
