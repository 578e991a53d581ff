package caddylti

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what stands beside lti in a Caddyfile
)

var updateGoldens = flag.Bool("update", false, "rewrite the JSON in testdata/adapt")

// golden is a file of testdata/adapt: a Caddyfile, a line of ten dashes, and
// what becomes of it. For files that begin with bad_, that is a part of the error
// of adapting; for invalid_, a part of the error of validating what could be
// adapted; for all others, the JSON. A first line "# validate" asks for
// validating the JSON too.
type golden struct {
	name, caddyfile, expected string
}

const goldenDashes = "\n----------\n"

func readGoldens(tb testing.TB) []golden {
	tb.Helper()
	names, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(names) == 0 {
		tb.Fatal("no goldens", err)
	}
	var all []golden
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "\r\n", "\n")
		source, expected, ok := strings.Cut(text, goldenDashes)
		if !ok {
			tb.Fatalf("%s has no line of ten dashes", name)
		}
		name = strings.TrimSuffix(filepath.Base(name), ".caddyfiletest")
		all = append(all, golden{name, source + "\n", strings.TrimSpace(expected)})
	}
	return all
}

func (g golden) bad() bool     { return strings.HasPrefix(g.name, "bad_") }
func (g golden) invalid() bool { return strings.HasPrefix(g.name, "invalid_") }
func (g golden) good() bool    { return !g.bad() && !g.invalid() }

// setGoldenEnv gives the placeholders of the goldens their values.
func setGoldenEnv(t *testing.T) {
	t.Helper()
	t.Setenv("CADDYLTI_TEST_HOST", "lms.example.edu")
	t.Setenv("CADDYLTI_TEST_CLIENT", "tool")
	t.Setenv("CADDYLTI_TEST_KEY", "0123456789abcdefghijkl")
	t.Setenv("CADDYLTI_TEST_DEPLOYMENT", "1")
}

func adaptCaddyfile(source string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), nil)
}

// validateJSON does what caddy validate does, and then looks whether all was
// given back.
func validateJSON(t *testing.T, config []byte) error {
	t.Helper()
	cfg := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(config, cfg); err != nil {
		t.Fatalf("the JSON cannot be loaded: %v", err)
	}
	err := caddy.Validate(cfg)
	for name, pool := range map[string]*caddy.UsagePool{"backends": backends, "keySets": keySets} {
		pool.Range(func(key, _ any) bool {
			refs, _ := pool.References(key)
			t.Errorf("after validating, %d references to %v are left in %s", refs, key, name)
			return true
		})
	}
	return err
}

func TestAdapt(t *testing.T) {
	setGoldenEnv(t)
	for _, g := range readGoldens(t) {
		t.Run(g.name, func(t *testing.T) {
			if formatted := string(caddyfile.Format([]byte(g.caddyfile))); formatted != g.caddyfile {
				t.Errorf("the Caddyfile is not formatted; caddy fmt makes of it:\n%s", formatted)
			}
			out, warnings, err := adaptCaddyfile(g.caddyfile)
			if g.bad() {
				if err == nil {
					t.Fatalf("no error; expected %s", g.expected)
				}
				if !strings.Contains(err.Error()+"\n", g.expected+"\n") {
					t.Errorf("expected an error that ends in\n%s\ngot\n%s", g.expected, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				t.Errorf("warning: %s", w)
			}
			if g.invalid() {
				if err := validateJSON(t, out); err == nil {
					t.Errorf("valid; expected %s", g.expected)
				} else if !strings.Contains(err.Error(), g.expected) {
					t.Errorf("expected an error with\n%s\ngot\n%s", g.expected, err)
				}
				return
			}
			// file_server hides the Caddyfile, spelled as the system does it.
			own, _ := json.Marshal("." + string(filepath.Separator) + "Caddyfile")
			out = bytes.ReplaceAll(out, own, []byte(`"./Caddyfile"`))
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, out, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if *updateGoldens {
				name := filepath.Join("testdata", "adapt", g.name+".caddyfiletest")
				data := strings.TrimSuffix(g.caddyfile, "\n") + goldenDashes + pretty.String() + "\n"
				if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if pretty.String() != g.expected {
				t.Errorf("expected\n%s\ngot\n%s", g.expected, pretty.String())
			}
			if strings.HasPrefix(g.caddyfile, "# validate\n") {
				if err := validateJSON(t, out); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// lti stands before redir and with it before everything that changes a path,
// wherever it is written.
func TestAdaptOrder(t *testing.T) {
	for _, g := range readGoldens(t) {
		if !strings.HasPrefix(g.name, "order_") {
			continue
		}
		var handlers []string
		walkJSON(t, g.expected, func(_ string, obj map[string]any) {
			if name, ok := obj["handler"].(string); ok && name != "subroute" {
				handlers = append(handlers, name)
			}
		})
		at := slices.Index(handlers, "lti")
		for i, name := range handlers {
			switch name {
			case "lti":
			case "vars", "headers": // of root, vars and header: these run before
				if i > at {
					t.Errorf("%s: %s stands behind lti in %v; the documentation says otherwise", g.name, name, handlers)
				}
			default:
				if i < at {
					t.Errorf("%s: %s stands before lti in %v", g.name, name, handlers)
				}
			}
		}
		if at < 0 || len(handlers) < 2 {
			t.Errorf("%s: handlers %v", g.name, handlers)
		}
	}
}

// walkJSON visits every object of a document, with the name under which it
// stands, in the order of the document's lists.
func walkJSON(t *testing.T, doc string, visit func(under string, obj map[string]any)) {
	t.Helper()
	var root any
	if err := json.Unmarshal([]byte(doc), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(under string, node any)
	walk = func(under string, node any) {
		switch node := node.(type) {
		case map[string]any:
			visit(under, node)
			for _, name := range slices.Sorted(maps.Keys(node)) {
				walk(name, node[name])
			}
		case []any:
			for _, item := range node {
				walk(under, item)
			}
		}
	}
	walk("", root)
}

// ourObjects is what a configuration says to us: the objects of our modules,
// without the member that names the module.
type ourObjects struct {
	handlers, matchers, apps, bolts, redises []map[string]any
}

func objectsOf(t *testing.T, doc string) ourObjects {
	t.Helper()
	without := func(obj map[string]any, name string) map[string]any {
		obj = maps.Clone(obj)
		delete(obj, name)
		return obj
	}
	var found ourObjects
	walkJSON(t, doc, func(under string, obj map[string]any) {
		switch {
		case obj["handler"] == "lti":
			found.handlers = append(found.handlers, without(obj, "handler"))
		case obj["backend"] == "bolt":
			found.bolts = append(found.bolts, without(obj, "backend"))
		case obj["backend"] == "redis":
			found.redises = append(found.redises, without(obj, "backend"))
		case under == "match" || under == "not":
			if m, ok := obj["lti"].(map[string]any); ok {
				found.matchers = append(found.matchers, m)
			}
		case under == "apps":
			if a, ok := obj["lti"].(map[string]any); ok {
				found.apps = append(found.apps, a)
			}
		}
	})
	return found
}

// Whatever JSON can say, a Caddyfile can too.
func TestCaddyfileCanSayWhatJSONCan(t *testing.T) {
	seen := make(map[string]map[string]bool) // type → members
	note := func(typ string, objs ...map[string]any) {
		for _, obj := range objs {
			if seen[typ] == nil {
				seen[typ] = make(map[string]bool)
			}
			for name := range obj {
				seen[typ][name] = true
			}
		}
	}
	inner := func(obj map[string]any, name string) []map[string]any {
		switch v := obj[name].(type) {
		case map[string]any:
			return []map[string]any{v}
		case []any:
			var objs []map[string]any
			for _, item := range v {
				objs = append(objs, item.(map[string]any))
			}
			return objs
		}
		return nil
	}
	for _, g := range readGoldens(t) {
		if !g.good() {
			continue
		}
		objs := objectsOf(t, g.expected)
		note("Handler", objs.handlers...)
		note("Matcher", objs.matchers...)
		note("App", objs.apps...)
		note("BoltStore", objs.bolts...)
		note("RedisStore", objs.redises...)
		for _, h := range objs.handlers {
			note("Platform", inner(h, "platforms")...)
			note("SessionLimits", inner(h, "session")...)
		}
		for _, a := range objs.apps {
			note("HTTPClient", inner(a, "http_client")...)
		}
	}
	for _, typ := range configTypes {
		for _, tag := range jsonTags(t, typ) {
			if !seen[typ.Name()][tag] {
				t.Errorf("%s: no golden has %q: can the Caddyfile not say it?", typ.Name(), tag)
			}
		}
	}
}

// configTypes are the types whose fields make up our configuration.
var configTypes = []reflect.Type{
	reflect.TypeFor[Handler](), reflect.TypeFor[Platform](), reflect.TypeFor[SessionLimits](), reflect.TypeFor[Matcher](),
	reflect.TypeFor[App](), reflect.TypeFor[HTTPClient](), reflect.TypeFor[BoltStore](), reflect.TypeFor[MemoryStore](), reflect.TypeFor[RedisStore](),
}

// jsonTags returns the names that the fields of a type have in JSON.
func jsonTags(t *testing.T, typ reflect.Type) []string {
	t.Helper()
	var tags []string
	for f := range typ.Fields() {
		if !f.IsExported() {
			continue
		}
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch tag {
		case "":
			t.Errorf("%s.%s has no name in JSON", typ.Name(), f.Name)
		case "-":
		default:
			tags = append(tags, tag)
		}
	}
	return tags
}

// The JSON loads, without an unknown member, into what the Caddyfile was parsed
// to.
func TestGoldenJSONLoadsBack(t *testing.T) {
	for _, g := range readGoldens(t) {
		if !g.good() {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			objs := objectsOf(t, g.expected)
			for _, obj := range objs.matchers {
				loadBack(t, obj, new(Matcher))
			}
			for _, obj := range objs.apps {
				loadBack(t, obj, new(App))
			}
			for _, obj := range objs.bolts {
				loadBack(t, obj, new(BoltStore))
			}
			for _, obj := range objs.redises {
				loadBack(t, obj, new(RedisStore))
			}
			var loaded []*Handler
			for _, obj := range objs.handlers {
				h := new(Handler)
				loadBack(t, obj, h)
				loaded = append(loaded, h)
			}
			for _, parsed := range parseHandlers(t, g.caddyfile) {
				if !slices.ContainsFunc(loaded, func(h *Handler) bool { return reflect.DeepEqual(h, parsed) }) {
					t.Errorf("none of the handlers of the JSON is\n%+v", parsed)
				}
			}
			if len(loaded) == 0 {
				t.Error("no handler")
			}
		})
	}
}

func loadBack(t *testing.T, obj map[string]any, to any) {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.StrictUnmarshalJSON(data, to); err != nil {
		t.Fatalf("%T: %v", to, err)
	}
	if data, err = json.Marshal(to); err != nil {
		t.Fatal(err)
	}
	var again map[string]any
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, obj) {
		t.Errorf("%T: loaded %v, got back %v", to, obj, again)
	}
}

// parseHandlers parses the lti blocks at the top level of a Caddyfile's sites.
func parseHandlers(t *testing.T, source string) []*Handler {
	t.Helper()
	blocks, err := caddyfile.Parse("Caddyfile", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var handlers []*Handler
	for _, block := range blocks {
		if len(block.Keys) == 0 {
			continue // global options
		}
		for _, segment := range block.Segments {
			if segment.Directive() != "lti" {
				continue
			}
			h := new(Handler)
			if err := h.UnmarshalCaddyfile(caddyfile.NewDispenser(segment)); err != nil {
				t.Fatal(err)
			}
			handlers = append(handlers, h)
		}
	}
	return handlers
}

// The JSON can say what no Caddyfile can; it is not believed for that.
func TestValidateJSONMistakes(t *testing.T) {
	const platform = `{"name":"moodle","issuer":"https://moodle.example.edu","preset":"moodle","client_id":"x","deployments":["1"]}`
	for _, tc := range []struct{ name, handler, want string }{
		{"good", `"platforms":[` + platform + `]`, ""},
		{"no platform", ``, "no platform"},
		{"null platform", `"platforms":[null]`, "platform: null"},
		{"platform without a name", `"platforms":[{"issuer":"https://moodle.example.edu","preset":"moodle","client_id":"x","deployments":["1"]}]`, `platform name ""`},
		{"platform with a bad name", `"platforms":[{"name":"A b","issuer":"https://moodle.example.edu","preset":"moodle","client_id":"x","deployments":["1"]}]`, `platform name "A b"`},
		{"two of a name", `"platforms":[` + platform + `,{"name":"moodle","preset":"canvas","client_id":"y","deployments":["any"]}]`, "two platforms are named moodle"},
		{"unknown preset", `"platforms":[{"name":"a","preset":"x","client_id":"y","deployments":["any"]}]`, `unknown preset "x"`},
		{"user scope", `"platforms":[{"name":"a","preset":"canvas","user_scope":"x","client_id":"y","deployments":["any"]}]`, `user_scope "x"`},
		{"leeway", `"platforms":[{"name":"a","preset":"canvas","leeway":-1,"client_id":"y","deployments":["any"]}]`, `leeway -1ns`},
		{"algorithm", `"platforms":[{"name":"a","preset":"canvas","algorithms":["none"],"client_id":"y","deployments":["any"]}]`, `algorithm "none"`},
		{"base", `"base":"lti","platforms":[` + platform + `]`, `base "lti"`},
		{"base with a slash", `"base":"/lti/","platforms":[` + platform + `]`, `base "/lti/"`},
		{"home", `"home":"start","platforms":[` + platform + `]`, `home "start"`},
		{"public", `"public":["*"],"platforms":[` + platform + `]`, `public "*"`},
		{"protect", `"protect":["x"],"platforms":[` + platform + `]`, `protect "x"`},
		{"unauthenticated", `"unauthenticated":"let in","platforms":[` + platform + `]`, `unauthenticated "let in"`},
		{"anonymous", `"anonymous":"yes","platforms":[` + platform + `]`, `anonymous "yes"`},
		{"user", `"user":"name","platforms":[` + platform + `]`, `user "name"`},
		{"headers", `"headers":"all","platforms":[` + platform + `]`, `headers "all"`},
		{"header", `"extra_headers":{"remote_user":"x"},"platforms":[` + platform + `]`, `header "remote_user"`},
		{"header of ours", `"extra_headers":{"remote-user":"x"},"platforms":[` + platform + `]`, `header remote-user`},
		{"header twice", `"extra_headers":{"X-A":"x","x-a":"y"},"platforms":[` + platform + `]`, `header X-A is there twice`},
		{"header with an unknown placeholder", `"extra_headers":{"X-A":"{http.lti.nothing}"},"platforms":[` + platform + `]`, `header X-A: there is no placeholder {http.lti.nothing}`},
		{"role", `"allow_roles":["teacher"],"platforms":[` + platform + `]`, `unknown role "teacher"`},
		{"session", `"session":{"idle":-1},"platforms":[` + platform + `]`, "session: idle and max have to be at least 1s"},
		{"session idle longer than max", `"session":{"idle":"3h","max":"2h"},"platforms":[` + platform + `]`, "session: idle (3h0m0s) is longer than max (2h0m0s)"},
		{"message resource link", `"messages":{"LtiResourceLinkRequest":""},"platforms":[` + platform + `]`, "message LtiResourceLinkRequest"},
		{"message deep linking", `"messages":{"LtiDeepLinkingRequest":"/x"},"platforms":[` + platform + `]`, "message LtiDeepLinkingRequest"},
		{"forward auth", `"forward_auth":["x"],"platforms":[` + platform + `]`, "forward_auth: "},
		{"url", `"url":"https://tool.example.edu/x","platforms":[` + platform + `]`, `url "https://tool.example.edu/x"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			handler := `{"handler":"lti"}`
			if tc.handler != "" {
				handler = `{"handler":"lti",` + tc.handler + `}`
			}
			err := validateJSON(t, []byte(`{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":[":9080"],"routes":[{"match":[{"host":["tool.example.edu"]}],"handle":[`+handler+`]}]}}}}}`))
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("expected an error with %s, got %v", tc.want, err)
			}
		})
	}
	for _, app := range []string{
		`{"http_client":{"timeout":-1}}`, `{"http_client":{"timeout":"61s"}}`, `{"http_client":{"allow_private":["x"]}}`, `{"store":{"backend":"x"}}`,
		`{"store":{"backend":"bolt","path":"{env.CADDYLTI_TEST_MISSING}"}}`, `{"storage":{}}`,
	} {
		if err := validateJSON(t, []byte(`{"admin":{"disabled":true},"apps":{"lti":`+app+`}}`)); err == nil {
			t.Errorf("%s is valid", app)
		}
	}
}

// A base that no request can reach is said at load: a block in handle /wiki/* with the
// base /lti, say.
func TestBaseOutside(t *testing.T) {
	for _, tc := range []struct {
		name, site string
		warned     bool
	}{
		{"site", "tool.example.edu {\n lti {\n import platform\n }\n}", false},
		{"handle", "tool.example.edu {\n handle /wiki/* {\n lti {\n import platform\n }\n }\n}", true},
		{"handle_path", "tool.example.edu {\n handle_path /wiki/* {\n lti {\n import platform\n }\n }\n}", true},
		{"site with a path", "tool.example.edu/wiki/* {\n lti {\n import platform\n }\n}", true},
		{"another folder", "tool.example.edu {\n handle /wiki/* {\n lti {\n base /quiz/lti\n import platform\n }\n }\n}", true},
		{"base below", "tool.example.edu {\n handle /wiki/* {\n lti {\n base /wiki/lti\n import platform\n }\n }\n}", false},
		{"base below, second handle", "tool.example.edu {\n handle /quiz/* {\n respond x\n }\n handle /wiki/* {\n lti {\n base /wiki/lti\n import platform\n }\n }\n}", false},
		{"stripped inside", "tool.example.edu {\n handle_path /a/* {\n handle /b/* {\n lti {\n base /a/b/lti\n import platform\n }\n }\n }\n}", false},
		{"one of several", "tool.example.edu {\n @some path /wiki/* /lti/*\n handle @some {\n lti {\n import platform\n }\n }\n}", false},
		{"no path", "tool.example.edu {\n @some method GET POST\n handle @some {\n lti {\n import platform\n }\n }\n}", false},
		{"route", "tool.example.edu {\n route {\n lti {\n import platform\n }\n }\n}", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logged := filepath.Join(t.TempDir(), "log")
			out, _, err := adaptCaddyfile("{\n admin off\n log {\n output file " + filepath.ToSlash(logged) + "\n }\n}\n(platform) {\n platform canvas {\n preset canvas\n client_id x\n deployment any\n }\n}\n" + tc.site)
			if err != nil {
				t.Fatal(err)
			}
			if err := validateJSON(t, out); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(logged)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(data), "never reached"); got != tc.warned {
				t.Errorf("warned: %v, want %v; the log:\n%s", got, tc.warned, data)
			}
		})
	}
}

// A configuration that is only looked at leaves nothing behind: caddy validate,
// and a reload that fails, may come as often as they like.
func TestValidateLeaksNothing(t *testing.T) {
	setGoldenEnv(t)
	configs := make(map[string][]byte)
	for _, g := range readGoldens(t) {
		switch g.name {
		case "everything", "platforms", "two_blocks", "matcher_block", "invalid_same_issuer_and_client_id":
			out, _, err := adaptCaddyfile(g.caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			configs[g.name] = out
		}
	}
	if len(configs) != 5 {
		t.Fatalf("%d of 5 goldens", len(configs))
	}
	validateAll := func() {
		for name, config := range configs {
			if err := validateJSON(t, config); (err != nil) != strings.HasPrefix(name, "invalid_") {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	validateAll() // what is made once a process is not a leak
	before := runtime.NumGoroutine()
	for range 50 {
		validateAll()
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines, then %d\n%s", before, after, stacks[:runtime.Stack(stacks, true)])
	}
}
