// Package page renders the pages that people see: what went wrong with a launch
// and how to go on, and where an administrator finds the tool's URLs.
//
// Pages are self-contained: no foreign resource, a strict content security
// policy, and no script but where the browser has to ask the platform's window.
// Their words stand in texts/, a file for each language. An administrator may lay
// texts and templates of his own over them.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/language"

	"github.com/caddy-lti/lti/internal/look"
)

//go:embed *.html style.css storage.js frame.js picker.js post.js done.js setup.js texts/*.json
var files embed.FS

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
	When    time.Time
	Learner string
	// Activity is what it is for, if it is known.
	Activity    string
	Given, Most *float64
	State       string // id of a word: state_queued and its like
	Reason      string
	Resend      *Form // offered for what failed
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
	// tmpl is the template of all pages but those that have one of their own.
	tmpl *template.Template
	own  map[string]*template.Template
	// spoken are the languages, English first.
	spoken  []*spoken
	matcher language.Matcher
	style   template.CSS
	logo    template.URL
	// storage is the script for an Exchange.
	storage template.JS
	// These are the scripts of pages with what they are named after.
	picker, post, done, setup template.JS
	// csp is the policy of all pages; pages that post somewhere, or run a
	// script, have more in it.
	csp                                               string
	storageCSP, pickerCSP, postCSP, doneCSP, setupCSP string
}

// view is what a template is given.
type view struct {
	Text
	Page
	*spoken
	Lang, Dir string
	Words     map[string]string
	Style     template.CSS
	Logo      template.URL
	Storage   template.JS
	Script    template.JS
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

// New returns the Renderer of the pages that are built in. It fails only if the
// embedded files are broken.
func New() (*Renderer, error) { return builtIn() }

var builtIn = sync.OnceValues(func() (*Renderer, error) {
	set, err := embedded()
	if err != nil {
		return nil, err
	}
	return set.renderer()
})

// set is the files that a Renderer is made of.
type set struct {
	templates map[string]string // by file name
	texts     map[language.Tag]*Texts
	style     []byte
	logo      template.URL
	// where says how a template's errors name its file.
	where func(error) error
}

func embedded() (*set, error) {
	s := &set{templates: make(map[string]string), texts: make(map[language.Tag]*Texts), where: func(err error) error { return err }}
	names, err := fs.Glob(files, "*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s.templates[name] = string(data)
	}
	if names, err = fs.Glob(files, "texts/*.json"); err != nil {
		return nil, err
	}
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		tag, err := language.Parse(strings.TrimSuffix(path.Base(name), ".json"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if s.texts[tag], err = parseTexts(data, nil); err != nil {
			return nil, fmt.Errorf("%s:%w", name, err)
		}
	}
	own, err := files.ReadFile("style.css")
	s.style = append([]byte(look.CSS), own...)
	return s, err
}

func (s *set) renderer() (*Renderer, error) {
	r := &Renderer{style: template.CSS(s.style), logo: s.logo, own: make(map[string]*template.Template)} //nolint:gosec // files of our own, or the administrator's
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
	// Pictures of things to choose are the site's own, or not there.
	images := "; img-src 'self'"
	r.csp = "default-src 'none'; style-src " + sourceHash(s.style) + "; base-uri 'none'"
	if s.logo != "" {
		r.csp += "; img-src data:"
		images += " data:"
	}
	r.pickerCSP += "; connect-src 'self'" + images
	if err := s.parse(r); err != nil {
		return nil, err
	}
	english := s.texts[language.English]
	for tag, texts := range s.texts {
		if tag == language.English {
			continue
		}
		below := english
		if parent := s.texts[tag.Parent()]; parent != nil && tag.Parent() != language.English {
			below = parent.on(english)
		}
		r.spoken = append(r.spoken, newSpoken(tag, texts.on(below)))
	}
	slices.SortFunc(r.spoken, func(a, b *spoken) int { return strings.Compare(a.tag.String(), b.tag.String()) })
	r.spoken = slices.Insert(r.spoken, 0, newSpoken(language.English, english))
	tags := make([]language.Tag, len(r.spoken))
	for i, sp := range r.spoken {
		tags[i] = sp.tag
	}
	r.matcher = language.NewMatcher(tags)
	return r, nil
}

// parse parses the templates. One that is named after a page is what stands in
// the main part of that page.
func (s *set) parse(r *Renderer) error {
	english := s.texts[language.English]
	r.tmpl = template.New("").Option("missingkey=error")
	if _, err := r.tmpl.New("main").Parse(`{{template "body.html" .}}`); err != nil {
		return err
	}
	var own []string
	for _, name := range slices.Sorted(maps.Keys(s.templates)) {
		if _, ok := english.Pages[strings.TrimSuffix(name, ".html")]; ok && !slices.Contains(layoutFiles, name) {
			own = append(own, name)
			continue
		}
		if _, err := r.tmpl.New(name).Parse(s.templates[name]); err != nil {
			return s.where(err)
		}
	}
	for _, name := range own {
		t, err := r.tmpl.Clone()
		if err != nil {
			return err
		}
		main, err := t.New(name).Parse(s.templates[name])
		if err != nil {
			return s.where(err)
		}
		if _, err := t.AddParseTree("main", main.Tree); err != nil {
			return s.where(err)
		}
		r.own[strings.TrimSuffix(name, ".html")] = t
	}
	return nil
}

// layoutFiles are the templates that all pages share.
var layoutFiles = []string{"body.html", "footer.html", "header.html", "page.html", "picker.html", "setup.html"}

// render makes the page. A page without words of its own says what the page
// "failed" says.
func (l *Language) render(w io.Writer, p *Page) error {
	text, ok := l.texts.Pages[p.ID]
	if !ok {
		text = l.texts.Pages["failed"]
	}
	tmpl := l.r.tmpl
	if own := l.r.own[p.ID]; own != nil {
		tmpl = own
	}
	return tmpl.ExecuteTemplate(w, "page.html", view{
		text, *p, l.spoken, l.tag.String(), l.dir, l.texts.Words, l.r.style, l.r.logo, l.r.storage, l.r.script(p),
	})
}

// Write sends the page with that status.
func (l *Language) Write(w http.ResponseWriter, status int, p Page) error {
	r := l.r
	var buf bytes.Buffer
	if err := l.render(&buf, &p); err != nil {
		return fmt.Errorf("rendering page %s: %w", p.ID, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", l.tag.String())
	if l.asked {
		h.Add("Vary", "Accept-Language")
	}
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
	_, err := w.Write(buf.Bytes())
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
