// Package doctor checks a configuration against the world: whether platforms
// answer and recognise the tool, whether the site can be reached as platforms and
// browsers reach it, whether the app can be shown in a frame. Each [Finding] says
// what was seen, what helps, and who can do it. docs/doctor.md lists them all.
//
// [Platform], [Store], [Keys] and [Score] look from the server, with its client and
// its rules for addresses; [Site] looks from outside, from the process of whoever
// asks; [Headers] judges an answer of the app. Nothing is changed but by [Score],
// and no finding holds a token, a query or the value of a cookie.
package doctor

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/service"
)

// Check names what was looked at.
type Check string

// The checks.
const (
	CheckConnection  Check = "connection"  // names, addresses, ports and time
	CheckCertificate Check = "certificate" // and TLS as a whole
	CheckJWKS        Check = "jwks"        // the platform's key set
	CheckAuth        Check = "auth"        // where logins begin
	CheckToken       Check = "token"       // access to the platform's services
	CheckAudience    Check = "audience"    // of the assertion that asks for a token
	CheckScopes      Check = "scopes"      // what the platform grants
	CheckClock       Check = "clock"       // the other side's against ours
	CheckPublicURL   Check = "public_url"  // the site's address
	CheckPlainHTTP   Check = "plain_http"  // what answers without TLS
	CheckPublicKeys  Check = "public_keys" // the tool's, as others see them
	CheckRoutes      Check = "routes"      // login and launch
	CheckFrame       Check = "frame"       // what the app says of frames
	CheckCookies     Check = "cookies"     // the app's
	CheckRedirects   Check = "redirects"   // of the app
	CheckIsolation   Check = "isolation"   // what a page in a frame cannot have
	CheckStore       Check = "store"
	CheckKeys        Check = "keys" // the tool's, as the server has them
	CheckScore       Check = "score"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Note    Level = "note"    // worth knowing
	Warning Level = "warning" // fails for some, or will fail
	Failure Level = "failure" // fails
)

// Finding is what one check found. As JSON it is an object with these members.
type Finding struct {
	Check   Check  `json:"check"`
	Rule    string `json:"rule,omitempty"` // of the check, that is broken; stable like its name
	Subject string `json:"subject"`        // a platform's name, or an address of the site
	Level   Level  `json:"level"`
	Text    string `json:"text"`           // what was seen; one line, and not HTML-escaped
	Mend    string `json:"mend,omitempty"` // what helps
	// Whose it is to mend. Warnings and failures have both.
	Whose fault.Party `json:"whose,omitempty"`
}

// rule is something that can be wrong, and what helps then.
type rule struct {
	check Check
	name  string
	level Level
	whose fault.Party
	mend  string
	own   string // in place of mend where it is the site itself, which is the tool administrator's
}

// rules are all of them; tests and documentation are held against it.
var rules []*rule

func define(r rule) *rule {
	rules = append(rules, &r)
	return &r
}

const (
	maxText   = 400 // runes, of which the better part may be a stranger's
	maxAnswer = 512 << 10
)

// report collects what is found of one subject.
type report struct {
	subject string
	own     bool // the subject is the site itself
	found   []Finding
}

func (r *report) ok(c Check, format string, args ...any) {
	r.put(Finding{Check: c, Level: OK, Text: fmt.Sprintf(format, args...)})
}

// broken adds the finding that a rule is broken.
func (r *report) broken(what *rule, format string, args ...any) {
	f := Finding{Check: what.check, Rule: what.name, Level: what.level, Text: fmt.Sprintf(format, args...), Mend: what.mend, Whose: what.whose}
	if r.own && what.own != "" {
		f.Mend, f.Whose = what.own, fault.ToolAdmin
	}
	r.put(f)
}

// brokenMend is broken with what helps in this very case.
func (r *report) brokenMend(what *rule, mend, format string, args ...any) {
	special := *what
	special.mend, special.own = mend, ""
	r.broken(&special, format, args...)
}

// put adds a finding, unless it is there: several addresses have one host.
func (r *report) put(f Finding) {
	f.Subject = service.Sanitize(r.subject, maxText)
	f.Text = service.Sanitize(f.Text, maxText)
	f.Mend = service.Sanitize(f.Mend, maxText)
	if !slices.Contains(r.found, f) {
		r.found = append(r.found, f)
	}
}

// has reports whether a rule of one of the checks is broken.
func (r *report) has(checks ...Check) bool {
	return slices.ContainsFunc(r.found, func(f Finding) bool { return f.Level != OK && slices.Contains(checks, f.Check) })
}

// bare is a URL for messages: without query and user.
func bare(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// hostOf is the host of an address that has been checked.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Hostname()
}

// clock is now, or the time of day.
func clock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}
