package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"

	"github.com/caddy-lti/lti/internal/httpx"
)

const (
	maxHops  = 10
	maxBody  = 1 << 20
	maxShown = 4 << 10 // of a body or a parameter, in a step
	maxJar   = 100     // cookies of a host
)

// Step is one request of the laboratory and what came back.
type Step struct {
	What    string            `json:"what"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Sent    string            `json:"sent,omitempty"` // the body
	Cookies []string          `json:"cookies_sent,omitempty"`
	Status  int               `json:"status,omitempty"`
	Header  map[string]string `json:"header,omitempty"`
	Body    string            `json:"body,omitempty"` // its beginning
	Error   string            `json:"error,omitempty"`
}

// shownHeaders are those of an answer that say something about a launch.
var shownHeaders = []string{
	"Content-Type", "Location", "Set-Cookie", "Content-Security-Policy", "Cache-Control", "Referrer-Policy", "X-Frame-Options", "Retry-After",
}

// Client sends one request and follows no redirect.
type Client interface {
	Do(ctx context.Context, r *httpx.Request) (*httpx.Response, error)
}

// browser is what a person has: cookies, and the patience to follow redirects.
type browser struct {
	r   *Runner
	jar map[string]map[string]string // by host and name
}

func (r *Runner) newBrowser() *browser {
	return &browser{r: r, jar: make(map[string]map[string]string)}
}

// awayError says that the tool leads the browser to another site.
type awayError struct{ to *url.URL }

func (e awayError) Error() string { return "the tool leads to " + e.to.Host }

var errTooMany = fmt.Errorf("the tool leads on more than %d times in a row", maxHops)

// page is where the browser has arrived.
type page struct {
	*httpx.Response
	url *url.URL
}

// open sends a request and goes where redirects lead, within the tool. At the
// platform's own address, and at another site, it stops with awayError.
func (b *browser) open(ctx context.Context, rec *recorder, what, method, rawURL, contentType, body string) (*page, error) {
	for range maxHops + 1 {
		u, err := url.Parse(rawURL)
		if err != nil {
			return nil, fmt.Errorf("%q is no URL: %w", clip(rawURL), err)
		}
		if !b.r.Tool.has(u) {
			return nil, awayError{u}
		}
		resp, err := b.send(ctx, rec, what, method, u, contentType, body)
		if err != nil {
			return nil, err
		}
		location := resp.Header.Get("Location")
		if location == "" || resp.Status < 300 || resp.Status > 399 {
			return &page{resp, u}, nil
		}
		next, err := u.Parse(strings.ReplaceAll(location, `\`, "/")) // as browsers read it
		if err != nil {
			return nil, fmt.Errorf("the tool leads to %q, which is no URL: %w", clip(location), err)
		}
		if resp.Status != http.StatusTemporaryRedirect && resp.Status != http.StatusPermanentRedirect {
			method, contentType, body = http.MethodGet, "", ""
		}
		rawURL, what = next.String(), "The browser goes where the tool sends it"
	}
	return nil, errTooMany
}

func (b *browser) send(ctx context.Context, rec *recorder, what, method string, u *url.URL, contentType, body string) (*httpx.Response, error) {
	u = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	header := http.Header{
		"Accept":          {"text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"},
		"Accept-Language": {"en"},
		"Sec-Fetch-Mode":  {"navigate"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"document"},
		"Upgrade-Insecure-Requests": {"1"},
	}
	if contentType != "" {
		header.Set("Content-Type", contentType)
		header.Set("Origin", b.r.Tool.Issuer)
	}
	host := strings.ToLower(u.Hostname())
	names := slices.Sorted(maps.Keys(b.jar[host]))
	var cookies []string
	for _, name := range names {
		cookies = append(cookies, name+"="+b.jar[host][name])
	}
	if len(cookies) > 0 {
		header.Set("Cookie", strings.Join(cookies, "; "))
	}
	step := Step{What: what, Method: method, URL: clip(u.String()), Sent: clip(body), Cookies: names}
	ctx, cancel := context.WithTimeout(ctx, b.r.timeout())
	defer cancel()
	resp, err := b.r.Client.Do(ctx, &httpx.Request{Method: method, URL: u.String(), Header: header, Body: []byte(body), MaxBytes: maxBody})
	if err != nil {
		err = plain(err, b.r.timeout())
		step.Error = err.Error()
		rec.add(step)
		return nil, err
	}
	step.Status, step.Body, step.Header = resp.Status, clip(string(resp.Body)), make(map[string]string)
	for _, name := range shownHeaders {
		if values := resp.Header.Values(name); len(values) > 0 {
			step.Header[name] = clip(strings.Join(values, "\n"))
		}
	}
	rec.add(step)
	for _, c := range (&http.Response{Header: resp.Header}).Cookies() {
		switch jar := b.jar[host]; {
		case c.MaxAge < 0 || c.Value == "":
			delete(jar, c.Name)
		case jar == nil:
			b.jar[host] = map[string]string{c.Name: c.Value}
		case len(jar) < maxJar:
			jar[c.Name] = c.Value
		}
	}
	return resp, nil
}

// plain says in words why there is no answer.
func plain(err error, timeout any) error {
	if t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && t.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the tool did not answer within %v", timeout)
	}
	if errors.Is(err, httpx.ErrTooLarge) {
		return fmt.Errorf("the tool's answer is larger than %d bytes", maxBody)
	}
	return fmt.Errorf("no answer that can be read: %w", err)
}

// authRequest looks for the authentication request: where a redirect of the login
// leads, or in the page that it answers, as a form that sends itself or a script
// that goes there.
func (b *browser) authRequest(p *page, err error) (url.Values, error) {
	endpoint := b.r.Tool.AuthURL
	if away, ok := errors.AsType[awayError](err); ok {
		if bare := (&url.URL{Scheme: away.to.Scheme, Host: away.to.Host, Path: away.to.Path}).String(); bare == endpoint {
			return away.to.Query(), nil
		}
	}
	if err != nil {
		return nil, err
	}
	if p.Status > 299 {
		return nil, refusal(p)
	}
	doc, err := html.Parse(strings.NewReader(string(p.Body)))
	if err != nil {
		return nil, fmt.Errorf("the login answers a page that cannot be read: %w", err)
	}
	if params := findForm(doc, endpoint); params != nil {
		return params, nil
	}
	text := strings.NewReplacer(`\u0026`, "&", "&amp;", "&", `\/`, "/", `\u003d`, "=").Replace(string(p.Body))
	if _, after, ok := strings.Cut(text, endpoint+"?"); ok {
		end := strings.IndexAny(after, "\"'`<> \n")
		if end < 0 {
			end = len(after)
		}
		if params, err := url.ParseQuery(after[:end]); err == nil {
			return params, nil
		}
	}
	return nil, refusal(p)
}

// stoppedError is that a login goes no further.
type stoppedError struct{ status int }

func (r stoppedError) Error() string {
	return fmt.Sprintf("the login leads to no authentication request, but to a page with status %d", r.status)
}

func refusal(p *page) error { return stoppedError{p.Status} }

// findForm returns the fields of the form that goes to an address.
func findForm(n *html.Node, action string) url.Values {
	if n.Type == html.ElementNode && n.Data == "form" && attribute(n, "action") == action {
		fields := make(url.Values)
		for in := range n.Descendants() {
			if in.Type == html.ElementNode && in.Data == "input" && attribute(in, "name") != "" {
				fields.Add(attribute(in, "name"), attribute(in, "value"))
			}
		}
		return fields
	}
	for c := range n.ChildNodes() {
		if found := findForm(c, action); found != nil {
			return found
		}
	}
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// title returns the text of a page's title.
func (p *page) title() string {
	doc, err := html.Parse(strings.NewReader(string(p.Body)))
	if err != nil {
		return ""
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "title" && n.FirstChild != nil {
			return strings.Join(strings.Fields(n.FirstChild.Data), " ")
		}
	}
	return ""
}

// clip shortens a text for a step.
func clip(s string) string {
	if len(s) <= maxShown {
		return strings.ToValidUTF8(s, "�")
	}
	return strings.ToValidUTF8(s[:maxShown], "") + fmt.Sprintf("… (%d bytes)", len(s))
}
