// Package page renders the pages that people see: what went wrong with a launch
// and how to go on, and where an administrator finds the tool's URLs.
//
// Pages are self-contained: no foreign resource, a strict content security
// policy, and no script but where the browser has to ask the platform's window.
// Their words stand in texts/, a file for each language.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
)

//go:embed page.html picker.html setup.html style.css storage.js frame.js picker.js post.js done.js setup.js texts/*.json
var files embed.FS

// Text is the words of one page.
type Text struct {
	Title string   `json:"title"`
	Lead  string   `json:"lead"`
	Steps []string `json:"steps,omitempty"`
}

// Texts is everything that is said in one language.
type Texts struct {
	// Pages is keyed by the id of the page: a code of lti.Error, or a name such
	// as signed_out.
	Pages map[string]Text `json:"pages"`
	// Words are the few that all pages share.
	Words map[string]string `json:"words"`
}

// Field is a value to be looked at.
type Field struct {
	Label string
	Help  string
	Value string
}

// Form is something that the browser posts.
type Form struct {
	Action string
	Values []Value
}

// Value is a field of a form.
type Value struct{ Name, Value string }

// Exchange asks the platform's storage (LTI postMessage Storage) before the
// person is asked anything. While it is under way, and if it succeeds, the rest
// of the page is not seen.
type Exchange struct {
	Origin string // of the platform's authorization endpoint: nobody else is told or believed
	Frame  string // name of the platform's frame that stores, or _parent
	Key    string
	// Value is stored under Key, then the browser goes to Next. If both are
	// empty, what is stored under Key is posted with Proof, as storage_proof, or
	// else the reason why not, as storage_error.
	Value string
	Next  string
	Proof *Form
}

// Score is a line of the page about scores.
type Score struct {
	When    string // RFC 3339
	Learner string
	// Activity is what it is for, if it is known.
	Activity string
	Points   string
	State    string // id of a word: state_queued and its like
	Reason   string
	Resend   *Form // offered for what failed
}

// Check is something that was looked at, and what came of it.
type Check struct {
	State string // one of those below
	Text  string
	Mend  string // what has to be done, if anything
	Who   string // has to do it
}

// States of a [Check]; each is the id of a word, too.
const (
	CheckOK     = "check_ok"
	CheckNote   = "check_note"
	CheckFailed = "check_failed"
	CheckOpen   = "check_open" // it did not come to that
)

// How a page that the platform opened tells it that it may be closed.
const (
	DoneNow    = "now"    // at once
	DoneButton = "button" // when somebody has read it
)

// Page is what is shown.
type Page struct {
	ID        string
	Reference string // under which the log has the reason
	Fields    []Field
	Scores    []Score
	Next      string // where older scores are
	Course    string // what it is about
	Exchange  *Exchange
	Window    *Form // opens a window of its own
	Post      *Form // is posted at once, to the platform
	Picker    *Picker
	Setup     *Setup
	Checks    []Check
	Document  string   // shown as it is
	Refresh   int      // seconds after which the page is asked for again; 0 is never
	Done      string   // one of those above, or empty
	Frames    string   // the frame-ancestors directive, if only some may show the page in a frame
	Notes     []string // what is wrong, for people who write the app
	Back      string   // where the platform wants the person back
	// TellOrigin has forms say to this site that they are of its own page, to
	// browsers too that know no Sec-Fetch-Site. Not where the URL holds a secret.
	TellOrigin bool
}

// Renderer writes pages. It does not change.
type Renderer struct {
	tmpl  *template.Template
	texts Texts
	style template.CSS
	// storage is the script for an Exchange.
	storage template.JS
	// These are the scripts of pages with what they are named after.
	picker, post, done, setup template.JS
	// csp is the policy of all pages; pages that post somewhere, or run a
	// script, have more in it.
	csp                                               string
	storageCSP, pickerCSP, postCSP, doneCSP, setupCSP string
}

// FrameScript returns the script with which a page of the app has its frame
// resized (message lti.frameResize).
func FrameScript() []byte {
	script, err := files.ReadFile("frame.js")
	if err != nil {
		panic(err) // it is embedded
	}
	return script
}

// New makes a Renderer. It fails only if the embedded files are broken.
func New() (*Renderer, error) {
	style, err := files.ReadFile("style.css")
	if err != nil {
		return nil, err
	}
	r := &Renderer{style: template.CSS(style)} //nolint:gosec // our own file
	for _, script := range []struct {
		name   string
		to     *template.JS
		policy *string
	}{
		{"storage.js", &r.storage, &r.storageCSP},
		{"picker.js", &r.picker, &r.pickerCSP},
		{"post.js", &r.post, &r.postCSP},
		{"done.js", &r.done, &r.doneCSP},
		{"setup.js", &r.setup, &r.setupCSP},
	} {
		text, err := files.ReadFile(script.name)
		if err != nil {
			return nil, err
		}
		*script.to = template.JS(text) //nolint:gosec // our own file
		*script.policy = "script-src " + sourceHash(text)
	}
	r.csp = "default-src 'none'; style-src " + sourceHash(style) + "; base-uri 'none'"
	// Pictures of things to choose are the site's own, or not there.
	r.pickerCSP += "; connect-src 'self'; img-src 'self'"
	if r.tmpl, err = template.ParseFS(files, "page.html", "picker.html", "setup.html"); err != nil {
		return nil, err
	}
	data, err := files.ReadFile("texts/en.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &r.texts); err != nil {
		return nil, fmt.Errorf("texts/en.json: %w", err)
	}
	return r, nil
}

// Has reports whether there are words for the page.
func (r *Renderer) Has(id string) bool {
	_, ok := r.texts.Pages[id]
	return ok
}

// Word returns one of the shared words.
func (r *Renderer) Word(name string) string { return r.texts.Words[name] }

// Title returns the heading of a page.
func (r *Renderer) Title(id string) string { return r.texts.Pages[id].Title }

// Write sends the page with that status. A page without words of its own says
// what the page "failed" says.
func (r *Renderer) Write(w http.ResponseWriter, status int, p Page) error {
	text, ok := r.texts.Pages[p.ID]
	if !ok {
		text = r.texts.Pages["failed"]
	}
	var buf bytes.Buffer
	err := r.tmpl.ExecuteTemplate(&buf, "page.html", struct {
		Text
		Page
		Style   template.CSS
		Storage template.JS
		Script  template.JS
		Words   map[string]string
	}{text, p, r.style, r.storage, r.script(&p), r.texts.Words})
	if err != nil {
		return fmt.Errorf("rendering page %s: %w", p.ID, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	policy := r.csp
	switch {
	case len(p.Scores) > 0, p.Picker != nil:
		policy += "; form-action 'self'"
	case p.Window == nil && p.Exchange == nil && p.Post == nil:
		policy += "; form-action 'none'"
	} // else the form ends at the platform, or wherever that signs people in
	switch {
	case p.Exchange != nil:
		policy += "; " + r.storageCSP
	case p.Picker != nil:
		policy += "; " + r.pickerCSP
	case p.Post != nil:
		policy += "; " + r.postCSP
	case p.Done != "":
		policy += "; " + r.doneCSP
	case p.Setup != nil:
		policy += "; " + r.setupCSP
	}
	if p.Frames != "" {
		policy += "; " + p.Frames
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	if p.TellOrigin {
		h.Set("Referrer-Policy", "same-origin")
	}
	w.WriteHeader(status)
	_, err = w.Write(buf.Bytes())
	return err
}

// script returns the script that a page ends with, besides that of an Exchange.
func (r *Renderer) script(p *Page) template.JS {
	switch {
	case p.Picker != nil:
		return r.picker
	case p.Post != nil:
		return r.post
	case p.Done != "":
		return r.done
	case p.Setup != nil:
		return r.setup
	}
	return ""
}

// sourceHash is how a content security policy names an inline style or script.
func sourceHash(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
