package devlms

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/httpx"
)

// userAgent is what tools see fetching their keys.
const userAgent = "caddylti-devlms"

// newFetcher makes a client for the key sets of tools.
func newFetcher(allow []httpx.AllowRule) *httpx.Client {
	return httpx.New(httpx.Config{UserAgent: userAgent, AllowPrivate: allow})
}

// localRules are for the key set of a tool. Its URL is the administrator's choice:
// where that says localhost, this machine is meant, on that port and no other.
func localRules(raw string) []httpx.AllowRule {
	u, err := url.Parse(raw)
	if err != nil || !isLocal(u.Host) {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	hosts := []string{"127.0.0.1", "::1"}
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		hosts = []string{ip.String()}
	}
	var rules []httpx.AllowRule
	for _, host := range hosts {
		if rule, err := httpx.ParseAllow(net.JoinHostPort(host, port)); err == nil {
			rules = append(rules, rule)
		}
	}
	return rules
}

// verify checks the signature of a tool's assertion with the tool's own keys
// and returns the payload.
func (p *platform) verify(v *visit, t *Tool, assertion string) ([]byte, error) {
	keys := p.state.keySet(t.JWKSURL, p.now).For(watchedFetcher{p.fetcher(v, t), p, t}, func(_ string, err error) {
		p.log.Warn("the key set of a tool gives trouble; its assertions are refused until it is there",
			zap.String("tool", t.Name), zap.Error(remedy(err)))
	})
	payload, err := keys.VerifySignature(v.r.Context(), assertion, []string{"RS256"})
	err = remedy(err)
	v.note.tool, v.note.check = t, &check{sum: sha256.Sum256([]byte(assertion)), keysURL: t.JWKSURL}
	if err != nil {
		v.note.check.err = truncate(err.Error())
	}
	return payload, err
}

// remedy names the option of devlms where the client would name that of lti.
func remedy(err error) error {
	if private, ok := errors.AsType[*httpx.PrivateAddressError](err); ok {
		return fmt.Errorf("%w: the key set is at %s (%s); if that is meant: devlms { allow_private %s }",
			httpx.ErrPrivateAddress, private.Addr.Addr(), private.Kind, private.Addr)
	}
	return err
}
