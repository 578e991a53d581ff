package devlms

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/look"
)

//go:embed templates
var templateFiles embed.FS

var (
	//go:embed assets/style.css
	ownStyle string
	//go:embed assets/icon.svg
	icon []byte
	//go:embed assets/messages.js
	messagesScript []byte
	//go:embed assets/refresh.js
	refreshScript []byte
	//go:embed assets/copy.js
	copyScript []byte
	//go:embed assets/deeplink.js
	deepLinkScript []byte
	//go:embed assets/registration.js
	registrationScript []byte

	styleSheet      = []byte(look.CSS + ownStyle)
	styleVersion    = version(styleSheet)
	messagesVersion = version(messagesScript)
	refreshVersion  = version(refreshScript)
	copyVersion     = version(copyScript)
	deepLinkVersion = version(deepLinkScript)

	registrationVersion = version(registrationScript)

	pages = parsePages("home", "tools", "tool", "registration", "course", "activity", "add", "added", "roster", "gradebook", "returned", "refused", "post", "storage", "lab", "labresult", "labcase", "messages", "message")
)

// version makes what stands in the URL of a file, which may therefore be cached
// for long.
func version(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}

func parsePages(names ...string) map[string]*template.Template {
	all := make(map[string]*template.Template, len(names))
	for _, name := range names {
		all[name] = template.Must(template.ParseFS(templateFiles, "templates/layout.html", "templates/"+name+".html"))
	}
	return all
}

// submitScript is the only script that stands in a page. It is allowed by its
// hash, so that the policy is the same for every answer and has nothing to leak.
const submitScript = "document.forms[0].submit();"

var submitScriptHash = func() string {
	sum := sha256.Sum256([]byte(submitScript))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

// Content security policies. All pages may be framed by the LMS only: the pages
// of a launch and the errors stand in the iframe of an activity.
var (
	basePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'self'"
	pagePolicy = basePolicy + "; form-action 'self'"
	// The tool may send its frame anywhere.
	framePolicy = pagePolicy + "; script-src 'self'; frame-src *"
	// A page that listens to a tool without showing it.
	listenPolicy = pagePolicy + "; script-src 'self'; frame-src 'self'"
	// A page that asks for itself again.
	refreshPolicy = pagePolicy + "; script-src 'self'; connect-src 'self'"
	// A page that posts to the tool has no form-action: Chromium applies it to
	// the redirects that follow as well, and where the tool sends the browser
	// next (back here, to a page of its own, to a login of the institution) is
	// the tool's business.
	postPolicy = basePolicy + "; script-src " + submitScriptHash
)

// page is what the layout shows around each page.
type page struct {
	Title   string
	LMS     string
	Style   string
	Person  *person
	People  []*person
	Courses []*course
	Path    string // where choosing another person leads back to
	Lab     bool   // there is a laboratory
	Bare    bool   // no navigation: a page in a frame, or one that must not offer any
	Body    any
}

func (p *platform) render(v *visit, name, policy string, status int, pg page) error {
	pg.LMS, pg.Style, pg.Person, pg.People, pg.Courses = p.title, styleVersion, v.person, people, courses
	pg.Lab = p.lab != nil
	if pg.Path == "" {
		pg.Path = v.r.URL.Path
	}
	// Written at once or not at all, so that an error can still be answered.
	var buf bytes.Buffer
	if err := pages[name].ExecuteTemplate(&buf, "layout.html", pg); err != nil {
		return fmt.Errorf("writing the page %s: %w", name, err)
	}
	v.note.page = true
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: browsers would send "Origin: null" with the posts to
	// tools, which no real LMS does.
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	h.Set("Cache-Control", "no-store")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(buf.Bytes())
	return nil
}

// autoPost is a form that sends itself to a tool.
type autoPost struct {
	Tool   string
	Action string
	Fields []field
	Script template.JS
}

type field struct{ Name, Value string }

func (p *platform) renderPost(v *visit, post autoPost) error {
	post.Script = submitScript
	v.note.sent = &post
	return p.render(v, "post", postPolicy, http.StatusOK, page{Title: "Opening " + post.Tool, Bare: true, Body: post})
}

// refuse answers with a page that says what is wrong.
func (p *platform) refuse(v *visit, status int, title, text string) error {
	v.note.problem = title + ": " + text
	return p.render(v, "refused", pagePolicy, status, page{Title: title, Bare: true, Body: text})
}

func (p *platform) notFound(v *visit) error {
	return p.refuse(v, http.StatusNotFound, "Not found", "There is no such page in this LMS.")
}

// asset serves an embedded file.
func asset(contentType string, data []byte) func(*visit) error {
	return func(v *visit) error {
		h := v.w.Header()
		h.Set("Content-Type", contentType)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "public, max-age=86400")
		_, _ = v.w.Write(data)
		return nil
	}
}

func (p *platform) home(v *visit) error {
	body := struct {
		Issuer string
		Next   string
		Asked  bool // sent here because a course needs a person
		Tools  []*Tool
	}{Issuer: v.issuer, Next: "/", Tools: p.known(p.state.book(v.issuer))}
	if next := v.r.URL.Query().Get("next"); coursePath.MatchString(next) {
		body.Next, body.Asked = next, v.person == nil
	}
	return p.render(v, "home", pagePolicy, http.StatusOK, page{Title: "Welcome", Body: body})
}

// coursePath is where choosing a person may lead to; nothing that a browser
// could take for another host.
var coursePath = regexp.MustCompile(`^/(course|admin)/[A-Za-z0-9./-]*$`)

// choosePerson sets or clears the cookie. Another site may not make that choice
// for the visitor.
func (p *platform) choosePerson(v *visit) error {
	if err := p.csrf.Check(v.r); err != nil {
		return p.refuse(v, http.StatusForbidden, "Not from there", "Choosing a person works from the pages of this LMS only.")
	}
	v.limit(4 << 10)
	if err := v.r.ParseForm(); err != nil {
		return p.refuse(v, http.StatusBadRequest, "Not understood", "The form could not be read.")
	}
	id := v.r.PostForm.Get("person")
	cookie := &http.Cookie{
		Name:     userCookie,
		Value:    id,
		Path:     "/",
		HttpOnly: true,
		Secure:   v.secure,
		SameSite: http.SameSiteLaxMode,
	}
	if p.storageMode() != storageOff {
		// Browsers want Secure with it; Chromium takes that on http://localhost
		// and below as well.
		cookie.SameSite, cookie.Secure = http.SameSiteNoneMode, true
	}
	switch {
	case id == "":
		cookie.MaxAge = -1
	case findPerson(id) == nil:
		return p.refuse(v, http.StatusBadRequest, "Not understood", "There is no such person in this LMS.")
	}
	http.SetCookie(v.w, cookie)
	next := v.r.PostForm.Get("next")
	if !coursePath.MatchString(next) || id == "" {
		next = "/"
	}
	v.w.Header().Set("Cache-Control", "no-store")
	http.Redirect(v.w, v.r, next, http.StatusSeeOther)
	return nil
}

func (p *platform) course(v *visit, c *course) error {
	body := struct {
		Course  *course
		Entries []courseEntry
		Teacher bool
		Tools   []*Tool   // that content can be added from
		Others  []*course // that it can be copied to
		Links   []toolLink
	}{Course: c, Entries: p.entries(v, c), Teacher: !v.person.Learner()}
	var images []string
	for _, e := range body.Entries {
		images = append(images, e.Icon, e.Image)
	}
	for _, t := range p.known(p.state.book(v.issuer)) {
		if t.deepLinkOn() {
			body.Tools = append(body.Tools, t)
		}
		body.Links = append(body.Links, t.links()...)
	}
	for _, other := range courses {
		if other != c {
			body.Others = append(body.Others, other)
		}
	}
	policy := strings.Replace(pagePolicy, "img-src 'self'", strings.TrimSpace("img-src 'self' "+origins(images)), 1)
	return p.render(v, "course", policy, http.StatusOK, page{Title: c.Title, Body: body})
}

func (p *platform) activityPage(v *visit, c *course) error {
	a := p.activity(p.state.book(v.issuer), c, v.args[1])
	if a == nil {
		return p.notFound(v)
	}
	// A tool in a window has a reason to speak to this page only if it keeps
	// values; one in a frame may ask for more room as well.
	policy, l := framePolicy, new(p.listener(v))
	if a.InWindow() {
		policy = listenPolicy
		if p.storageMode() == storageOff {
			policy, l = pagePolicy, nil
		}
	}
	return p.render(v, "activity", policy, http.StatusOK, page{Title: a.Title, Body: struct {
		Course   *course
		Activity *activity
		Window   string
		Initiate string
		Allow    string
		Listener *listener
	}{c, a, a.windowName(), "/initiate/" + c.ID + "/" + a.ID, permissions(a.Tool, a.TargetLinkURI), l}})
}

// permissions delegates to the tool what tools commonly need. Its origins are
// named, for the frame begins with a page of the LMS, and without a name only
// that page's origin would be meant.
func permissions(t *Tool, target string) string {
	allowed := origins(append([]string{t.LoginURL, target}, t.RedirectURIs...))
	var b strings.Builder
	for i, feature := range []string{"autoplay", "camera", "clipboard-write", "encrypted-media", "fullscreen", "microphone"} {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(feature + " " + allowed)
	}
	return b.String()
}

func (p *platform) rosterPage(v *visit, c *course) error {
	return p.render(v, "roster", pagePolicy, http.StatusOK, page{Title: "People", Body: struct {
		Course *course
		// Teachers see addresses, and what tools are told.
		Teacher bool
	}{c, !v.person.Learner()}})
}

// returned is the launch's return_url. The tool may say something to the person
// and to the log (LTI Core 1.3, launch presentation claim).
func (p *platform) returned(v *visit, c *course) error {
	said := v.r.URL.Query()
	if log, errorLog := said.Get("lti_log"), said.Get("lti_errorlog"); log != "" || errorLog != "" {
		p.log.Debug("a tool sent the person back",
			zap.String("lti_log", truncate(log)),
			zap.String("lti_errorlog", truncate(errorLog)))
	}
	return p.render(v, "returned", pagePolicy, http.StatusOK, page{Title: "Back from the tool", Bare: true, Body: struct {
		Course   *course
		Message  string
		ErrorMsg string
	}{c, truncate(said.Get("lti_msg")), truncate(said.Get("lti_errormsg"))}})
}

// truncate keeps what a tool says to a length that fits a page or a log line.
func truncate(s string) string {
	const limit = 500
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
