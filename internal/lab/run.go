package lab

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tool is the tool that is tried out, as the platform knows it.
type Tool struct {
	Name         string
	Issuer       string // of the platform
	ClientID     string
	Deployment   string
	AuthURL      string // the platform's authorization endpoint
	LoginURL     string
	RedirectURIs []string
	Target       string // the target_link_uri of the launches
	// Marker is a text that only a page has that let somebody in. It is for tools
	// whose refusals look like their pages.
	Marker string
}

// has tells whether a URL is the tool's.
func (t *Tool) has(u *url.URL) bool {
	for _, own := range append([]string{t.LoginURL, t.Target}, t.RedirectURIs...) {
		if o, err := url.Parse(own); err == nil && strings.EqualFold(o.Host, u.Host) && o.Scheme == u.Scheme && u.User == nil {
			return true
		}
	}
	return false
}

// Platform is what stands behind the issuer.
type Platform interface {
	// Key is the one that signs.
	Key() (Key, error)
	// Rotate has a new one sign from now on; the one before stays published, and
	// undo has it sign again.
	Rotate() (undo func(), err error)
	// BreakKeys gives the key set's URL a fault until undo is called.
	BreakKeys(fault string) (undo func(), err error)
	// Stranger is an address that nobody must ask, where Serve gives out a key that
	// is not the platform's, and how often it was asked.
	Stranger() (address string, asked func() int)
}

// Runner plays cases against a tool. Its runs must not overlap.
type Runner struct {
	Tool     Tool
	Platform Platform
	Client   Client
	Now      func() time.Time
	// Timeout is for each request. Default: 15 s.
	Timeout time.Duration
	// Patience is how long to wait before a tool that did not know a new key is
	// tried again: it may limit how often it fetches. Default: 31 s.
	Patience time.Duration

	good, bad *outcome // what the tool makes of a good launch, and of garbage
}

// Verdicts.
const (
	Right     = "right"
	Wrong     = "wrong"
	Undecided = "undecided"
)

// Result is what came of a case.
type Result struct {
	Case        string `json:"case"`
	Group       string `json:"group"`
	Description string `json:"description"`
	Reference   string `json:"reference"`
	Want        string `json:"want"`
	Got         string `json:"got"`
	Verdict     string `json:"verdict"`
	Why         string `json:"why"`
	Took        int64  `json:"milliseconds"`
	Steps       []Step `json:"steps"`
}

// Report is what came of a run.
type Report struct {
	Tool    string    `json:"tool"`
	Begun   time.Time `json:"begun"`
	Problem string    `json:"problem,omitempty"` // why nothing could be judged
	Right   int       `json:"right"`
	Wrong   int       `json:"wrong"`
	Unsure  int       `json:"undecided"`
	Results []Result  `json:"results"`
	// Steps are those of the good launch with which all are compared, and of
	// garbage.
	Steps []Step `json:"steps"`
}

// ExitStatus is 0 if the tool did right in all cases, 1 if it did wrong in one,
// and else 2: something could not be judged.
func (r *Report) ExitStatus() int {
	switch {
	case r.Wrong > 0:
		return 1
	case r.Problem != "" || r.Unsure > 0 || r.Right == 0:
		return 2
	}
	return 0
}

func (r *Runner) timeout() time.Duration {
	if r.Timeout > 0 {
		return r.Timeout
	}
	return 15 * time.Second
}

// recorder keeps the steps of a case.
type recorder struct{ steps []Step }

func (rec *recorder) add(s Step) {
	if len(rec.steps) < 100 {
		rec.steps = append(rec.steps, s)
	}
}

// Run plays cases one after the other. First it plays a good launch and garbage:
// what the tool makes of these is what all else is compared with. If ctx ends, the
// remaining cases are undecided.
func (r *Runner) Run(ctx context.Context, cases []*Case) *Report {
	report := &Report{Tool: r.Tool.Name, Begun: r.Now(), Results: []Result{}}
	rec := new(recorder)
	problem := r.calibrate(ctx, rec)
	report.Steps = rec.steps
	if problem != nil {
		report.Problem = problem.Error()
	}
	for _, c := range cases {
		res := Result{Case: c.Name, Group: c.Group, Description: c.Description, Reference: c.Reference, Want: c.Want()}
		switch {
		case problem != nil:
			res.Verdict, res.Why = Undecided, "Not played, because no good launch gets in that could be compared with it."
		case ctx.Err() != nil:
			res.Verdict, res.Why = Undecided, "Not played: the time was up."
		default:
			r.play(ctx, c, &res)
		}
		switch res.Verdict {
		case Right:
			report.Right++
		case Wrong:
			report.Wrong++
		default:
			report.Unsure++
		}
		report.Results = append(report.Results, res)
	}
	return report
}

// calibrate finds out what this tool's pages look like.
func (r *Runner) calibrate(ctx context.Context, rec *recorder) error {
	r.good, r.bad = nil, nil
	good := r.attempt(ctx, rec, &Case{Valid: true})
	if good.err != nil {
		return fmt.Errorf("a good launch fails: %w", good.err)
	}
	if good.page.Status > 299 {
		return fmt.Errorf("a good launch is answered with status %d", good.page.Status)
	}
	if r.Tool.Marker != "" && !strings.Contains(string(good.page.Body), r.Tool.Marker) {
		return errors.New("the page after a good launch does not hold the marker")
	}
	bad := r.attempt(ctx, rec, &Case{Deviation: Deviation{Form: map[string]any{"id_token": "garbage"}}})
	if bad.page != nil && bad.page.Status < 300 && bad.print() == good.print() && r.Tool.Marker == "" {
		return errors.New("a good launch and garbage get answers that cannot be told apart; name a text as marker that only a page has that let somebody in")
	}
	r.good, r.bad = good, bad
	return nil
}

// outcome is where an attempt ended.
type outcome struct {
	page *page
	err  error
}

// print is what answers are told apart by.
func (o *outcome) print() string {
	return fmt.Sprint(o.page.Status, " ", o.page.url.Path, " ", o.page.title())
}

// Ways in which an attempt can end.
const (
	gotIn      = "let in"
	gotRefused = "refused"
	gotAway    = "led away"
	gotNothing = "no answer"
	gotUnclear = "unclear"
)

// classify says whether somebody was let in, and what speaks for that.
func (r *Runner) classify(o *outcome) (got, why string) {
	if away, ok := errors.AsType[awayError](o.err); ok {
		if strings.EqualFold(away.to.Scheme+"://"+away.to.Host, r.Tool.Issuer) {
			return gotRefused, "the tool sends the browser back to the platform"
		}
		return gotAway, "the tool sends the browser to " + away.to.Scheme + "://" + away.to.Host
	}
	if stop, ok := errors.AsType[stoppedError](o.err); ok {
		return gotRefused, stop.Error()
	}
	if o.err != nil {
		return gotNothing, o.err.Error()
	}
	status := o.page.Status
	switch {
	case status >= 500:
		return gotRefused, fmt.Sprintf("the tool answers with status %d, as if it had failed", status)
	case status > 299:
		return gotRefused, fmt.Sprintf("the tool answers with status %d", status)
	case r.Tool.Marker != "":
		if strings.Contains(string(o.page.Body), r.Tool.Marker) {
			return gotIn, "the page holds the marker"
		}
		return gotRefused, "the page does not hold the marker"
	case r.bad.page == nil || r.bad.page.Status > 299:
		return gotIn, fmt.Sprintf("the tool answers with status %d, where it answers garbage otherwise", status)
	case o.print() == r.good.print():
		return gotIn, "the page is the one of a good launch"
	case o.print() == r.bad.print():
		return gotRefused, "the page is the one that garbage gets"
	}
	return gotUnclear, "the page is neither that of a good launch nor that of garbage"
}

// play plays a case and judges it.
func (r *Runner) play(ctx context.Context, c *Case, res *Result) {
	begun := time.Now()
	rec := new(recorder)
	_, asked := r.Platform.Stranger()
	before := asked()
	got, why := r.classify(r.withKeys(ctx, rec, c))
	res.Got = got
	verdict := Wrong
	switch {
	case asked() > before:
		why = "the tool fetched an address that the message named, which anybody can write into it"
	case c.Valid && got == gotIn, !c.Valid && got == gotRefused, c.Stays && (got == gotIn || got == gotUnclear):
		verdict = Right
	case got == gotNothing || got == gotUnclear:
		verdict = Undecided
	}
	// A refusal says nothing where nothing gets in.
	if got == gotRefused {
		again := new(recorder)
		if o := r.attempt(ctx, again, &Case{Valid: true}); !r.isIn(o) {
			verdict = Undecided
			why += "; but a good launch right after it was not let in either"
			rec.steps = append(rec.steps, again.steps...)
		}
	}
	res.Verdict, res.Why = verdict, upper(why)+"."
	res.Steps = rec.steps
	res.Took = time.Since(begun).Milliseconds()
}

func (r *Runner) isIn(o *outcome) bool {
	got, _ := r.classify(o)
	return got == gotIn
}

// wait waits until a tool may fetch keys again.
func (r *Runner) wait(ctx context.Context) bool {
	patience := r.Patience
	if patience == 0 {
		patience = 31 * time.Second
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// withKeys plays a case whose platform changes its keys, or publishes them badly.
func (r *Runner) withKeys(ctx context.Context, rec *recorder, c *Case) *outcome {
	if c.rotate {
		undo, err := r.Platform.Rotate()
		if err != nil {
			return &outcome{err: err}
		}
		o := r.attempt(ctx, rec, c)
		if got, _ := r.classify(o); got == gotRefused && r.wait(ctx) {
			o = r.attempt(ctx, rec, c)
		}
		if !r.isIn(o) {
			undo() // so that the other cases can be played
		}
		return o
	}
	if c.fault != "" {
		undo, err := r.Platform.BreakKeys(c.fault)
		if err != nil {
			return &outcome{err: err}
		}
		defer undo()
	}
	return r.attempt(ctx, rec, c)
}

// launch is one login on its way.
type launch struct {
	r     *Runner
	b     *browser
	auth  url.Values
	at    time.Time
	key   Key
	token string
}

// login begins a launch: login initiation and authentication request.
func (r *Runner) login(ctx context.Context, rec *recorder, b *browser, d *Deviation) (*launch, error) {
	key, err := r.Platform.Key()
	if err != nil {
		return nil, err
	}
	l := &launch{r: r, b: b, key: key, at: r.Now()}
	params, err := d.MakeLogin(map[string]any{
		"iss": r.Tool.Issuer, "login_hint": "lab", "target_link_uri": r.Tool.Target, "lti_message_hint": `{"lab":1}`,
		"client_id": r.Tool.ClientID, "lti_deployment_id": r.Tool.Deployment,
	}, l.fill)
	if err != nil {
		return nil, err
	}
	p, err := b.open(ctx, rec, "The platform posts the login initiation", http.MethodPost, r.Tool.LoginURL, formType, params.Encode())
	if l.auth, err = b.authRequest(p, err); err != nil {
		return nil, err
	}
	rec.add(Step{What: "The tool sends the browser to the platform with an authentication request", Method: http.MethodGet, URL: clip(r.Tool.AuthURL + "?" + l.auth.Encode())})
	switch uri := l.auth.Get("redirect_uri"); {
	case !slices.Contains(r.Tool.RedirectURIs, uri):
		return nil, fmt.Errorf("the tool asks for the answer at a redirect_uri that is not registered: %q", clip(uri))
	case l.auth.Get("state") == "" || l.auth.Get("nonce") == "":
		return nil, errors.New("the tool's authentication request has no state or no nonce")
	}
	return l, nil
}

const formType = "application/x-www-form-urlencoded"

// attempt plays one launch from the login initiation to the tool's page.
func (r *Runner) attempt(ctx context.Context, rec *recorder, c *Case) *outcome {
	b := r.newBrowser()
	l, err := r.login(ctx, rec, b, &c.Deviation)
	if err != nil {
		return &outcome{err: err}
	}
	kept := maps.Clone(b.jar[l.host()])
	if c.Used {
		first := *l
		if o := first.post(ctx, rec, &Deviation{}, "The platform posts a good answer, once"); o.err != nil {
			return o
		}
	}
	switch c.Cookies {
	case "dropped":
		l.b = r.newBrowser()
	case "other-browser":
		l.b = r.newBrowser()
		if _, err := r.login(ctx, rec, l.b, &Deviation{}); err != nil {
			return &outcome{err: err}
		}
	case "forged":
		for name, val := range b.jar[l.host()] {
			b.jar[l.host()][name] = strings.Repeat("A", len(val))
		}
	case "kept":
		if b.jar[l.host()] == nil {
			b.jar[l.host()] = make(map[string]string)
		}
		maps.Copy(b.jar[l.host()], kept)
	}
	return l.post(ctx, rec, &c.Deviation, "The browser posts the platform's answer")
}

// host is where the tool keeps its cookies of the login.
func (l *launch) host() string {
	u, err := url.Parse(l.r.Tool.LoginURL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// post sends the platform's answer, or what is made of it.
func (l *launch) post(ctx context.Context, rec *recorder, d *Deviation, what string) *outcome {
	r := l.r
	l.at = r.Now()
	stranger, err := strangerKey()
	if err != nil {
		return &outcome{err: err}
	}
	stranger.ID = l.key.ID
	fill := func(word, arg string) (any, error) {
		// State and nonce of another login need requests.
		if (word == "nonce" || word == "state") && arg != "" {
			b := l.b
			if arg == "OTHER" {
				b = r.newBrowser()
			}
			other, err := r.login(ctx, rec, b, &Deviation{})
			if err != nil {
				return nil, err
			}
			return other.auth.Get(word), nil
		}
		return l.fill(word, arg)
	}
	l.token, err = d.MakeToken(Message{
		Claims: r.claims(l.auth.Get("nonce"), l.at),
		Header: map[string]any{"alg": "RS256", "typ": "JWT", "kid": l.key.ID},
		Keys:   map[string]Key{"rsa": l.key, "rsa-2": stranger},
		Fill:   fill,
	})
	if err != nil {
		return &outcome{err: err}
	}
	body, err := d.MakeBody(l.auth.Get("state"), l.token, fill)
	if err != nil {
		return &outcome{err: err}
	}
	target := l.auth.Get("redirect_uri")
	if d.Query != "" {
		query, err := expandText(d.Query, fill)
		if err != nil {
			return &outcome{err: err}
		}
		u, err := url.Parse(target)
		if err != nil {
			return &outcome{err: err}
		}
		if u.RawQuery != "" {
			query = u.RawQuery + "&" + query
		}
		u.RawQuery = query
		target = u.String()
	}
	contentType := formType
	if d.ContentType != "" {
		contentType = d.ContentType
	}
	p, err := l.b.open(ctx, rec, what, http.MethodPost, target, contentType, body)
	return &outcome{page: p, err: err}
}

// fill fills in the words of the catalogue that need no request.
func (l *launch) fill(word, arg string) (any, error) {
	if val, known, err := FillCommon(word, arg, l.at); known {
		return val, err
	}
	u, err := url.Parse(l.r.Tool.Target)
	if err != nil {
		return nil, err
	}
	switch word {
	case "origin":
		return u.Scheme + "://" + u.Host, nil
	case "site":
		return u.Host, nil
	case "host":
		return u.Hostname(), nil
	case "port":
		return u.Port(), nil
	case "issuer":
		return l.r.Tool.Issuer, nil
	case "client":
		return l.r.Tool.ClientID, nil
	case "nonce", "state":
		return l.auth.Get(word), nil
	case "token":
		return l.token, nil
	case "stranger":
		address, _ := l.r.Platform.Stranger()
		return address, nil
	case "jwk":
		key, err := strangerKey()
		if err != nil {
			return nil, err
		}
		return key.JWK(), nil
	}
	return nil, fmt.Errorf("the laboratory does not know the word {%s %s}", word, arg)
}

// claims are those of a good launch of a learner.
func (r *Runner) claims(nonce string, at time.Time) map[string]any {
	claims := GoodClaims(r.Tool.Issuer, r.Tool.ClientID, r.Tool.Deployment, nonce, r.Tool.Target, at)
	claims[Claim("launch_presentation")] = map[string]any{"document_target": "window"}
	return claims
}

// GoodClaims returns the claims of a good launch of a learner.
func GoodClaims(issuer, clientID, deployment, nonce, target string, at time.Time) map[string]any {
	return map[string]any{
		"iss": issuer, "aud": clientID, "sub": "user-1", "iat": at.Unix(), "exp": at.Unix() + 300, "nonce": nonce,
		Claim("version"):         "1.3.0",
		Claim("message_type"):    "LtiResourceLinkRequest",
		Claim("deployment_id"):   deployment,
		Claim("target_link_uri"): target,
		Claim("resource_link"):   map[string]any{"id": "link-1", "title": "Quiz 1"},
		Claim("roles"):           []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		Claim("context"):         map[string]any{"id": "course-1", "label": "BIO1", "title": "Biology"},
		"name":                   "Ann Example", "given_name": "Ann", "family_name": "Example", "email": "ann@school.example",
	}
}

// strangerKey is no platform's. What the stranger's address gives out is this key,
// so that a tool which asks there also falls for it.
var strangerKey = sync.OnceValues(func() (Key, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Key{}, fmt.Errorf("making a key: %w", err)
	}
	return Key{ID: "stranger", Private: key}, nil
})

// StrangerKeys returns what the stranger's address gives out, with the kid of the
// platform's key.
func StrangerKeys(kid string) ([]byte, error) {
	key, err := strangerKey()
	if err != nil {
		return nil, err
	}
	key.ID = kid
	return json.Marshal(map[string]any{"keys": []any{key.JWK()}})
}

func upper(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
