package caddylti

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-lti/lti/lti"
)

func TestHeaderValue(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"plain":                "plain",
		"with space":           "with space",
		"  around  ":           "around",
		"\t tab \t":            "tab",
		"100%":                 "100%25",
		"%41":                  "%2541",
		"é":                    "%C3%A9",
		"Ünïcode 漢":            "%C3%9Cn%C3%AFcode %E6%BC%A2",
		"a\r\nX-Evil: 1":       "aX-Evil: 1",
		"nul\x00, del\x7f":     "nul, del",
		"\xff":                 "%FF",
		"\u00a0":               "%C2%A0",
		"\u2028":               "%E2%80%A8",
		" \n ":                 "",
		"\"quoted\", a=b; c/d": "\"quoted\", a=b; c/d",
	} {
		if got := headerValue(in); got != want {
			t.Errorf("headerValue(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzHeaderValue(f *testing.F) {
	for _, s := range []string{"", "plain", " é%\x00\r\n", "%25", "\xff\xfe", "漢字 ", "a\tb", "\x7f%7F"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := headerValue(s)
		for i := range len(got) {
			if got[i] < 0x20 || got[i] > 0x7e {
				t.Fatalf("headerValue(%q) = %q has the byte %#x", s, got, got[i])
			}
		}
		if strings.Trim(got, " ") != got {
			t.Errorf("headerValue(%q) = %q has space around it", s, got)
		}
		// Nothing else is lost: the app can undo it.
		back, err := url.PathUnescape(got)
		if err != nil {
			t.Fatalf("headerValue(%q) = %q: %v", s, got, err)
		}
		var want strings.Builder
		for i := range len(s) {
			if s[i] >= 0x20 && s[i] != 0x7f {
				want.WriteByte(s[i])
			}
		}
		if w := strings.Trim(want.String(), " "); back != w {
			t.Errorf("headerValue(%q) = %q, which is %q, want %q", s, got, back, w)
		}
	})
}

func TestIdentityHeader(t *testing.T) {
	for _, name := range []string{
		"Remote-User", "remote-user", "REMOTE_USER", "Remote_User", "Remote.User", "remote-", "Remote-Anything", "Remote-Addr", "rEmOtE_x",
		"X-LTI-User-Id", "X-Lti-User-Id", "x_lti_user_id", "X.LTI.User", "X-LTI_Token", "x-lti-", "X_Lti-Custom-Foo", "X-Lti-Unheard-Of",
		"Remote!User", "Remote~User", "remote+user", "X*LTI|User-Id", "X-LTI'Token",
	} {
		if !identityHeader(name) || !new(Handler).stripped(name) {
			t.Errorf("%s would reach the app", name)
		}
		if err := checkHeaderName(name); err == nil {
			t.Errorf("header %s can be configured", name)
		}
	}
	for _, name := range []string{
		"", "X-LTI", "X-Ltix-User", "XX-LTI-User", "Remote", "Remotely-Controlled", "X-Remote-User", "Accept", "Range", "X-Requested-With",
		"Referer", "Xlti-User", "X--LTI-User",
	} {
		if identityHeader(name) || (name != "" && new(Handler).stripped(name)) {
			t.Errorf("%s is none of ours", name)
		}
	}
}

func TestStrippedExtraHeaders(t *testing.T) {
	h := &Handler{strip: []string{"X-Course", "Dnt"}}
	for name, want := range map[string]bool{
		"X-Course": true, "x-course": true, "X_Course": true, "X.COURSE": true, "X~Course": true, "DNT": true,
		"X-Courses": false, "X-Cours": false, "XCourse": false, "D-Nt": false,
	} {
		if got := h.stripped(name); got != want {
			t.Errorf("stripped(%q) = %v", name, got)
		}
	}
}

func TestCheckHeaderName(t *testing.T) {
	for _, name := range []string{"X-Course", "x-course", "Course", "X-Forwarded-User", "Accept-Language", "X1"} {
		if err := checkHeaderName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range append([]string{
		"", "X_Course", "X.Course", "X Course", "X-Course:", "Kurs-ü", "X-Course\r\nX-Evil", ":authority", "TE", "te", "HOST", "cookie",
		"content-length", "EXPECT", "proxy-authorization",
	}, forbiddenHeaders...) {
		if err := checkHeaderName(name); err == nil {
			t.Errorf("%q can be configured", name)
		}
	}
	for _, name := range forbiddenHeaders {
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("%s is not canonical, so it is never found", name)
		}
	}
}

func TestConnection(t *testing.T) {
	for _, tc := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{"close"}, []string{"close"}},
		{[]string{"Upgrade"}, []string{"Upgrade"}},
		{[]string{"keep-alive, Upgrade"}, []string{"keep-alive, Upgrade"}},
		{[]string{"Upgrade, HTTP2-Settings", "TE"}, []string{"Upgrade, HTTP2-Settings, TE"}},
		{[]string{"close, Remote-User"}, []string{"close"}},
		{[]string{"X-LTI-User-Id"}, nil},
		{[]string{"remote_user,x-lti-roles , Cookie"}, nil},
		{[]string{" keep-alive ,,"}, []string{"keep-alive"}},
	} {
		if got := connection(tc.in); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("connection(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestCustomNames(t *testing.T) {
	for _, tc := range []struct {
		name     string
		in, want map[string]string
	}{
		{"none", nil, nil},
		{"lower case", map[string]string{"chapter": "1"}, map[string]string{"chapter": "1"}},
		{"folded", map[string]string{"My_Chapter.No 1": "1"}, map[string]string{"my-chapter-no-1": "1"}},
		{"not ASCII", map[string]string{"kapitel_ü": "1"}, map[string]string{"kapitel--": "1"}},
		{"empty name", map[string]string{"": "1"}, map[string]string{}},
		{"the lower-case one wins", map[string]string{"User": "evil", "user": "1"}, map[string]string{"user": "1"}},
		{"whatever the order", map[string]string{"user": "1", "USER": "evil", "User": "evil"}, map[string]string{"user": "1"}},
		{"lower case before exact form", map[string]string{"my_id": "lower", "My-Id": "evil"}, map[string]string{"my-id": "lower"}},
		{"neither is: the first", map[string]string{"A_b": "2", "A-B": "1"}, map[string]string{"a-b": "1"}},
		{"the Kelvin sign is a k only when folded", map[string]string{"\u212aey": "evil", "key": "1"}, map[string]string{"key": "1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := customNames(tc.in); !maps.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestJoinRoles(t *testing.T) {
	const course = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
	const institution = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#"
	for _, tc := range []struct {
		name  string
		in    []string
		want  string
		whole bool
	}{
		{"none", nil, "", true},
		{"one", []string{course + "Learner"}, course + "Learner", true},
		{"the course's first", []string{institution + "Staff", course + "Learner"}, course + "Learner " + institution + "Staff", true},
		{"a space does not make two", []string{"x:a b"}, "x:a%20b", true},
		{"a line feed makes no header", []string{"x:a\r\nRemote-User: root"}, "x:aRemote-User:%20root", true},
		{"not ASCII", []string{"x:é"}, "x:%C3%A9", true},
		{"too many", []string{course + "Learner", "x:" + strings.Repeat("y", maxHeaderValue)}, course + "Learner", false},
		{"too long", []string{"x:" + strings.Repeat("y", maxHeaderValue)}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := slices.Clone(tc.in)
			got, whole := joinRoles(tc.in)
			if got != tc.want || whole != tc.whole {
				t.Errorf("got %q, %v; want %q, %v", got, whole, tc.want, tc.whole)
			}
			if !slices.Equal(before, tc.in) {
				t.Error("the list of the session was changed")
			}
		})
	}
}

func TestGroups(t *testing.T) {
	role := func(name string) string {
		uri, err := lti.ParseRole(name)
		if err != nil {
			t.Fatal(err)
		}
		return uri
	}
	f := &facts{Roles: []string{role("system:user"), role("institution:administrator"), "https://lms.example/x", role("instructor"), role("instructor#grader"), role("learner")}}
	if got, want := f.groups(), "Instructor,Instructor#Grader,Learner,system:User,institution:Administrator"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := new(facts).groups(); got != "" {
		t.Errorf("nobody: %q", got)
	}
}

// fields makes the headers of a launch under a set, by name.
func identityOf(set string, f *facts, extra ...extraHeader) map[string]string {
	h := &Handler{Headers: set, extra: extra}
	got := make(map[string]string)
	for _, field := range h.makeIdentity(f) {
		got[field.name] = strings.Join(field.vals, "|")
	}
	return got
}

func TestMakeIdentitySets(t *testing.T) {
	f := &facts{
		LaunchID: "launch", Platform: "moodle", Issuer: "https://lms.example", ClientID: "client", Deployment: "7", Subject: "4711",
		RemoteUser: "4711@moodle", Message: "LtiResourceLinkRequest", Roles: []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		ContextID: "c1", ResourceLink: "r1", Name: "Ann", Email: "ann@school.example", Locale: "de", ContextLabel: "BIO1", ContextTitle: "Biology",
		ResourceTitle: "Quiz", ReturnURL: "https://lms.example/back", Custom: map[string]string{"chapter": "1"},
	}
	minimal := map[string]string{
		"Remote-User": "4711@moodle", "Remote-Groups": "Learner", "X-Lti-User-Id": "4711", "X-Lti-Platform": "moodle",
		"X-Lti-Roles": "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner", "X-Lti-Context-Id": "c1", "X-Lti-Resource-Link-Id": "r1",
		"X-Lti-Message-Type": "LtiResourceLinkRequest", "X-Lti-Launch-Id": "launch",
	}
	standard := maps.Clone(minimal)
	maps.Copy(standard, map[string]string{
		"Remote-Name": "Ann", "Remote-Email": "ann@school.example", "X-Lti-Issuer": "https://lms.example", "X-Lti-Client-Id": "client",
		"X-Lti-Deployment-Id": "7", "X-Lti-Context-Label": "BIO1", "X-Lti-Context-Title": "Biology", "X-Lti-Resource-Link-Title": "Quiz",
		"X-Lti-Locale": "de",
	})
	full := maps.Clone(standard)
	maps.Copy(full, map[string]string{"X-Lti-Return-Url": "https://lms.example/back", "X-Lti-Custom-Chapter": "1"})
	for set, want := range map[string]map[string]string{"off": {}, "minimal": minimal, "standard": standard, "full": full} {
		if got := identityOf(set, f); !maps.Equal(got, want) {
			t.Errorf("%s: got %v\nwant %v", set, got, want)
		}
	}
	// A configured header comes along in every set; an empty one does not.
	own := extraHeader{name: "X-Course", value: "{http.lti.context.label}/{http.lti.nonsense}", own: true}
	if got := identityOf("off", f, own); !maps.Equal(got, map[string]string{"X-Course": "BIO1/"}) {
		t.Errorf("off with a header: %v", got)
	}
	if got := identityOf("full", &facts{}, extraHeader{name: "X-Course", value: "{http.lti.context.label}", own: true}); len(got) != 0 {
		t.Errorf("nothing known, but headers %v", got)
	}
}

// What a teacher or a platform writes cannot grow without bounds, and the
// identity is the last to go.
func TestMakeIdentityBounds(t *testing.T) {
	f := &facts{
		LaunchID: "launch", Platform: "moodle", Subject: "4711", RemoteUser: "4711@moodle", Message: "LtiResourceLinkRequest",
		Name: strings.Repeat("n", maxHeaderValue+1), Email: "ann@school.example", Custom: map[string]string{},
	}
	for i := range 40 {
		f.Custom[fmt.Sprintf("c%02d", i)] = strings.Repeat("v", 500)
		f.Roles = append(f.Roles, fmt.Sprintf("https://lms.example/%d/%s", i, strings.Repeat("r", 100)))
	}
	got := identityOf("full", f)
	size := 0
	for name, val := range got {
		size += len(name) + len(val) + len(": \r\n")
		if len(val) > maxHeaderValue {
			t.Errorf("%s has %d bytes", name, len(val))
		}
	}
	if size > maxHeaders {
		t.Errorf("%d bytes of headers", size)
	}
	for name, want := range map[string]string{"Remote-User": "4711@moodle", "X-Lti-User-Id": "4711", "Remote-Email": "ann@school.example", "Remote-Name": "", "X-Lti-Custom-C39": ""} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	dropped := strings.Split(got["X-Lti-Dropped"], ", ")
	for _, name := range []string{"X-LTI-Roles", "Remote-Name"} {
		if !slices.Contains(dropped, name) {
			t.Errorf("%s was dropped, X-LTI-Dropped says %q", name, dropped)
		}
	}
	if got["X-Lti-Custom-C00"] == "" || !slices.Contains(dropped, "X-Lti-Custom-C39") && len(got["X-Lti-Dropped"]) < maxHeaderValue/2-40 {
		t.Errorf("customs: the first is there: %v; dropped %q", got["X-Lti-Custom-C00"] != "", dropped)
	}
	if _, ok := identityOf("full", &facts{RemoteUser: "a@b"})["X-Lti-Dropped"]; ok {
		t.Error("nothing was dropped, but the header is there")
	}
}

func TestRemoteUser(t *testing.T) {
	launch := func(change func(*lti.Launch)) *lti.Launch {
		l := &lti.Launch{Subject: "4711", DeploymentID: "d1", Email: "ann@school.example", PersonSourcedID: "p-1", Username: "ann"}
		if change != nil {
			change(l)
		}
		return l
	}
	for _, tc := range []struct {
		name, user string
		scope      lti.UserScope
		launch     *lti.Launch
		want       string
		refused    bool
	}{
		{"sub", "sub", lti.ScopeClient, launch(nil), "4711@moodle", false},
		{"sub in a tenant", "sub", lti.ScopeTenant, launch(func(l *lti.Launch) { l.ToolPlatform.GUID = "school-a" }), "4711@moodle.school-a", false},
		{"sub in an unknown tenant", "sub", lti.ScopeTenant, launch(nil), "4711@moodle.deployment-d1", false},
		{"sub in a deployment", "sub", lti.ScopeDeployment, launch(nil), "4711@moodle.d1", false},
		// Or it would read as the sub u@moodle.a in the scope b.
		{"scope that looks like a name", "sub", lti.ScopeTenant, launch(func(l *lti.Launch) { l.ToolPlatform.GUID = "a@moodle.b" }), "4711@moodle.a%40moodle.b", false},
		{"sub with a percent sign", "sub", lti.ScopeClient, launch(func(l *lti.Launch) { l.Subject = "a%40b" }), "a%2540b@moodle", false},
		{"email", "email", lti.ScopeTenant, launch(nil), "ann@school.example", false},
		{"sourcedid", "lis.person_sourcedid", lti.ScopeClient, launch(nil), "p-1", false},
		{"username", "ext.user_username", lti.ScopeClient, launch(nil), "ann", false},
		{"username not ASCII", "ext.user_username", lti.ScopeClient, launch(func(l *lti.Launch) { l.Username = "änn" }), "%C3%A4nn", false},
		{"no email", "email", lti.ScopeClient, launch(func(l *lti.Launch) { l.Email = "" }), "", true},
		{"too long", "email", lti.ScopeClient, launch(func(l *lti.Launch) { l.Email = strings.Repeat("x", maxHeaderValue+1) }), "", true},
		{"anonymous", "sub", lti.ScopeClient, launch(func(l *lti.Launch) { l.Subject = "" }), "", false},
		// The address of an anonymous launch is nobody's name.
		{"anonymous, by email", "email", lti.ScopeClient, launch(func(l *lti.Launch) { l.Subject = "" }), "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &Handler{User: tc.user}
			p := &Platform{Name: "moodle", registration: lti.Platform{UserScope: tc.scope}}
			got, err := h.remoteUser(p, tc.launch)
			if got != tc.want || (err != nil) != tc.refused {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestPersonKey(t *testing.T) {
	type who struct{ issuer, client, scope, sub, launch string }
	key := func(w who) string {
		p := &Platform{registration: lti.Platform{UserScope: lti.ScopeDeployment}}
		return personKey(p, &lti.Launch{Issuer: w.issuer, ClientID: w.client, DeploymentID: w.scope, Subject: w.sub}, w.launch)
	}
	seen := make(map[string]who)
	for _, w := range []who{
		{"i", "c", "d", "s", ""},
		{"i2", "c", "d", "s", ""},
		{"i", "c2", "d", "s", ""},
		{"i", "c", "d2", "s", ""},
		{"i", "c", "d", "s2", ""},
		{"i", "c", "d", "", "l1"},
		{"i", "c", "d", "", "l2"},
		{"i", "c", "d", "launch:l1", ""},
		{"i", "c", "d", "l1", ""},
		// Parts do not run into each other.
		{"ic", "", "d", "s", ""},
		{"i", "cd", "", "s", ""},
		{`i" "c`, "", "d", "s", ""},
	} {
		k := key(w)
		if other, ok := seen[k]; ok {
			t.Errorf("%+v and %+v are one person", w, other)
		}
		seen[k] = w
	}
	if key(who{"i", "c", "d", "s", "l1"}) != key(who{"i", "c", "d", "s", "l2"}) {
		t.Error("two launches of one person are two people")
	}
}

func TestPlaceholders(t *testing.T) {
	f := &facts{
		LaunchID: "la", Platform: "pf", Issuer: "is", ClientID: "cl", Deployment: "de", Subject: "su", RemoteUser: "su@pf", Message: "me",
		Roles: []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"}, ContextID: "ci", ResourceLink: "ri", Name: "na", GivenName: "gi",
		FamilyName: "fa", Email: "em", Locale: "lo", ContextLabel: "cb", ContextTitle: "ct", ResourceTitle: "rt", ReturnURL: "re",
		Custom: map[string]string{"my-key": "cu"},
	}
	want := map[string]string{
		"http.auth.user.id": "su@pf", "http.auth.user.name": "na", "http.auth.user.email": "em",
		"http.lti.user.id": "su", "http.lti.user.name": "na", "http.lti.user.given_name": "gi", "http.lti.user.family_name": "fa",
		"http.lti.user.email": "em", "http.lti.user.locale": "lo", "http.lti.roles": f.Roles[0], "http.lti.groups": "Learner",
		"http.lti.platform": "pf", "http.lti.issuer": "is", "http.lti.client_id": "cl", "http.lti.deployment_id": "de",
		"http.lti.context.id": "ci", "http.lti.context.label": "cb", "http.lti.context.title": "ct", "http.lti.resource_link.id": "ri",
		"http.lti.resource_link.title": "rt", "http.lti.message_type": "me", "http.lti.launch_id": "la", "http.lti.return_url": "re",
		"http.lti.custom.my-key": "cu", "http.lti.custom.My_Key": "cu", "http.lti.custom.other": "",
	}
	for key, val := range want {
		if got, ok := f.lookUp(key); got != val || !ok {
			t.Errorf("{%s} = %q, %v; want %q", key, got, ok, val)
		}
	}
	for name := range placeholders {
		if _, ok := want["http.lti."+name]; !ok {
			t.Errorf("{http.lti.%s} is not tested", name)
		}
	}
	for _, key := range []string{"http.lti.nonsense", "http.lti.", "http.lti", "http.auth.user.nonsense", "http.request.uri", ""} {
		if got, ok := f.lookUp(key); ok {
			t.Errorf("{%s} = %q", key, got)
		}
	}
	// Nobody's are empty, not unknown: else their names would be shown.
	for key := range want {
		if got, ok := nobody.lookUp(key); got != "" || !ok {
			t.Errorf("nobody's {%s} = %q, %v", key, got, ok)
		}
	}
}

// Data minimisation: what a header set does not use is kept only where a
// placeholder asks for it, and every placeholder that needs it does ask.
func TestNeededForKeepsWhatPlaceholdersUse(t *testing.T) {
	l := &lti.Launch{
		Subject: "s", DeploymentID: "d", MessageType: "m", Issuer: "i", ClientID: "c", Roles: []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"},
		ResourceLink: lti.ResourceLink{ID: "r", Title: "rt"}, Context: lti.Context{ID: "x", Label: "xl", Title: "xt"},
		Presentation: lti.Presentation{ReturnURL: "https://lms.example/"}, Name: "n", GivenName: "g", FamilyName: "f", Email: "e", Locale: "l",
		Custom: map[string]string{"k": "v"},
	}
	keys := []string{"http.auth.user.id", "http.auth.user.name", "http.auth.user.email", "http.lti.custom.k"}
	for name := range placeholders {
		keys = append(keys, "http.lti."+name)
	}
	for _, key := range keys {
		h := &Handler{Headers: "off", ExtraHeaders: map[string]string{"X-It": "{" + key + "}"}, app: new(App)}
		if err := h.provisionHeaders(); err != nil {
			t.Fatal(err)
		}
		f := h.keep(&Platform{Name: "p"}, l, "launch", "s@p")
		if got, _ := f.lookUp(key); got == "" {
			t.Errorf("{%s} is empty, though the launch has it", key)
		}
		if people, extras := neededFor(key); !people && f.Name+f.Email+f.ContextTitle != "" || !extras && f.Custom != nil {
			t.Errorf("{%s} keeps more than it needs: %+v", key, f)
		}
	}
	h := &Handler{Headers: "minimal", app: new(App)}
	if err := h.provisionHeaders(); err != nil {
		t.Fatal(err)
	}
	want := &facts{
		LaunchID: "launch", Platform: "p", Issuer: "i", ClientID: "c", Deployment: "d", Subject: "s", RemoteUser: "s@p", Message: "m",
		Roles: l.Roles, ContextID: "x", ResourceLink: "r",
	}
	if got := h.keep(&Platform{Name: "p"}, l, "launch", "s@p"); !reflect.DeepEqual(got, want) {
		t.Errorf("minimal keeps %+v", got)
	}
	h.app.needContextLabels() // a matcher compares them
	if got := h.keep(&Platform{Name: "p"}, l, "launch", "s@p"); got.ContextLabel != "xl" || got.ContextTitle != "" {
		t.Errorf("with a matcher for courses: %+v", got)
	}
}

// Whatever could pass for ours is gone before the app sees the request, and the
// rest is as it was.
func TestCleanRequestOfNobody(t *testing.T) {
	h := &Handler{Headers: "full", strip: []string{"X-Course"}}
	r := &http.Request{
		Header: http.Header{
			"Remote-User": {"root"}, "remote_user": {"root"}, "X-Lti-Roles": {"a", "b"}, "X.LTI.Token": {"t"}, "X_course": {"1"},
			"Cookie":     {"a=1; __Host-lti=x", "__Host-lti-s-1-A=y"},
			"Connection": {"keep-alive, Remote-User"}, "": {"x"},
			"Accept": {"text/html", "*/*"}, "Authorization": {"Bearer app"}, "X-Forwarded-For": {"10.0.0.1"},
		},
		Trailer: http.Header{"Remote-User": {"root"}},
	}
	h.cleanRequest(r, nil, true)
	want := http.Header{
		"Cookie": {"a=1"}, "Connection": {"keep-alive"}, "Accept": {"text/html", "*/*"}, "Authorization": {"Bearer app"}, "X-Forwarded-For": {"10.0.0.1"},
	}
	if !reflect.DeepEqual(r.Header, want) || r.Trailer != nil {
		t.Errorf("got %v, trailer %v; want %v", r.Header, r.Trailer, want)
	}
	r = &http.Request{Header: http.Header{"Cookie": {"__Host-lti=x"}, "Connection": {"x-lti-user-id"}}}
	if h.cleanRequest(r, nil, true); len(r.Header) != 0 {
		t.Errorf("nothing should be left: %v", r.Header)
	}
}
