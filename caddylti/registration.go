package caddylti

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/registry"
)

// Registration lets administrators of platforms register them with this tool (LTI
// Dynamic Registration 1.0), by a link that holds an invite. Values of Invites and
// Custom may hold global placeholders such as {env.LTI_INVITE}.
type Registration struct {
	// Invites are secrets that let whoever knows them register a platform, as
	// often as they like. Further ones, for once, are made with caddy lti invites
	// create. Default: none.
	Invites []*Invite `json:"invites,omitempty"`

	// Approve says whether a platform that registered may launch at once (auto) or
	// has to be approved first (manual), with caddy lti registrations approve.
	// Default: auto.
	Approve string `json:"approve,omitempty"`

	// Deployment says which deployments may launch where the platform names none
	// when it registers: the first one that does (first), every one (any), or only
	// those that caddy lti registrations deployment adds (listed). Default: first.
	Deployment string `json:"deployment,omitempty"`

	// Name is what the tool is called in the platform. Default: the site's host.
	Name string `json:"name,omitempty"`

	// Description says there what the tool is for. Default: none.
	Description string `json:"description,omitempty"`

	// Logo is the path of a picture of this site, which has to be public, or an
	// https URL. Default: none.
	Logo string `json:"logo,omitempty"`

	// Custom are custom parameters that the platform is asked to send with each
	// launch. A value such as $Context.id.history is the platform's variable.
	// Default: none.
	Custom map[string]string `json:"custom,omitempty"`

	// Placements are the places of the platform in which teachers find the tool
	// when they add content, by the names of the specification or the platform's
	// own. Default: ContentArea and RichTextEditor, where there is something to
	// choose.
	Placements []string `json:"placements,omitempty"`

	invites []knownInvite
	custom  map[string]string
}

// Invite is a secret that lets platforms register.
type Invite struct {
	// Secret is a part of the link that administrators are given. Of random
	// letters and digits it needs 25 at least, of hex digits 32: 128 bits.
	// Required.
	Secret string `json:"secret"`

	// Label says whom it is for, in lists and the log. Default: none.
	Label string `json:"label,omitempty"`
}

type knownInvite struct {
	sum   [sha256.Size]byte
	label string
}

func (h *Handler) provisionRegistration() error {
	if h.Registration == nil {
		return nil
	}
	if err := h.Registration.provision(); err != nil {
		return fmt.Errorf("registration: %w", err)
	}
	if logo := h.Registration.Logo; strings.HasPrefix(logo, "/") && h.protects(classify(logo)) {
		return fmt.Errorf("registration: logo %s: platforms cannot load it, as it is protected: add it to public", logo)
	}
	return nil
}

func (g *Registration) provision() error {
	if err := g.check(); err != nil {
		return err
	}
	repl := caddy.NewReplacer()
	for _, i := range g.Invites {
		secret, err := repl.ReplaceOrErr(i.Secret, true, true)
		if err != nil {
			return fmt.Errorf("invite: %w", err)
		}
		if err := checkSecret(secret); err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(secret))
		if slices.ContainsFunc(g.invites, func(o knownInvite) bool { return o.sum == sum }) {
			return errors.New("an invite is there twice")
		}
		g.invites = append(g.invites, knownInvite{sum, i.Label})
	}
	g.custom = make(map[string]string, len(g.Custom))
	for name, val := range g.Custom {
		val, err := repl.ReplaceOrErr(val, true, true)
		if err != nil {
			return fmt.Errorf("custom %s: %w", name, err)
		}
		g.custom[name] = val
	}
	return nil
}

// check applies defaults and says what is wrong with what has no placeholders.
func (g *Registration) check() error {
	for option, o := range map[string]struct {
		val     *string
		allowed []string
	}{
		"approve":    {&g.Approve, []string{"auto", "manual"}},
		"deployment": {&g.Deployment, []string{registry.DeploymentFirst, registry.DeploymentAny, registry.DeploymentListed}},
	} {
		if *o.val == "" {
			*o.val = o.allowed[0]
		}
		if !slices.Contains(o.allowed, *o.val) {
			return fmt.Errorf("%s %q: expected %s", option, *o.val, strings.Join(o.allowed, ", "))
		}
	}
	for _, i := range g.Invites {
		if i == nil {
			return errors.New("invite: null")
		}
		if strings.Contains(i.Secret, "{") {
			continue // it has no value yet
		}
		if err := checkSecret(i.Secret); err != nil {
			return err
		}
	}
	for option, text := range map[string]string{"name": g.Name, "description": g.Description} {
		if strings.TrimSpace(text) != text || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%s %q: expected one line of text", option, text)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Custom)) {
		if name == "" || strings.ContainsAny(name, "= \t\r\n") || strings.ContainsAny(g.Custom[name], "\r\n") {
			return fmt.Errorf("custom %q: expected a name without = and a value of one line", name)
		}
	}
	if strings.HasPrefix(g.Logo, "/") {
		if classify(g.Logo).odd {
			return fmt.Errorf("logo %q: expected the path of a picture, such as /logo.png", g.Logo)
		}
	} else if g.Logo != "" {
		if _, err := httpx.CheckURL(g.Logo); err != nil {
			return fmt.Errorf("logo: %w", err)
		}
	}
	return nil
}

// secretBits is what an invite that is good for ever has to carry.
const secretBits = 128

// checkSecret refuses what could be guessed. It can only go by the looks: the
// length, and how many kinds of characters there are.
func checkSecret(secret string) error {
	const hex, lower, upper, digits = "0123456789abcdef", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	seen := make(map[rune]bool)
	kinds := make(map[string]bool)
	for _, c := range secret {
		seen[c] = true
		switch {
		case c <= ' ' || c > '~':
			return errors.New("invite: the secret has a character that does not belong in a link: use letters and digits, as from openssl rand -hex 16")
		case strings.ContainsRune(lower, c):
			kinds[lower] = true
		case strings.ContainsRune(upper, c):
			kinds[upper] = true
		case strings.ContainsRune(digits, c):
			kinds[digits] = true
		}
	}
	alphabet := 0
	for kind := range kinds {
		alphabet += len(kind)
	}
	if strings.Trim(secret, hex) == "" {
		alphabet = len(hex)
	}
	if bits := float64(len(secret)) * math.Log2(float64(max(alphabet, 1))); bits < secretBits || len(seen) < 8 {
		return fmt.Errorf("invite: the secret could be guessed: it needs %d random bits, as from openssl rand -hex 16", secretBits)
	}
	return nil
}

// invited finds the configuration's invite with that secret.
func (g *Registration) invited(secret string) (label string, ok bool) {
	sum := sha256.Sum256([]byte(secret))
	for _, i := range g.invites {
		if subtle.ConstantTimeCompare(i.sum[:], sum[:]) == 1 {
			label, ok = i.label, true
		}
	}
	return label, ok
}
