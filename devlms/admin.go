package devlms

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// toolsPath is where the administrator sees to the tools.
const toolsPath = "/admin/tools"

// administering serves what only the administrator may do, and no page of another
// site.
func (p *platform) administering(serve func(*visit) error) func(*visit) error {
	return func(v *visit) error {
		switch {
		case v.person == nil || !v.person.Administrator():
			return p.refuse(v, http.StatusForbidden, "For the administrator", "Only the administrator sees to the tools of this LMS.")
		case p.csrf.Check(v.r) != nil:
			return p.refuse(v, http.StatusForbidden, "Not from there", "Tools are seen to from the pages of this LMS only.")
		case v.r.Method == http.MethodPost:
			v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxRegistration)
			if v.r.ParseForm() != nil {
				return p.refuse(v, http.StatusBadRequest, "Not understood", "The form could not be read.")
			}
		}
		return serve(v)
	}
}

// toolsPage lists the tools, and is where one is added. Who is not the administrator
// can become it there.
func (p *platform) toolsPage(v *visit) error {
	return p.renderTools(v, http.StatusOK, "", "")
}

func (p *platform) renderTools(v *visit, status int, problem, tried string) error {
	b := p.state.book(v.issuer)
	body := struct {
		Administrator *person // who the visitor has to be; nil if he is
		Off           bool
		Problem       string
		Tried         string // what was entered
		Configuration string
		Waiting       []*applicant
		Tools         []*Tool
	}{
		Off: p.registration.Off, Problem: problem, Tried: tried, Configuration: v.issuer + configurationPath,
		Waiting: p.waiting(b), Tools: p.known(b),
	}
	if v.person == nil || !v.person.Administrator() {
		body.Administrator = people[slices.IndexFunc(people, (*person).Administrator)]
	}
	return p.render(v, "tools", pagePolicy, status, page{Title: "Tools", Body: body})
}

// beginRegistration makes the token of a registration. The page that opens the tool
// has an address of its own, so that it can be loaded again.
func (p *platform) beginRegistration(v *visit) error {
	if p.registration.Off {
		return p.notFound(v)
	}
	raw := strings.TrimSpace(v.r.PostForm.Get("url"))
	if err := checkURL(raw); err != nil {
		return p.renderTools(v, http.StatusBadRequest, "The registration URL cannot be used: "+truncate(err.Error())+".", truncate(raw))
	}
	o := &offer{
		id: strings.ToLower(rand.Text()[:12]), secret: rand.Text(), issuer: v.issuer, url: raw,
		inWindow: v.r.PostForm.Get("open") == targetWindow, expires: p.now().Add(offerLifetime),
	}
	p.state.propose(o)
	http.Redirect(v.w, v.r, "/admin/registration/"+o.id, http.StatusSeeOther)
	return nil
}

// registrationPage shows the tool, in which its registration goes on. Once that has
// come, it leads to what has become of it; so does the tool's word that it is done.
func (p *platform) registrationPage(v *visit) error {
	o, tool, refused := p.state.offer(v.issuer, v.args[0])
	switch {
	case o == nil || p.registration.Off:
		return p.notFound(v)
	case tool != "":
		http.Redirect(v.w, v.r, toolsPath+"/"+tool, http.StatusSeeOther)
		return nil
	case !p.now().Before(o.expires):
		return p.refuse(v, http.StatusGone, "Too late", "A registration may take an hour. Begin again from the page of the tools.")
	}
	u, _ := url.Parse(o.url) // it was checked
	return p.render(v, "registration", framePolicy, http.StatusOK, page{Title: "Add a tool", Body: struct {
		Host     string
		URL      string
		InWindow bool
		Closed   bool // the tool says that it is done
		Refused  string
		Version  string
	}{u.Host, p.initiation(o), o.inWindow, v.r.URL.Query().Has("closed"), truncate(refused), registrationVersion}})
}

// scopeRow and claimRow are lines of a tool's page.
type grantRow struct {
	Name, Meaning string
	Granted       bool
}

var scopeMeanings = map[string]string{
	scopeLineItem:     "make, change and remove columns of its own in the gradebook",
	scopeLineItemRead: "see its columns in the gradebook",
	scopeResult:       "read the results of its columns",
	scopeScore:        "send scores to its columns",
	scopeMembers:      "read who is in a course, and in which role",
}

var claimMeanings = map[string]string{
	claimName:       "the full name",
	claimGivenName:  "the given name",
	claimFamilyName: "the family name",
	claimEmail:      "the email address",
	claimLocale:     "the language",
}

// toolPage shows a tool that has registered itself: what it asks for, or got.
func (p *platform) toolPage(v *visit) error {
	b := p.state.book(v.issuer)
	a, t := p.applied(b, v.args[0])
	if a == nil {
		return p.notFound(v)
	}
	rows := func(names []string, meanings map[string]string, granted func(*grant) []string) (list []grantRow) {
		for _, name := range names {
			if meaning, ok := meanings[name]; ok {
				list = append(list, grantRow{name, meaning, t == nil || slices.Contains(granted(t.grant), name)})
			}
		}
		return list
	}
	return p.render(v, "tool", pagePolicy, http.StatusOK, page{Title: truncate(a.ClientName), Body: struct {
		*applicant

		Active         bool
		Courses        []*course
		Services       []grantRow
		Told           []grantRow
		LateDeployment bool // the tool was not told its deployment
	}{
		a, t != nil, courses,
		rows(a.Scopes, scopeMeanings, func(g *grant) []string { return g.scopes }),
		rows(a.Claims, claimMeanings, func(g *grant) []string { return g.claims }),
		p.registration.Deployment == deploymentNone,
	}})
}

// applied returns what a tool has registered as, and the tool if it is active.
func (p *platform) applied(b *book, name string) (*applicant, *Tool) {
	for _, a := range p.waiting(b) {
		if a.Name == name {
			return a, nil
		}
	}
	if t := p.toolByName(b, name); t != nil && t.grant != nil {
		return t.grant.from, t
	}
	return nil, nil
}

func (p *platform) activateTool(v *visit) error {
	name, allowed := v.args[0], v.r.PostForm["allow"]
	found, err := p.activate(p.state.book(v.issuer), name, func(s string) bool { return slices.Contains(allowed, s) })
	switch {
	case err != nil:
		return p.refuse(v, http.StatusConflict, "Not possible", "The tool cannot be activated: "+err.Error()+".")
	case !found:
		return p.refuse(v, http.StatusNotFound, "Not found", "No tool of this name waits for being activated.")
	}
	p.log.Info("a tool that registered itself was activated", zap.String("tool", name))
	http.Redirect(v.w, v.r, toolsPath+"/"+name, http.StatusSeeOther)
	return nil
}

// dropTool removes a tool with all that it has in the courses, or a registration
// that waits.
func (p *platform) dropTool(v *visit) error {
	b, name := p.state.book(v.issuer), v.args[0]
	if b.tools.dismiss(name) == nil && !p.removeTool(b, name) {
		return p.refuse(v, http.StatusNotFound, "Not found", "There is no such tool, or it is configured and cannot be removed here.")
	}
	http.Redirect(v.w, v.r, toolsPath, http.StatusSeeOther)
	return nil
}

// toolLink is an activity that a teacher can add to a course.
type toolLink struct {
	Tool   *Tool
	Number int // of the tool's links
	Label  string
}

// Applied tells whether the tool registered itself.
func (t *Tool) Applied() bool { return t.grant != nil }

// links are those of a tool that registered itself.
func (t *Tool) links() []toolLink {
	if t.grant == nil {
		return nil
	}
	var links []toolLink
	for n, m := range t.grant.from.links() {
		links = append(links, toolLink{t, n, truncate(m.Label)})
	}
	return links
}

// addActivity puts a link of a tool into a course, as if it came by deep linking.
func (p *platform) addActivity(v *visit, c *course) error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, 4<<10)
	if v.r.ParseForm() != nil {
		return p.refuse(v, http.StatusBadRequest, "Not understood", "The form could not be read.")
	}
	form := v.r.PostForm
	b := p.state.book(v.issuer)
	name, number, _ := strings.Cut(form.Get("link"), " ")
	t := p.toolByName(b, name)
	n, err := strconv.Atoi(number)
	if t == nil || t.grant == nil || err != nil || n < 0 || n >= len(t.links()) {
		return p.refuse(v, http.StatusNotFound, "Not found", "There is no such activity to add. Was the tool removed?")
	}
	m := t.grant.from.links()[n]
	item := &contentItem{
		kind: itemResourceLink, title: strings.TrimSpace(form.Get("title")), url: m.Target, custom: m.custom,
		inWindow: form.Get("open") == targetWindow,
	}
	if item.title == "" {
		item.title = truncate(m.Label)
	}
	if t.agsOn() && form.Get("graded") != "" {
		item.line = &contentLine{label: item.title, maximum: defaultMaximum, kept: make(map[string]json.RawMessage)}
	}
	if !b.addItems(&deepLink{course: c.ID, tool: t.Name}, []*contentItem{item}) {
		return p.refuse(v, http.StatusConflict, "Too much", "The courses of this LMS can hold no more.")
	}
	http.Redirect(v.w, v.r, "/course/"+c.ID, http.StatusSeeOther)
	return nil
}
