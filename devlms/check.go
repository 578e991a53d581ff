package devlms

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddy-lti/lti/internal/httpx"
)

var toolName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// check says what is wrong with the options. The Caddyfile's parser asks for
// each option by itself, so that its errors carry file and line; here it is
// about a configuration that came as JSON.
func (h *Handler) check() error {
	if h.Issuer != "" {
		if err := checkIssuer(h.Issuer); err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
	}
	if err := checkStorage(h.Storage); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	if h.Leeway < 0 {
		return errors.New("leeway: it is below 0")
	}
	if _, err := parseAllow(h.AllowPrivate); err != nil {
		return err
	}
	if _, err := parseFaults(h.Faults); err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	if h.Registration != nil {
		if err := h.Registration.check(); err != nil {
			return fmt.Errorf("registration: %w", err)
		}
	}
	names, clients := make(map[string]bool), make(map[string]bool)
	for _, t := range h.Tools {
		if err := t.check(); err != nil {
			return fmt.Errorf("tool %q: %w", t.Name, err)
		}
		if names[t.Name] {
			return fmt.Errorf("tool %q: there are two tools of this name", t.Name)
		}
		if clients[t.ClientID] {
			return fmt.Errorf("tool %q: client_id %q belongs to another tool already", t.Name, t.ClientID)
		}
		names[t.Name], clients[t.ClientID] = true, true
	}
	return nil
}

func (t *Tool) check() error {
	if err := checkToolName(t.Name); err != nil {
		return err
	}
	if err := checkID(t.ClientID); err != nil {
		return fmt.Errorf("client_id: %w", err)
	}
	if err := checkID(t.Deployment); err != nil {
		return fmt.Errorf("deployment: %w", err)
	}
	if err := checkURL(t.LoginURL); err != nil {
		return fmt.Errorf("login_url: %w", err)
	}
	if len(t.RedirectURIs) == 0 {
		return errors.New("redirect_uris: at least one is needed")
	}
	for _, u := range t.RedirectURIs {
		if err := checkURL(u); err != nil {
			return fmt.Errorf("redirect_uris: %w", err)
		}
	}
	if t.JWKSURL != "" {
		if err := checkURL(t.JWKSURL); err != nil {
			return fmt.Errorf("jwks_url: %w", err)
		}
	}
	for _, s := range t.switches() {
		if *s.value != "" {
			if err := checkSwitch(*s.value); err != nil {
				return fmt.Errorf("%s: %w", s.option, err)
			}
		}
	}
	if t.DeepLinkingURL != "" {
		if err := checkURL(t.DeepLinkingURL); err != nil {
			return fmt.Errorf("deep_linking_url: %w", err)
		}
	}
	if err := t.checkKeys(); err != nil {
		return err
	}
	if err := checkMaximum(t.ScoreMaximum); err != nil {
		return err
	}
	for _, l := range t.Links {
		if err := l.check(); err != nil {
			return fmt.Errorf("link %q: %w", l.Title, err)
		}
	}
	if _, ok := t.Custom[""]; ok {
		return errors.New("custom: a name is empty")
	}
	return nil
}

func (l *Link) check() error {
	if l.Title == "" {
		return errors.New("the title is empty")
	}
	if err := checkURL(l.TargetLinkURI); err != nil {
		return fmt.Errorf("target_link_uri: %w", err)
	}
	if err := checkMaximum(l.ScoreMaximum); err != nil {
		return err
	}
	if l.Ungraded && (l.ScoreMaximum > 0 || l.ResourceID != "" || l.Tag != "") {
		return errors.New("ungraded: there is no line item that score_maximum, resource_id or tag could be for")
	}
	return checkTarget(l.Target)
}

// toolSwitch is an option of a tool that is on or off.
type toolSwitch struct {
	option string
	value  *string
}

func (t *Tool) switches() []toolSwitch {
	return []toolSwitch{{"ags", &t.AGS}, {"nrps", &t.NRPS}, {"deep_linking", &t.DeepLinking}}
}

// checkKeys refuses what is on and cannot work.
func (t *Tool) checkKeys() error {
	for _, s := range t.switches() {
		if *s.value == optionOn && t.JWKSURL == "" {
			return fmt.Errorf("%s is on, but without the tool's key set (jwks) nothing that the tool signs can be checked", s.option)
		}
	}
	return nil
}

func checkSwitch(value string) error {
	if value != optionOn && value != optionOff {
		return fmt.Errorf("bad value %q: expected %s or %s", value, optionOn, optionOff)
	}
	return nil
}

// checkMaximum accepts 0, which is the default's.
func checkMaximum(n float64) error {
	if n != 0 && !(n >= minMaximum && n <= maxPoints) {
		return fmt.Errorf("score_maximum: bad number %g: expected one above 0, such as 100", n)
	}
	return nil
}

// parseAllow reads the addresses that key sets may be fetched from.
func parseAllow(words []string) ([]httpx.AllowRule, error) {
	var rules []httpx.AllowRule
	for _, word := range words {
		rule, err := httpx.ParseAllow(word)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func checkToolName(name string) error {
	if !toolName.MatchString(name) {
		return fmt.Errorf("bad name %q: expected 1 to 32 of a-z, 0-9 and hyphen", name)
	}
	return nil
}

// checkID holds client and deployment ids to what the specification allows:
// at most 255 ASCII characters.
func checkID(id string) error {
	if id == "" {
		return errors.New("missing")
	}
	if len(id) > 255 {
		return errors.New("longer than 255 characters")
	}
	for i := range len(id) {
		if id[i] < 0x21 || id[i] > 0x7e {
			return fmt.Errorf("bad value %q: expected ASCII without spaces", id)
		}
	}
	return nil
}

func checkTarget(target string) error {
	if target != targetIframe && target != targetWindow {
		return fmt.Errorf("bad target %q: expected %s or %s", target, targetIframe, targetWindow)
	}
	return nil
}

func checkStorage(storage string) error {
	if storage != storageOff && storage != storageFrame && storage != storageParent {
		return fmt.Errorf("bad value %q: expected %s, %s or %s", storage, storageOff, storageFrame, storageParent)
	}
	return nil
}

// checkURL accepts absolute URLs with https, and with http where no network
// lies between (LTI forbids it everywhere else).
func checkURL(raw string) error {
	if raw == "" {
		return errors.New("missing")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return fmt.Errorf("bad URL %q: expected https://… or http://…", raw)
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return fmt.Errorf("bad URL %q: it may not have a fragment", raw)
	case u.User != nil:
		return fmt.Errorf("bad URL %q: it may not hold a user name or password", raw)
	case u.Scheme == "http" && !isLocal(u.Host):
		return fmt.Errorf("bad URL %q: http is for localhost and names below it; expected https", raw)
	}
	return nil
}

// checkIssuer accepts an origin, in the form in which it will be compared.
func checkIssuer(raw string) error {
	if err := checkURL(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	if origin := u.Scheme + "://" + strings.ToLower(u.Host); raw != origin {
		return fmt.Errorf("bad issuer %q: expected scheme and host only: %s", raw, origin)
	}
	return nil
}

// isLocal tells whether a host (with or without port) never leaves the machine:
// localhost and names below it (RFC 6761), and loopback addresses.
func isLocal(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
