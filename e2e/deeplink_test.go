package e2e

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

const (
	roleInstructor = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
	claimDeepLink  = "https://purl.imsglobal.org/spec/lti-dl/claim/"
	returnURL      = "https://lms.example/return?course=2&token=a%2Fb"
)

// wantsContent makes the claims of a launch a teacher's request for content.
func wantsContent(settings map[string]any) map[string]any {
	return map[string]any{
		ltitest.Claim("message_type"): "LtiDeepLinkingRequest", ltitest.Claim("resource_link"): ltitest.Absent,
		ltitest.Claim("roles"): []string{roleInstructor},
		claimDeepLink + "deep_linking_settings": ltitest.With(map[string]any{
			"deep_link_return_url": returnURL, "accept_types": []string{"ltiResourceLink", "link"},
			"accept_presentation_document_targets": []string{"iframe", "window"}, "accept_multiple": true, "data": "opaque <&> data",
		}, settings),
	}
}

// request launches the tool to have content chosen, and returns where that is.
func (t *tool) request(b *browser, settings map[string]any) string {
	b.tb.Helper()
	return t.mustLaunch(b, wantsContent(settings)).Header.Get("Location")
}

var sentJWT = regexp.MustCompile(`(?s)<form id="post" method="post" action="([^"]*)">\s*<input type="hidden" name="JWT" value="([^"]*)">`)

// told returns what the page would have the browser tell the platform.
func (t *tool) told(tb testing.TB, res *answer) (claims map[string]any) {
	tb.Helper()
	m := sentJWT.FindStringSubmatch(res.body)
	if res.StatusCode != http.StatusOK || m == nil {
		tb.Fatalf("nothing for the platform: %d %s", res.StatusCode, res.body)
	}
	if got := html.UnescapeString(m[1]); got != returnURL {
		tb.Errorf("it goes to %s", got)
	}
	return t.verify(tb, m[2])
}

// verify checks a token of the tool's as a platform would.
func (t *tool) verify(tb testing.TB, jwt string) (claims map[string]any) {
	tb.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		tb.Fatalf("%d parts in %s", len(parts), jwt)
	}
	decode := func(s string) []byte {
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			tb.Fatal(err)
		}
		return raw
	}
	var head struct{ Alg, Kid, Typ string }
	if err := json.Unmarshal(decode(parts[0]), &head); err != nil || head.Alg != "RS256" || head.Kid == "" {
		tb.Fatalf("header %s", decode(parts[0]))
	}
	var set struct {
		Keys []struct{ Kid, N, E string }
	}
	if err := json.Unmarshal([]byte(newBrowser(tb).get(t.url("/lti/jwks.json")).body), &set); err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	for _, k := range set.Keys {
		if k.Kid != head.Kid {
			continue
		}
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(decode(k.N)), E: int(new(big.Int).SetBytes(decode(k.E)).Int64())}
		if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], decode(parts[2])); err != nil {
			tb.Fatal(err)
		}
		if err := json.Unmarshal(decode(parts[1]), &claims); err != nil {
			tb.Fatal(err)
		}
		return claims
	}
	tb.Fatalf("the key %s is not published", head.Kid)
	return nil
}

// pages makes a folder of HTML.
func pages(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func htmlPage(title, more string) string {
	return "<!DOCTYPE html><html><head><title>" + title + "</title>" + more + "</head><body><h1>" + title + "</h1></body></html>"
}

var course = map[string]string{
	"index.html":       htmlPage("Moon and sea", ""),
	"ch1.html":         htmlPage("Chapter 1: Tides", `<meta name="description" content="Why the sea rises &amp; falls"><meta property="og:image" content="/pics/tides.png">`),
	"ch2.html":         htmlPage("Chapter 2: Moons", ""),
	"quiz/index.html":  htmlPage("Quiz &lt;7&gt;", `<meta name="lti:score-maximum" content="10">`),
	"admin/index.html": htmlPage("Administration", ""),
	".hidden.html":     htmlPage("Hidden", ""),
	"draft.html":       htmlPage("Draft", `<meta name="robots" content="noindex">`),
	"notes.txt":        "no page",
}

// serve starts a server and returns its address.
func serve(tb testing.TB, f http.HandlerFunc) string {
	tb.Helper()
	srv := httptest.NewServer(f)
	tb.Cleanup(srv.Close)
	return srv.URL
}

// residentMemory returns the bytes of memory that the process holds.
func residentMemory(tb testing.TB, c *caddy) int64 {
	tb.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		tb.Fatal(err)
	}
	return kb << 10
}

// startPicker runs a static site with the built-in picker.
func startPicker(tb testing.TB, options string) *tool {
	tb.Helper()
	dir := pages(tb, course)
	return startTool(tb, "items {\nfolder .\nexclude /admin/*\nitem /app?task=9 \"Task nine\" {\nscore_maximum 7.5\nresource_id task-9\ntag practice\ncustom level easy\n}\n}\n"+options,
		"root * "+dir+"\n\tfile_server")
}

// choosing is the form of the picker, as a browser without scripts has it.
type choosing struct {
	t    *tool
	b    *browser
	res  *answer
	form url.Values
}

var (
	formTags   = regexp.MustCompile(`(?s)<form id="picker" method="post" action="([^"]*)">(.*?)</form>`)
	inputTags  = regexp.MustCompile(`<input ([^>]*)>`)
	attributes = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
	choiceTags = regexp.MustCompile(`(?s)<h2 id="c\d+"[^>]*>(.*?)</h2>`)
	buttonTags = regexp.MustCompile(`<button ([^>]*)>`)
)

func (t *tool) choose(b *browser, where string) *choosing {
	b.tb.Helper()
	c := &choosing{t: t, b: b}
	c.read(b.get(where))
	return c
}

func (c *choosing) read(res *answer) {
	c.b.tb.Helper()
	c.res = res
	m := formTags.FindStringSubmatch(res.body)
	if m == nil {
		c.b.tb.Fatalf("no picker: %d %s", res.StatusCode, res.body)
	}
	c.form = make(url.Values)
	for _, in := range inputTags.FindAllStringSubmatch(m[2], -1) {
		a := attributesOf(in[1])
		c.form.Add(a["name"], a["value"])
	}
}

func attributesOf(tag string) map[string]string {
	found := make(map[string]string)
	for _, a := range attributes.FindAllStringSubmatch(tag, -1) {
		found[a[1]] = html.UnescapeString(a[2])
	}
	return found
}

// press presses a button that shows the picker again.
func (c *choosing) press(name, value string) {
	c.b.tb.Helper()
	m := formTags.FindStringSubmatch(c.res.body)
	if name != "do" {
		ok := slices.ContainsFunc(buttonTags.FindAllStringSubmatch(m[2], -1), func(b []string) bool {
			a := attributesOf(b[1])
			return a["name"] == name && a["value"] == value
		})
		if !ok {
			c.b.tb.Fatalf("no button %s=%s in %s", name, value, m[2])
		}
	}
	form := maps.Clone(c.form)
	form.Set(name, value)
	c.read(c.b.post(c.t.url(html.UnescapeString(m[1])), form.Encode(), "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"))
}

// send presses the button that ends the choice.
func (c *choosing) send(do string, header ...string) *answer {
	c.b.tb.Helper()
	var action string
	for _, tag := range buttonTags.FindAllStringSubmatch(c.res.body, -1) {
		if a := attributesOf(tag[1]); a["name"] == "do" && a["value"] == do {
			action = a["formaction"]
		}
	}
	form := maps.Clone(c.form)
	form.Set("do", do)
	header = append([]string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"}, header...)
	return c.b.post(c.t.url(action), form.Encode(), header...)
}

func (c *choosing) titles() (titles []string) {
	for _, m := range choiceTags.FindAllStringSubmatch(c.res.body, -1) {
		titles = append(titles, html.UnescapeString(m[1]))
	}
	return titles
}

// A teacher finds pages of a site that has no line of code, chooses two, and the
// platform is told.
func TestPicker(t *testing.T) {
	tool := startPicker(t, "")
	b := newBrowser(t)
	where := tool.request(b, nil)
	c := tool.choose(b, where)
	if got, want := c.titles(), []string{"Chapter 1: Tides", "Chapter 2: Moons", "Moon and sea", "Quiz <7>", "Task nine"}; !slices.Equal(got, want) {
		t.Errorf("there are %q, expected %q", got, want)
	}
	for _, want := range []string{"Why the sea rises &amp; falls", `<img src="/pics/tides.png" alt=""`, "1 to 5 of 5"} {
		if !strings.Contains(c.res.body, want) {
			t.Errorf("the page lacks %s:\n%s", want, c.res.body)
		}
	}
	csp := c.res.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "form-action 'self'") || !strings.Contains(csp, "frame-ancestors 'self' https://lms.example") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %s", csp)
	}
	c.form.Set("q", "TIDES rise")
	c.press("do", "search")
	if got := c.titles(); !slices.Equal(got, []string{"Chapter 1: Tides"}) {
		t.Errorf("found %q", got)
	}
	c.press("add", "/ch1.html")
	c.form.Set("q", "nine")
	c.press("do", "search")
	c.press("add", "task-9")
	if got := c.form["points"]; !slices.Equal(got, []string{"", "7.5"}) {
		t.Errorf("maximum scores %q", got)
	}
	c.form["title"][0] = "Our tides"
	c.form["points"][0] = "2,5"
	c.form.Set("q", "no such page")
	c.press("do", "search") // what was written stays
	if len(c.titles()) != 0 || !strings.Contains(c.res.body, "Nothing was found") {
		t.Errorf("found %q", c.titles())
	}
	claims := tool.told(t, c.send("answer"))
	items, _ := json.Marshal(claims[claimDeepLink+"content_items"])
	want := fmt.Sprintf(`[{"custom":{"item":"/ch1.html"},"lineItem":{"label":"Our tides","resourceId":"/ch1.html","scoreMaximum":2.5},"text":"Why the sea rises \u0026 falls","thumbnail":{"url":%q},"title":"Our tides","type":"ltiResourceLink","url":%q},`+
		`{"custom":{"item":"task-9","item_path":"/app?task=9","level":"easy"},"lineItem":{"label":"Task nine","resourceId":"task-9","scoreMaximum":7.5,"tag":"practice"},"title":"Task nine","type":"ltiResourceLink","url":%q}]`,
		tool.url("/pics/tides.png"), tool.url("/ch1.html"), tool.url("/app?task=9"))
	if string(items) != want {
		t.Errorf("items\n%s, expected\n%s", items, want)
	}
	for name, want := range map[string]any{
		"iss": tool.platform.ClientID, "aud": tool.platform.Issuer, ltitest.Claim("deployment_id"): tool.platform.Deployment,
		ltitest.Claim("message_type"): "LtiDeepLinkingResponse", ltitest.Claim("version"): "1.3.0", claimDeepLink + "data": "opaque <&> data",
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, expected %v", name, claims[name], want)
		}
	}
	if !strings.Contains(tool.log.String(), `"msg":"content chosen"`) {
		t.Error("the log does not tell")
	}
	// It was told once.
	if res := c.send("answer"); res.StatusCode != http.StatusConflict || !strings.Contains(res.body, "This choice has been made") || sentJWT.MatchString(res.body) {
		t.Errorf("a second time: %d %s", res.StatusCode, res.body)
	}
	if res := b.get(where); res.StatusCode != http.StatusConflict {
		t.Errorf("the picker, afterwards: %d", res.StatusCode)
	}

	// What was picked opens, for a learner, exactly where it is; and by its
	// identity where the platform has only the tool's own address left.
	learner := newBrowser(t)
	for target, want := range map[string]string{
		"/ch1.html": "/ch1.html", "/app?task=9": "/app?task=9", "/lti/launch": "/app?task=9", "/": "/",
		"/app?task=old": "/app?task=9", // where it was when it was picked
	} {
		res := tool.mustLaunch(learner, map[string]any{
			ltitest.Claim("target_link_uri"): tool.url(target), ltitest.Claim("custom"): map[string]string{"item": "task-9", "item_path": "/app?task=old"},
		})
		if got := res.Header.Get("Location"); got != tool.url(want) {
			t.Errorf("an item at %s opens %s", target, got)
		}
	}
}

// What the platform takes decides what the picker offers.
func TestPickerKeepsToSettings(t *testing.T) {
	tool := startPicker(t, "")
	begin := func(settings map[string]any) *choosing {
		t.Helper()
		b := newBrowser(t)
		return tool.choose(b, tool.request(b, settings))
	}
	items := func(c *choosing) []any {
		t.Helper()
		return tool.told(t, c.send("answer"))[claimDeepLink+"content_items"].([]any)
	}
	// One at most.
	c := begin(map[string]any{"accept_multiple": ltitest.Absent})
	c.press("add", "/ch1.html")
	c.press("add", "/ch2.html")
	if got := items(c); len(got) != 1 || got[0].(map[string]any)["title"] != "Chapter 2: Moons" {
		t.Errorf("one at most: %v", got)
	}
	// No line items.
	c = begin(map[string]any{"accept_lineitem": false})
	c.press("add", "/quiz/")
	if strings.Contains(c.res.body, "Maximum score") {
		t.Error("a maximum score is asked for where the platform takes none")
	}
	if got := items(c); got[0].(map[string]any)["lineItem"] != nil {
		t.Errorf("without line items: %v", got)
	}
	// Nothing that there is.
	b := newBrowser(t)
	if res := b.get(tool.request(b, map[string]any{"accept_types": []string{"file", "link"}})); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, "accept_types: file, link") {
		t.Errorf("files and links only: %d %s", res.StatusCode, res.body)
	}
	// Nothing chosen, by way of the button.
	c = begin(map[string]any{"data": ltitest.Absent})
	claims := tool.told(t, c.send("cancel"))
	if got := claims[claimDeepLink+"content_items"].([]any); len(got) != 0 {
		t.Errorf("cancelled: %v", got)
	}
	if _, ok := claims[claimDeepLink+"data"]; ok {
		t.Error("data came back that was never sent")
	}
	// A maximum score that is none is asked for again.
	c = begin(nil)
	c.press("add", "/ch1.html")
	for _, wrong := range []string{"0", "-1", "ten", "1e99", "NaN", "Inf", "0x10", "1,000", "1.000", "1e2"} {
		c.form.Set("points", wrong)
		res := c.send("answer")
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, `aria-invalid="true"`) || sentJWT.MatchString(res.body) {
			t.Errorf("maximum %s: %d %s", wrong, res.StatusCode, res.body)
		}
	}
	if res := c.b.post(tool.url("/lti/deeplink?lti_launch_id="+launchIn(c.res)), "do=answer", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("nothing chosen: %d", res.StatusCode)
	}
	c.form.Set("points", "5")
	if got := items(c); got[0].(map[string]any)["lineItem"].(map[string]any)["scoreMaximum"] != 5.0 {
		t.Errorf("put right: %v", got)
	}
}

var pickedLaunch = regexp.MustCompile(`lti_launch_id=([A-Za-z0-9_-]+)`)

func launchIn(res *answer) string {
	if m := pickedLaunch.FindStringSubmatch(res.body); m != nil {
		return m[1]
	}
	return ""
}

// Who may not choose content, and what cannot be chosen.
func TestPickerRefuses(t *testing.T) {
	tool := startPicker(t, "")
	teacher := newBrowser(t)
	c := tool.choose(teacher, tool.request(teacher, nil))
	c.press("add", "/ch1.html")
	action := "/lti/deeplink?lti_launch_id=" + launchIn(c.res)
	good := url.Values{"do": {"answer"}, "id": {"/ch1.html"}, "title": {"x"}, "points": {""}}

	learner := newBrowser(t)
	if res := tool.launch(learner, ltitest.With(wantsContent(nil), map[string]any{ltitest.Claim("roles"): []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"}})); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "not open to you") {
		t.Errorf("a learner's request: %d %s", res.StatusCode, res.body)
	}
	if res := tool.launch(newBrowser(t), ltitest.With(wantsContent(nil), map[string]any{ltitest.Claim("roles"): []string{"http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant"}})); res.StatusCode != http.StatusForbidden {
		t.Errorf("an assistant's request: %d", res.StatusCode)
	}
	tool.mustLaunch(learner, nil)
	colleague := newBrowser(t) // who has launched an activity, and no request for content
	tool.mustLaunch(colleague, map[string]any{"sub": "user-2", ltitest.Claim("roles"): []string{roleInstructor}})
	same := []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"}
	for _, tt := range []struct {
		name   string
		res    *answer
		status int
		code   string
	}{
		{"nobody", newBrowser(t).post(tool.url(action), good.Encode(), same...), 401, ""},
		{"a learner, with the teacher's launch", learner.post(tool.url(action), good.Encode(), same...), 401, ""},
		{"a learner, with his own", learner.post(tool.url("/lti/deeplink"), good.Encode(), same...), 409, "deep_link_missing"},
		{"a learner at the picker", learner.get(tool.url("/lti/pick"), "Sec-Fetch-Mode", "navigate"), 409, "deep_link_missing"},
		{"a teacher in an activity", colleague.post(tool.url("/lti/deeplink"), good.Encode(), same...), 409, "deep_link_missing"},
		{"another site's page", teacher.post(tool.url(action), good.Encode(), "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"), 403, "request_foreign_origin"},
		{"another site's page, in an old browser", teacher.post(tool.url(action), good.Encode(), "Sec-Fetch-Site", "", "Origin", "https://evil.example"), 403, "request_foreign_origin"},
		{"a neighbour's page", teacher.post(tool.url(action), good.Encode(), "Sec-Fetch-Site", "same-site"), 403, "request_foreign_origin"},
		{"another site's page, at the picker", teacher.post(tool.url(strings.Replace(action, "deeplink", "pick", 1)), good.Encode(), "Sec-Fetch-Site", "cross-site"), 403, "request_foreign_origin"},
		{"GET", teacher.get(tool.url(action)), 405, ""},
		{"JSON", teacher.do(teacher.request("POST", tool.url(action), strings.NewReader(`{"content_items": []}`), append([]string{"Content-Type", "application/json"}, same...)...)), 400, "request_malformed"},
		{"too large", teacher.post(tool.url(action), good.Encode()+"&x="+strings.Repeat("x", 300<<10), same...), 413, "request_too_large"},
		{"fewer titles than ids", teacher.post(tool.url(action), "do=answer&id=/ch1.html", same...), 400, "request_malformed"},
		{"what is not there", teacher.post(tool.url(action), url.Values{"do": {"answer"}, "id": {"https://evil.example/"}, "title": {"x"}, "points": {""}}.Encode(), same...), 422, ""},
		{"what is excluded", teacher.post(tool.url(action), url.Values{"do": {"answer"}, "id": {"/admin/"}, "title": {"x"}, "points": {""}}.Encode(), same...), 422, ""},
		{"what is hidden", teacher.post(tool.url(action), url.Values{"do": {"answer"}, "id": {"/../.hidden.html"}, "title": {"x"}, "points": {""}}.Encode(), same...), 422, ""},
	} {
		if tt.res.StatusCode != tt.status || sentJWT.MatchString(tt.res.body) {
			t.Errorf("%s: %d %s", tt.name, tt.res.StatusCode, tt.res.body)
		}
		if tt.code != "" {
			until(t, tt.name+" in the log", func() bool { return strings.Contains(tool.log.String(), `"code":"`+tt.code+`"`) })
		}
	}
	// A request that lacks what it needs.
	for name, settings := range map[string]map[string]any{
		"no return URL":          {"deep_link_return_url": ltitest.Absent},
		"a return URL over http": {"deep_link_return_url": "http://lms.example/return"},
		"a script":               {"deep_link_return_url": "javascript:alert(1)"},
		"no types":               {"accept_types": ltitest.Absent},
		"no targets":             {"accept_presentation_document_targets": ltitest.Absent},
	} {
		if res := tool.launch(newBrowser(t), wantsContent(settings)); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, res.StatusCode, res.body)
		}
	}
	// After all that, the teacher goes on.
	tool.told(t, c.send("answer"))
}

// A choice made by twenty clicks at once is told once.
func TestPickerTellsOnce(t *testing.T) {
	tool := startPicker(t, "")
	b := newBrowser(t)
	c := tool.choose(b, tool.request(b, nil))
	c.press("add", "/ch1.html")
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		told int
	)
	for range 20 {
		wg.Go(func() {
			res := c.send("answer")
			mu.Lock()
			defer mu.Unlock()
			if sentJWT.MatchString(res.body) {
				told++
			} else if res.StatusCode != http.StatusConflict {
				t.Errorf("got %d %s", res.StatusCode, res.body)
			}
		})
	}
	wg.Wait()
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

// Several requests at once in one browser: each answer is for its own.
func TestPickersSideBySide(t *testing.T) {
	tool := startPicker(t, "deep_linking {\nallow role learner\n}")
	b := newBrowser(t)
	var choices []*choosing
	for i := range 4 {
		diff := ltitest.With(wantsContent(map[string]any{"data": fmt.Sprint("data-", i)}), map[string]any{ltitest.Claim("roles"): []string{"http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"}})
		choices = append(choices, tool.choose(b, tool.mustLaunch(b, diff).Header.Get("Location")))
	}
	for i, id := range []string{"/ch1.html", "/ch2.html", "/quiz/", "/"} {
		choices[i].press("add", id)
	}
	for i, c := range choices {
		if got := tool.told(t, c.send("answer"))[claimDeepLink+"data"]; got != fmt.Sprint("data-", i) {
			t.Errorf("choice %d answers %v", i, got)
		}
	}
	// And an instructor may not, where only learners are named.
	if res := tool.launch(newBrowser(t), wantsContent(nil)); res.StatusCode != http.StatusForbidden {
		t.Errorf("an instructor: %d", res.StatusCode)
	}
}

// Files that change, and lists of the app.
func TestPickerFollowsTheSite(t *testing.T) {
	var (
		mu   sync.Mutex
		list = `{"items": [{"path": "/from-the-app", "title": "From the app", "score_maximum": 3}]}`
	)
	app := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = w.Write([]byte(list))
	})
	dir := pages(t, map[string]string{"a.html": htmlPage("Page a", ""), "items.json": `[{"path": "/from-a-file", "title": "From a file"}]`})
	tool := startTool(t, "items {\nfolder .\njson /items.json "+app+"/items.json\n}", "root * "+dir+"\n\tfile_server")
	b := newBrowser(t)
	where := tool.request(b, nil)
	titles := func() []string { return tool.choose(b, where).titles() }
	if got, want := titles(), []string{"From a file", "From the app", "Page a"}; !slices.Equal(got, want) {
		t.Fatalf("there are %q, expected %q", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.html"), []byte(htmlPage("Page b", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "a.html")); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	list = `[{"path": "/newer", "title": "Newer"}]`
	mu.Unlock()
	until(t, "what has changed", func() bool { return slices.Equal(titles(), []string{"From a file", "Newer", "Page b"}) })
	// A list that breaks leaves what was there, and says so.
	mu.Lock()
	list = `[{"path": "https://evil.example/", "title": "Elsewhere"}]`
	mu.Unlock()
	until(t, "the trouble in the log", func() bool { titles(); return strings.Contains(tool.log.String(), "items.json") })
	if got := tool.choose(b, where); !slices.Equal(got.titles(), []string{"From a file", "Newer", "Page b"}) || !strings.Contains(got.res.body, "could not be read") {
		t.Errorf("with a broken list: %q", got.titles())
	}
}

// The app's own picker: by the API, and by its page.
func TestAppChoosesContent(t *testing.T) {
	var (
		mu    sync.Mutex
		token string
		seen  http.Header
		at    string // where the newest request landed
	)
	app := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = r.Header.Clone()
		token = r.Header.Get("X-LTI-Token")
	})
	tool := startTool(t, "api\ndeep_linking app /choose", "reverse_proxy "+strings.TrimPrefix(app, "http://"))
	b := newBrowser(t)
	begin := func(settings map[string]any) (token string) {
		t.Helper()
		where := tool.request(b, settings)
		if !strings.HasPrefix(where, tool.url("/choose?lti_launch_id=")) {
			t.Fatalf("the request lands at %s", where)
		}
		at = where
		b.get(where)
		mu.Lock()
		defer mu.Unlock()
		return seen.Get("X-LTI-Token")
	}
	call := func(token, body string, header ...string) *answer {
		t.Helper()
		header = append([]string{"Authorization", "Bearer " + token, "Content-Type", "application/json"}, header...)
		res := b.do(b.request("POST", tool.url("/lti/api/v1/deeplink"), strings.NewReader(body), header...))
		validate(t, "POST", "deeplink", res)
		return res
	}
	first := begin(map[string]any{"accept_lineitem": false, "accept_multiple": false})
	for name, want := range map[string]string{
		"X-Lti-Message-Type": "LtiDeepLinkingRequest", "X-Lti-Accept-Types": "ltiResourceLink,link", "X-Lti-Accept-Targets": "iframe,window",
		"X-Lti-Accept-Multiple": "false", "X-Lti-Accept-Line-Item": "false",
	} {
		if got := seen.Get(name); got != want {
			t.Errorf("%s is %q, expected %q", name, got, want)
		}
	}
	for name := range seen {
		if strings.Contains(strings.Join(seen[name], " "), "opaque") || strings.Contains(strings.Join(seen[name], " "), "token=a") {
			t.Errorf("%s gives away what is the platform's: %s", name, seen[name])
		}
	}
	launch := b.do(b.request("GET", tool.url("/lti/api/v1/launch"), nil, "Authorization", "Bearer "+first))
	validate(t, "GET", "launch", launch)
	if takes, _ := launch.json(t)["deep_linking"].(map[string]any); takes["accept_lineitem"] != false || takes["data"] != nil || takes["deep_link_return_url"] != nil {
		t.Errorf("the launch is %s", launch.body)
	}
	item := fmt.Sprintf(`{"type": "ltiResourceLink", "url": %q, "title": "Quiz", "lineItem": {"scoreMaximum": 5}}`, tool.url("/quiz/7"))
	for _, tt := range []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"two", `{"content_items": [` + item + `,` + item + `]}`, 422, "invalid", "content_items"},
		{"another site", `{"content_items": [{"type": "ltiResourceLink", "url": "https://evil.example/"}]}`, 422, "invalid", "content_items[0].url"},
		{"the tool's own", `{"content_items": [{"type": "ltiResourceLink", "url": "` + tool.url("/lti/launch") + `"}]}`, 422, "invalid", "content_items[0].url"},
		{"around a corner", `{"content_items": [{"type": "ltiResourceLink", "url": "` + tool.url("/a/../lti/launch") + `"}]}`, 422, "invalid", "content_items[0].url"},
		{"a type", `{"content_items": [{"type": "file", "url": "https://a.example/x"}]}`, 422, "invalid", "content_items[0].type"},
		{"a way to show", `{"content_items": [{"type": "link", "url": "https://a.example/x", "embed": {"html": "<b>"}}]}`, 422, "invalid", "content_items[0].embed"},
		{"misspelt", `{"content_items": [{"type": "link", "uri": "https://a.example/x"}]}`, 422, "invalid", "content_items[0].uri"},
		{"no JSON", `{`, 400, "body_malformed", ""},
		{"too large", `{"msg": "` + strings.Repeat("x", 300<<10) + `"}`, 422, "request_too_large", ""},
	} {
		res := call(first, tt.body)
		got := res.json(t)
		if field, _ := got["field"].(string); res.StatusCode != tt.status || got["code"] != tt.code || field != tt.field {
			t.Errorf("%s: %d %s", tt.name, res.StatusCode, res.body)
		}
	}
	// What was refused can be put right. The line item, which the platform does
	// not take, is left out.
	res := call(first, `{"content_items": [`+item+`], "msg": "Well chosen"}`, "Accept", "application/json")
	sent := res.json(t)
	if res.StatusCode != http.StatusOK || sent["return_url"] != returnURL {
		t.Fatalf("got %d %s", res.StatusCode, res.body)
	}
	claims := tool.verify(t, sent["jwt"].(string))
	got := claims[claimDeepLink+"content_items"].([]any)
	if len(got) != 1 || got[0].(map[string]any)["lineItem"] != nil || claims[claimDeepLink+"msg"] != "Well chosen" {
		t.Errorf("the platform is told %v", claims)
	}
	if res := call(first, `{}`); res.StatusCode != http.StatusConflict || res.json(t)["code"] != "deep_link_used" {
		t.Errorf("a second time: %d %s", res.StatusCode, res.body)
	}
	// As a page, which posts itself.
	second := begin(nil)
	if got := tool.told(t, call(second, `{"content_items": [`+item+`,`+item+`]}`))[claimDeepLink+"content_items"].([]any); len(got) != 2 {
		t.Errorf("as a page: %v", got)
	}
	// From the app's own page, as a form and as JSON.
	for _, asJSON := range []bool{false, true} {
		begin(nil)
		body, kind := url.Values{"content_items": {"[" + item + "]"}, "errormsg": {"<b>"}}.Encode(), "application/x-www-form-urlencoded"
		if asJSON {
			body, kind = `{"content_items": [`+item+`], "errormsg": "<b>"}`, "application/json"
		}
		post := func(body string, header ...string) *answer {
			t.Helper()
			return b.do(b.request("POST", tool.url("/lti/deeplink"), strings.NewReader(body), append([]string{"Content-Type", kind, "Sec-Fetch-Mode", "navigate", "Referer", at}, header...)...))
		}
		if res := post(body, "Sec-Fetch-Site", "cross-site"); res.StatusCode != http.StatusForbidden {
			t.Errorf("from another site: %d", res.StatusCode)
		}
		wrong := strings.Replace(body, "ltiResourceLink", "html", 1)
		if res := post(wrong, "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(res.body, "content_items[0].") {
			t.Errorf("with a wrong item: %d %s", res.StatusCode, res.body)
		}
		claims := tool.told(t, post(body, "Sec-Fetch-Site", "same-origin"))
		if len(claims[claimDeepLink+"content_items"].([]any)) != 1 || claims[claimDeepLink+"errormsg"] != "<b>" {
			t.Errorf("from the page: %v", claims)
		}
	}
	// A launch of an activity has nothing to answer.
	tool.mustLaunch(b, nil)
	b.get(tool.url("/"))
	mu.Lock()
	other := token
	mu.Unlock()
	if res := call(other, `{}`); res.StatusCode != http.StatusConflict || res.json(t)["code"] != "service_missing" {
		t.Errorf("without a request: %d %s", res.StatusCode, res.body)
	}
}

// Without items and deep_linking, requests for content are refused.
func TestDeepLinkingIsOff(t *testing.T) {
	tool := startTool(t, "api", echo)
	if res := tool.launch(newBrowser(t), wantsContent(nil)); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a request: %d %s", res.StatusCode, res.body)
	}
	b := newBrowser(t)
	tool.mustLaunch(b, map[string]any{ltitest.Claim("roles"): []string{roleInstructor}})
	for _, path := range []string{"/lti/pick", "/lti/deeplink"} {
		if res := b.post(tool.url(path), "", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// A folder of 20,000 pages: searching is quick, and the server stays small.
func TestPickerOfALargeSite(t *testing.T) {
	const count = 20_000
	files := make(map[string]string, count)
	for i := range count {
		files[fmt.Sprintf("part-%d/page-%d.html", i/200, i)] = htmlPage(fmt.Sprintf("Lesson %d of part %d", i, i/200), `<meta name="description" content="`+strings.Repeat("words about it ", 10)+`">`)
	}
	tool := startTool(t, "items {\nfolder .\n}", "root * "+pages(t, files)+"\n\tfile_server")
	b := newBrowser(t)
	where := tool.request(b, nil)
	before := residentMemory(t, tool.caddy)
	until(t, "the list to be read", func() bool { return strings.Contains(b.get(where).body, fmt.Sprint("of ", count)) })
	c := tool.choose(b, where)
	c.form.Set("q", "lesson 12345")
	begun := time.Now()
	c.press("do", "search")
	t.Logf("searching took %s, %d MB more resident", time.Since(begun), (residentMemory(t, tool.caddy)-before)>>20)
	if got := c.titles(); !slices.Equal(got, []string{"Lesson 12345 of part 61"}) {
		t.Errorf("found %q", got)
	}
	c.press("add", "/part-61/page-12345.html")
	if got := tool.told(t, c.send("answer"))[claimDeepLink+"content_items"].([]any); len(got) != 1 {
		t.Errorf("told %v", got)
	}
	if more := residentMemory(t, tool.caddy) - before; more > 300<<20 { // with the race detector, which takes five to ten times as much
		t.Errorf("%d MB for %d pages", more>>20, count)
	}
}

// Two requests under way in one browser, from two courses: what the page of one
// answers goes to that one's course, and where it is not clear, to none.
func TestAppChoosesContentForTheRightCourse(t *testing.T) {
	var mu sync.Mutex
	var token string
	app := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		token = r.Header.Get("X-LTI-Token")
	})
	tool := startTool(t, "api\ndeep_linking app", "reverse_proxy "+strings.TrimPrefix(app, "http://"))
	b := newBrowser(t)
	begin := func(course string) (where string) {
		t.Helper()
		diff := ltitest.With(wantsContent(map[string]any{"data": course}), map[string]any{
			ltitest.Claim("context"): map[string]any{"id": course}, ltitest.Claim("target_link_uri"): tool.url("/choose?x=1#part"),
		})
		where = tool.mustLaunch(b, diff).Header.Get("Location")
		if !strings.HasPrefix(where, tool.url("/choose?x=1&lti_launch_id=")) || !strings.HasSuffix(where, "#part") {
			t.Fatalf("it lands at %s", where)
		}
		return where
	}
	first, second := begin("course-a"), begin("course-b")
	answer := func(from string) *answer {
		t.Helper()
		b.get(tool.url("/save"), "Referer", from)
		mu.Lock()
		defer mu.Unlock()
		return b.do(b.request("POST", tool.url("/lti/api/v1/deeplink"), strings.NewReader("{}"), "Authorization", "Bearer "+token, "Content-Type", "application/json"))
	}
	if res := answer(""); res.StatusCode != http.StatusConflict || res.json(t)["code"] != "launch_ambiguous" {
		t.Errorf("of neither page: %d %s", res.StatusCode, res.body)
	}
	if res := b.post(tool.url("/lti/deeplink"), "content_items=[]", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusConflict || sentJWT.MatchString(res.body) {
		t.Errorf("a form of neither page: %d %s", res.StatusCode, res.body)
	}
	if got := tool.told(t, answer(first))[claimDeepLink+"data"]; got != "course-a" {
		t.Errorf("the first page answers %v", got)
	}
	if got := tool.told(t, b.post(tool.url("/lti/deeplink"), "content_items=[]", "Sec-Fetch-Site", "same-origin", "Referer", second))[claimDeepLink+"data"]; got != "course-b" {
		t.Errorf("the second page answers %v", got)
	}
}

// A folder within the site's root needs to know that.
func TestPickerWithoutARoot(t *testing.T) {
	dir := pages(t, course)
	tool := startTool(t, "items {\nfolder .\n}", "file_server {\nroot "+dir+"\n}")
	b := newBrowser(t)
	if res := b.get(tool.request(b, nil)); res.StatusCode != http.StatusServiceUnavailable || strings.Contains(res.body, "html</p>") {
		t.Errorf("got %d %s", res.StatusCode, res.body)
	}
	until(t, "the reason in the log", func() bool { return strings.Contains(tool.log.String(), "write root * DIR in the site") })
}

// A list that hangs keeps neither a launch nor the picker waiting for long.
func TestPickerOfASlowSite(t *testing.T) {
	release := make(chan struct{})
	app := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	tool := startTool(t, "items {\nitem /here \"Here\"\njson "+app+"/items.json\n}", echo)
	begun := time.Now()
	res := tool.mustLaunch(newBrowser(t), map[string]any{
		ltitest.Claim("target_link_uri"): tool.url("/lti/launch"), ltitest.Claim("custom"): map[string]string{"item": "elsewhere"},
	})
	if res.Header.Get("Location") != tool.url("/") || time.Since(begun) > 3*time.Second { // the list may take 5 s
		t.Errorf("a launch lands at %s after %s", res.Header.Get("Location"), time.Since(begun))
	}
	b := newBrowser(t)
	c := tool.choose(b, tool.request(b, nil))
	if !strings.Contains(c.res.body, "still being read") {
		t.Errorf("the picker shows %s", c.res.body)
	}
	close(release)
	until(t, "the list to be there", func() bool {
		c.press("do", "search")
		return slices.Equal(c.titles(), []string{"Here"})
	})
}
