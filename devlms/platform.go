package devlms

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/jwkset"
)

// userCookie holds the id of the person that the visitor has chosen to be. It
// is Lax, as the session cookie of most LMSs is: an authentication request that
// a page of the tool began arrives without it, and is answered login_required.
// With storage it is SameSite=None, as Canvas's: there such a page is the rule,
// for a redirect could not put anything into the storage.
const userCookie = "devlms_user"

// platform is one demo LMS: what is configured, and the state behind it.
type platform struct {
	title      string
	issuer     string // "" means: the origin of the request
	storage    string
	tools      []*Tool // that are configured; see known
	activities []*activity
	state      *state
	log        *zap.Logger
	now        func() time.Time
	routes     []route
	csrf       *http.CrossOriginProtection

	registration Registration // how tools register themselves

	// Of the services.
	fetchers map[string]jwkset.Fetcher // by configured tool; who has a key set has one
	allow    []httpx.AllowRule         // where key sets may be
	leeway   time.Duration
	lab      *laboratory      // nil means: there is none
	faults   map[string]fault // as configured
	stops    stops
}

// activity is a link of a tool, as it stands in each of the courses, or in the
// one that a teacher has added it to.
type activity struct {
	*Link

	ID   string
	Tool *Tool
	// Added is where it comes from, if it is not configured.
	Added *content
}

// InWindow tells whether the tool opens in a window of its own.
func (a *activity) InWindow() bool { return a.Target == targetWindow }

// windowName is that of the window in which the tool opens. Names with an
// underscore mean something else (HTML, navigable target names).
func (a *activity) windowName() string {
	if a.Added == nil || a.Added.item.window == "" || strings.HasPrefix(a.Added.item.window, "_") {
		return "_blank"
	}
	return a.Added.item.window
}

// resourceLinkID names the activity of one course; it is unique in the LMS.
func (a *activity) resourceLinkID(c *course) string { return "rl-" + c.ID + "-" + a.ID }

// visit is one request, after its origin was found good.
type visit struct {
	w      http.ResponseWriter
	r      *http.Request
	issuer string
	secure bool
	person *person  // nil when nobody was chosen
	args   []string // the parts of the path that stand for * in the pattern

	// Of the inspector: what it is told, and the writer below the one that it
	// watches.
	note  note
	under http.ResponseWriter
}

// newPlatform expects checked options with their defaults filled in.
func newPlatform(title, issuer, storage string, tools []*Tool, st *state, log *zap.Logger) *platform {
	p := &platform{
		title:   title,
		issuer:  issuer,
		storage: storage,
		tools:   tools,
		state:   st,
		log:     log,
		now:     time.Now,
		csrf:    http.NewCrossOriginProtection(),

		fetchers: make(map[string]jwkset.Fetcher),
	}
	p.routes = p.makeRoutes()

	for _, t := range tools {
		p.activities = append(p.activities, activitiesOf(t)...)
	}
	return p
}

// activitiesOf makes the activities of a tool's links. Their ids are made of names,
// not of numbers, so that links can be added and reordered without becoming other
// activities to the tool. The dot keeps tool and title apart: neither part has one.
func activitiesOf(t *Tool) []*activity {
	var list []*activity
	taken := make(map[string]bool)
	for _, l := range t.Links {
		base := t.Name + "." + slug(l.Title)
		id := base
		for n := 2; taken[id]; n++ {
			id = fmt.Sprintf("%s-%d", base, n)
		}
		taken[id] = true
		list = append(list, &activity{Link: l, ID: id, Tool: t})
	}
	return list
}

// slug makes a short part of a path from a title. Titles without a Latin letter
// or digit all become "link".
func slug(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case b.Len() >= 40:
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if s := strings.TrimSuffix(b.String(), "-"); s != "" {
		return s
	}
	return "link"
}

// serve answers a request. https tells what the browser speaks. An error is one
// of the platform itself, with nothing written.
func (p *platform) serve(w http.ResponseWriter, r *http.Request, https bool) error {
	v := &visit{w: w, r: r, secure: https}
	v.issuer = "http://" + strings.ToLower(r.Host)
	if https {
		v.issuer = "https://" + strings.ToLower(r.Host)
	}
	switch {
	case !https && !isLocal(r.Host):
		return p.refuse(v, http.StatusForbidden, "Not on this address",
			"This is a demo without passwords. Over plain http it answers on localhost and names below localhost only, "+
				"never on a public host name.")
	case p.issuer != "" && p.issuer != v.issuer:
		return p.refuse(v, http.StatusForbidden, "Not on this address", "This demo LMS is at "+p.issuer+" only.")
	}
	if c, err := r.Cookie(userCookie); err == nil {
		v.person = findPerson(c.Value)
	}
	return p.watch(v, p.route)
}

// route finds what serves a request.
func (p *platform) route(v *visit) error {
	r := v.r
	for i := range p.routes {
		rt := &p.routes[i]
		args, ok := rt.match(r.URL.Path)
		if !ok {
			continue
		}
		v.note.pattern = rt.pattern
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if !slices.Contains(rt.methods, method) {
			allowed := strings.Join(rt.methods, ", ")
			v.w.Header().Set("Allow", allowed)
			return p.refuse(v, http.StatusMethodNotAllowed, "Not this way", "This address takes "+allowed+" only.")
		}
		v.args = args
		return rt.serve(v)
	}
	return p.notFound(v)
}

// route binds a path to what serves it; a * stands for one part of the path.
type route struct {
	pattern string
	methods []string // GET includes HEAD
	serve   func(*visit) error
}

func (p *platform) makeRoutes() []route {
	get, post := []string{http.MethodGet}, []string{http.MethodPost}
	readItems, changeItems := []string{scopeLineItem, scopeLineItemRead}, []string{scopeLineItem}
	both := []string{http.MethodGet, http.MethodPost}
	return []route{
		{"/", get, p.home},
		{"/person", post, p.choosePerson},
		{"/course/*", get, p.inCourse(p.course)},
		{"/course/*/roster", get, p.inCourse(p.rosterPage)},
		{"/course/*/gradebook", get, p.inCourse(p.gradebook)},
		{"/course/*/activity/*", get, p.inCourse(p.activityPage)},
		{"/course/*/add/*", get, p.inCourse(p.teaching(p.addPage))},
		{"/course/*/activity", post, p.inCourse(p.teaching(p.addActivity))},
		{"/course/*/remove", post, p.inCourse(p.teaching(p.removeContent))},
		{"/course/*/copy", post, p.inCourse(p.teaching(p.copyCourse))},
		{"/initiate/*/*", get, p.inCourse(p.initiate)},
		{"/return/*", get, p.inCourse(p.returned)},
		{"/deeplink/start/*/*", get, p.inCourse(p.teaching(p.startDeepLink))},
		{"/deeplink/return/*", post, p.deepLinkReturn},
		{"/auth", both, p.auth},
		{"/jwks", get, p.service(targetKeys, p.jwks)},
		{"/storage", get, p.storagePage},
		{toolsPath, get, p.toolsPage},
		{toolsPath + "/*", get, p.administering(p.toolPage)},
		{toolsPath + "/*/activate", post, p.administering(p.activateTool)},
		{toolsPath + "/*/remove", post, p.administering(p.dropTool)},
		{"/admin/registration", post, p.administering(p.beginRegistration)},
		{"/admin/registration/*", get, p.administering(p.registrationPage)},
		{configurationPath, []string{http.MethodGet, http.MethodOptions}, p.registering(p.configuration)},
		{registerPath, []string{http.MethodPost, http.MethodOptions}, p.registering(p.register)},
		{tokenPath, post, p.service(targetToken, p.token)},
		{"/ags/*/lineitems", both, p.calls(targetAGS, map[string]serviceMethod{
			http.MethodGet:  {scopes: readItems, accept: typeLineItems, serve: p.listLineItems},
			http.MethodPost: {scopes: changeItems, accept: typeLineItem, body: typeLineItem, serve: p.createLineItem},
		})},
		{"/ags/*/lineitems/*/lineitem", []string{http.MethodGet, http.MethodPut, http.MethodDelete}, p.calls(targetAGS, map[string]serviceMethod{
			http.MethodGet:    {scopes: readItems, accept: typeLineItem, serve: p.withItem(p.readLineItem)},
			http.MethodPut:    {scopes: changeItems, accept: typeLineItem, body: typeLineItem, serve: p.withItem(p.updateLineItem)},
			http.MethodDelete: {scopes: changeItems, serve: p.withItem(p.deleteLineItem)},
		})},
		{"/ags/*/lineitems/*/lineitem/results", get, p.calls(targetAGS, map[string]serviceMethod{
			http.MethodGet: {scopes: []string{scopeResult}, accept: typeResults, serve: p.withItem(p.listResults)},
		})},
		{"/ags/*/lineitems/*/lineitem/scores", post, p.calls(targetScores, map[string]serviceMethod{
			http.MethodPost: {scopes: []string{scopeScore}, body: typeScore, serve: p.withItem(p.postScore)},
		})},
		{"/nrps/*/members", get, p.calls(targetMembers, map[string]serviceMethod{
			http.MethodGet: {scopes: []string{scopeMembers}, accept: typeMembers, serve: p.listMembers},
		})},
		{"/faults", both, p.control(p.faultsPage)},
		{"/grades.json", get, p.control(p.grades)},
		{"/inspect", get, p.inspectPage},
		{"/inspect/clear", post, p.clearMessages},
		{"/inspect/*", get, p.messagePage},
		{"/inspect.json", get, p.messagesJSON},
		{"/lab", get, p.inLab(p.labPage)},
		{"/lab/run", post, p.inLab(p.labRun)},
		{"/lab/switch", post, p.inLab(p.labSwitch)},
		{"/lab/result/*", get, p.inLab(p.labResult)},
		{"/lab/result/*/*", get, p.inLab(p.labCase)},
		{"/lab/stranger", get, p.inLab(p.labStranger)},
		{"/lab/stranger/*", get, p.inLab(p.labStranger)},
		{"/assets/style.css", get, asset("text/css; charset=utf-8", styleSheet)},
		{"/assets/icon.svg", get, asset("image/svg+xml", icon)},
		{"/assets/messages.js", get, asset("text/javascript; charset=utf-8", messagesScript)},
		{"/assets/deeplink.js", get, asset("text/javascript; charset=utf-8", deepLinkScript)},
		{"/assets/refresh.js", get, asset("text/javascript; charset=utf-8", refreshScript)},
		{"/assets/copy.js", get, asset("text/javascript; charset=utf-8", copyScript)},
		{"/assets/registration.js", get, asset("text/javascript; charset=utf-8", registrationScript)},
	}
}

func (rt *route) match(path string) ([]string, bool) {
	parts, want := strings.Split(path, "/"), strings.Split(rt.pattern, "/")
	if len(parts) != len(want) {
		return nil, false
	}
	var args []string
	for i, w := range want {
		switch {
		case w == "*" && parts[i] != "":
			args = append(args, parts[i])
		case w != parts[i]:
			return nil, false
		}
	}
	return args, true
}

// inCourse serves what only members of a course see; everybody that a visitor
// can choose to be is one.
func (p *platform) inCourse(serve func(*visit, *course) error) func(*visit) error {
	return func(v *visit) error {
		c := findCourse(v.args[0])
		if c == nil {
			return p.notFound(v)
		}
		if v.person == nil {
			if strings.HasPrefix(v.r.URL.Path, "/course/") {
				http.Redirect(v.w, v.r, "/?next="+url.QueryEscape(v.r.URL.Path), http.StatusSeeOther)
				return nil
			}
			return p.refuse(v, http.StatusForbidden, "Who are you?", "Choose a person on the first page of the LMS, then open the activity again.")
		}
		return serve(v, c)
	}
}

// teaching serves what learners may not do, and no page of another site.
func (p *platform) teaching(serve func(*visit, *course) error) func(*visit, *course) error {
	return func(v *visit, c *course) error {
		switch {
		case v.person.Learner():
			return p.refuse(v, http.StatusForbidden, "For teachers", "Only teachers and administrators change what is in a course.")
		case p.csrf.Check(v.r) != nil:
			return p.refuse(v, http.StatusForbidden, "Not from there", "A course is changed from the pages of this LMS only.")
		}
		return serve(v, c)
	}
}

// jwks publishes the platform's key.
func (p *platform) jwks(v *visit, _ *book) error {
	set, err := p.state.publicKeys()
	if err != nil {
		return fmt.Errorf("making the key set of the demo LMS: %w", err)
	}
	h := v.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	// Short, for a restart of the demo makes another key.
	h.Set("Cache-Control", "public, max-age=60")
	_, _ = v.w.Write(set)
	return nil
}

// initiate begins a launch: a page that posts the login initiation to the tool
// (Security Framework §5.1.1.1), as Moodle does. It is loaded in the iframe or
// the new window itself. So the navigation to the tool, and the redirect back
// to the authorization endpoint, count as begun by the LMS, and browsers send
// the LMS's Lax cookie along.
func (p *platform) initiate(v *visit, c *course) error {
	a := p.activity(p.state.book(v.issuer), c, v.args[1])
	if a == nil {
		return p.notFound(v)
	}
	return p.postLogin(v, a.Tool, a.TargetLinkURI, launch{course: c.ID, activity: a.ID})
}

// postLogin is the page that posts the login initiation of a launch.
func (p *platform) postLogin(v *visit, t *Tool, target string, l launch) error {
	l.issuer, l.clientID, l.person, l.expires = v.issuer, t.ClientID, v.person.ID, p.now().Add(hintLifetime)
	hint, err := p.state.begin(l)
	if err != nil {
		return err
	}
	v.note.tool, v.note.launch, v.note.request = t, launchName(hint), l.asked.name()
	post := autoPost{
		Tool:   t.Title,
		Action: t.LoginURL,
		Fields: []field{
			{"iss", v.issuer},
			{"target_link_uri", target},
			{"login_hint", v.person.ID},
			{"lti_message_hint", hint},
			{"client_id", t.ClientID},
			{"lti_deployment_id", t.Deployment},
		},
	}
	if target := p.storageTarget(); target != "" {
		post.Fields = append(post.Fields, field{"lti_storage_target", target})
	}
	return p.renderPost(v, post)
}
