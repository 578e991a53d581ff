package caddylti

import (
	"net/http"
	"reflect"
	"testing"
)

func TestMakePrivate(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []string
		want string
	}{
		{"nothing said", nil, "private"},
		{"empty", []string{""}, "private"},
		{"public", []string{"public"}, "private"},
		{"public with a lifetime", []string{"public, max-age=60"}, "private, max-age=60"},
		{"in any case", []string{"Public, Max-Age=60"}, "private, Max-Age=60"},
		{"shared lifetime", []string{"s-maxage=600, max-age=60"}, "private, max-age=60"},
		{"proxies", []string{"max-age=60, proxy-revalidate, must-revalidate"}, "private, max-age=60, must-revalidate"},
		{"private already", []string{"private, max-age=60"}, "private, max-age=60"},
		{"private for one header only", []string{`private="Set-Cookie", max-age=60`}, "private, max-age=60"},
		{"no-store", []string{"no-store"}, "private, no-store"},
		{"no-cache", []string{"no-cache"}, "private, no-cache"},
		{"no-cache for headers", []string{`no-cache="X-A, X-B", max-age=1`}, `private, no-cache="X-A, X-B", max-age=1`},
		{"several lines", []string{"public", "max-age=60, immutable"}, "private, max-age=60, immutable"},
		{"spaces", []string{"  public ,, max-age = 60 "}, "private, max-age = 60"},
		{"public in a value is no directive", []string{"x=public"}, "private, x=public"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := http.Header{"X-A": {"b"}}
			if tc.in != nil {
				h["Cache-Control"] = tc.in
			}
			makePrivate(h)
			if got := h["Cache-Control"]; !reflect.DeepEqual(got, []string{tc.want}) {
				t.Errorf("%q became %q, want %q", tc.in, got, tc.want)
			}
			if len(h) != 2 {
				t.Errorf("other headers: %v", h)
			}
		})
	}
	// The list that all such answers share stays what it is.
	if !reflect.DeepEqual(privateOnly, []string{"private"}) {
		t.Errorf("privateOnly is %q", privateOnly)
	}
}
