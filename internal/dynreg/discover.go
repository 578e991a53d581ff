package dynreg

import (
	"context"
	"net/http"

	"github.com/caddy-lti/lti/internal/httpx"
)

// Client sends requests and follows no redirects. It is an [*httpx.Client].
type Client interface {
	Do(ctx context.Context, r *httpx.Request) (*httpx.Response, error)
}

// Discover fetches the configuration of the platform that gave rawURL, its
// openid_configuration, and checks it. The token goes along if there is one, for
// Canvas wants it here too. The error is an [*Error].
func Discover(ctx context.Context, client Client, rawURL, token string) (*Configuration, error) {
	if _, problem := checkURL(rawURL); problem != "" {
		return nil, badSource(problem)
	}
	header, err := headers(opDiscover, token)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(ctx, &httpx.Request{Method: http.MethodGet, URL: rawURL, Header: header, MaxBytes: maxBytes})
	if err != nil {
		return nil, unreachable(opDiscover, err)
	}
	if resp.Status < 200 || resp.Status > 299 {
		return nil, refused(opDiscover, resp, secretsOf(token, rawURL))
	}
	return ParseConfiguration(resp.Body, rawURL)
}

func badSource(problem string) *Error {
	return malformed(opDiscover, "the platform gave no address of its configuration that can be used", nil, Note{"openid_configuration", problem})
}

// headers are those of a request that carries the token, if there is one.
func headers(op, token string) (http.Header, error) {
	h := http.Header{"Accept": {"application/json"}}
	switch {
	case token == "":
	case len(token) > maxToken || !visible(token):
		return nil, malformed(op, "the platform gave a registration token that cannot be used", nil,
			Note{"registration_token", "is too long, or has a character that no token has"})
	default:
		h.Set("Authorization", "Bearer "+token)
	}
	return h, nil
}
