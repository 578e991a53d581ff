package e2e

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// bidi is a client of WebDriver BiDi, which Firefox speaks by itself.
type bidi struct {
	conn *websocket.Conn

	mu      sync.Mutex
	last    int                       // number of the last command
	waiting map[int]chan *bidiMessage // for the answer to a command
	created []string                  // tabs and frames in the order in which they came
	lost    error                     // why the connection ended
}

// bidiMessage is whatever the browser sends: an answer or an event.
type bidiMessage struct {
	Type    string // success, error, event
	ID      int
	Result  json.RawMessage
	Error   string
	Message string
	Method  string
	Params  struct {
		Context string // of browsingContext.contextCreated
	}
}

// dialBidi connects to a browser and opens a session that takes any certificate.
func dialBidi(ctx context.Context, url string) (*bidi, error) {
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(64 << 20) // pictures are large
	b := &bidi{conn: conn, waiting: make(map[int]chan *bidiMessage)}
	go b.read()
	err = b.call(ctx, "session.new", map[string]any{
		"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true}},
	}, nil)
	if err != nil {
		return nil, err
	}
	return b, b.call(ctx, "session.subscribe", map[string]any{"events": []string{"browsingContext.contextCreated"}}, nil)
}

// read hands out what the browser sends until the connection ends.
func (b *bidi) read() {
	for {
		m := new(bidiMessage)
		err := wsjson.Read(context.Background(), b.conn, m)
		b.mu.Lock()
		switch {
		case err != nil:
			b.lost = fmt.Errorf("the connection to Firefox ended: %w", err)
			for _, answer := range b.waiting {
				close(answer)
			}
			b.mu.Unlock()
			return
		case m.Type == "event":
			b.created = append(b.created, m.Params.Context)
		default:
			if answer := b.waiting[m.ID]; answer != nil {
				delete(b.waiting, m.ID)
				answer <- m
			}
		}
		b.mu.Unlock()
	}
}

// call sends a command and decodes its result into result, if that is not nil.
func (b *bidi) call(ctx context.Context, method string, params map[string]any, result any) error {
	answer := make(chan *bidiMessage, 1)
	b.mu.Lock()
	if b.lost != nil {
		b.mu.Unlock()
		return b.lost
	}
	b.last++
	id := b.last
	b.waiting[id] = answer
	b.mu.Unlock()
	// The command has no deadline while it is written: one that ends there would
	// end the connection.
	err := wsjson.Write(context.Background(), b.conn, map[string]any{"id": id, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case <-ctx.Done():
		b.mu.Lock()
		delete(b.waiting, id)
		b.mu.Unlock()
		return fmt.Errorf("%s: %w", method, ctx.Err())
	case m := <-answer:
		switch {
		case m == nil:
			return fmt.Errorf("%s: %w", method, b.lost)
		case m.Type != "success":
			return fmt.Errorf("%s: %s: %s", method, m.Error, m.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(m.Result, result)
	}
}

// firefox is a running Firefox; it is an engine.
type firefox struct {
	*bidi
	first   string          // the first tab
	clicked map[string]bool // realms in which a script last ran as if clicked for
}

// firefoxPrefs makes a profile that shows tests nothing but their pages. Firefox
// itself sets more for automation (remote.prefs.recommended), but leaves alone
// what is set here.
var firefoxPrefs = map[string]any{
	"network.dns.forceResolve":                      "127.0.0.1", // every name is this machine: nothing goes out
	"network.trr.mode":                              5,
	"network.http.http3.enable":                     false,
	"dom.disable_open_during_load":                  true, // the popup blocker, which automation turns off
	"browser.aboutwelcome.enabled":                  false,
	"browser.startup.page":                          0,
	"browser.newtabpage.enabled":                    false,
	"browser.newtab.preload":                        false,
	"browser.backup.enabled":                        false,
	"browser.safebrowsing.downloads.remote.enabled": false,
	"app.normandy.enabled":                          false,
	"app.shield.optoutstudies.enabled":              false,
	"nimbus.rollouts.enabled":                       false,
	"toolkit.telemetry.enabled":                     false,
	"media.gmp-manager.updateEnabled":               false,
	"extensions.systemAddon.update.enabled":         false,
}

var firefoxListens = regexp.MustCompile(`WebDriver BiDi listening on (ws://\S+)`)

// newFirefox starts a Firefox with a fresh profile.
func newFirefox(tb testing.TB, cookies cookieSetting) *firefox {
	tb.Helper()
	prefs := maps.Clone(firefoxPrefs)
	switch cookies {
	case cookiesDefault:
	case thirdPartyAllowed:
		prefs["network.cookie.cookieBehavior"] = 0
	case thirdPartyBlocked:
		prefs["network.cookie.cookieBehavior"] = 1
	case allOff:
		prefs["network.cookie.cookieBehavior"] = 2
	default:
		tb.Fatalf("Firefox has no setting %s", cookies)
	}
	dir := tb.TempDir()
	var js strings.Builder
	for _, name := range slices.Sorted(maps.Keys(prefs)) {
		value, err := json.Marshal(prefs[name])
		if err != nil {
			tb.Fatal(err)
		}
		fmt.Fprintf(&js, "user_pref(%q, %s);\n", name, value)
	}
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(js.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	path, err := exec.LookPath("firefox-esr")
	if err != nil {
		if path, err = exec.LookPath("firefox"); err != nil {
			tb.Fatalf("Firefox is missing, see scripts/setup.sh: %v", err)
		}
	}

	// The shell ends the whole process group when its input ends: when the test
	// closes it, but also when the test is killed and cannot.
	cmd := exec.Command("sh", "-c", `"$@" & read -r _; kill -KILL $!; wait; kill -KILL 0`, "sh",
		path, "--headless", "--no-remote", "--profile", dir, "--remote-debugging-port", "0", "about:blank")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CACHE_HOME="+dir, "XDG_CONFIG_HOME="+dir, "TMPDIR="+dir,
		"MOZ_CRASHREPORTER_DISABLE=1", "MOZ_HEADLESS_WIDTH=1100", "MOZ_HEADLESS_HEIGHT=900")
	cmd.WaitDelay = 10 * time.Second
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	input, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	f := &firefox{clicked: make(map[string]bool)}
	tb.Cleanup(func() {
		if f.bidi != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = f.call(ctx, "session.end", map[string]any{}, nil) // it is killed in any case
			_ = f.conn.CloseNow()
		}
		_ = input.Close()
		_ = cmd.Wait()
		if tb.Failed() {
			tb.Logf("output of Firefox:\n%s", log)
		}
	})

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for firefoxListens.FindString(log.String()) == "" {
		select {
		case <-ctx.Done():
			tb.Fatal("Firefox did not start")
		case <-time.After(20 * time.Millisecond):
		}
	}
	f.bidi, err = dialBidi(ctx, firefoxListens.FindStringSubmatch(log.String())[1]+"/session")
	if err != nil {
		tb.Fatalf("connecting to Firefox: %v", err)
	}
	tabs, err := f.tabs(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	f.first = tabs[0]
	return f
}

// bidiContext is a tab or frame with what is in it.
type bidiContext struct {
	Context  string
	URL      string
	Children []bidiContext
}

func (f *firefox) tree(ctx context.Context) ([]bidiContext, error) {
	var tree struct{ Contexts []bidiContext }
	err := f.call(ctx, "browsingContext.getTree", map[string]any{}, &tree)
	return tree.Contexts, err
}

// tabs returns the tabs in the order in which they came.
func (f *firefox) tabs(ctx context.Context) ([]string, error) {
	tree, err := f.tree(ctx)
	if err != nil {
		return nil, err
	}
	tabs := make([]string, len(tree))
	for i, c := range tree {
		tabs[i] = c.Context
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(tabs, func(a, b string) int { return slices.Index(f.created, a) - slices.Index(f.created, b) })
	return tabs, nil
}

func (f *firefox) places(ctx context.Context) ([]place, error) {
	// Asked before the addresses: a document that leaves meanwhile takes its
	// realm along, so that no script runs in its successor.
	var realms struct {
		Realms []struct{ Realm, Type, Context, Sandbox string }
	}
	if err := f.call(ctx, "script.getRealms", map[string]any{"type": "window"}, &realms); err != nil {
		return nil, err
	}
	realm := make(map[string]string)
	for _, r := range realms.Realms {
		if r.Sandbox == "" {
			realm[r.Context] = r.Realm
		}
	}
	tree, err := f.tree(ctx)
	if err != nil {
		return nil, err
	}
	type found struct {
		place
		age int
	}
	var all []found
	f.mu.Lock()
	defer f.mu.Unlock()
	var walk func(tab string, level []bidiContext)
	walk = func(tab string, level []bidiContext) {
		for _, c := range level {
			of := cmp.Or(tab, c.Context)
			all = append(all, found{place{url: c.URL, tab: of, world: realm[c.Context]}, slices.Index(f.created, c.Context)})
			walk(of, c.Children)
		}
	}
	walk("", tree)
	slices.SortStableFunc(all, func(a, b found) int { return b.age - a.age })
	places := make([]place, len(all))
	for i, p := range all {
		places[i] = p.place
	}
	return places, nil
}

func (f *firefox) eval(ctx context.Context, p place, js string, clicked bool) (string, error) {
	// Firefox counts a script as clicked for only if the one before it in the
	// same realm was not, and takes a click back with the next one that is not.
	if clicked && f.clicked[p.world] {
		if _, err := f.evaluate(ctx, p.world, "0", false); err != nil {
			return "", err
		}
	}
	if clicked {
		f.clicked[p.world] = true
	}
	return f.evaluate(ctx, p.world, js, f.clicked[p.world])
}

func (f *firefox) evaluate(ctx context.Context, realm, js string, clicked bool) (string, error) {
	var answer struct {
		Type   string
		Result struct {
			Type  string
			Value json.RawMessage
		}
		ExceptionDetails struct{ Text string }
	}
	err := f.call(ctx, "script.evaluate", map[string]any{
		"expression": js, "target": map[string]any{"realm": realm}, "awaitPromise": true, "userActivation": clicked,
		"serializationOptions": map[string]any{"maxObjectDepth": 0},
	}, &answer)
	switch {
	case err != nil:
		return "", err
	case answer.Type == "exception":
		return "", scriptError(answer.ExceptionDetails.Text)
	}
	return scriptResult(answer.Result.Type, answer.Result.Value)
}

func (f *firefox) navigate(ctx context.Context, url string) error {
	return f.call(ctx, "browsingContext.navigate", map[string]any{"context": f.first, "url": url, "wait": "interactive"}, nil)
}

func (f *firefox) activate(ctx context.Context, tab string) error {
	return f.call(ctx, "browsingContext.activate", map[string]any{"context": tab}, nil)
}

func (f *firefox) closeWindows(ctx context.Context) error {
	tabs, err := f.tabs(ctx)
	if err != nil {
		return err
	}
	for _, tab := range tabs {
		if tab != f.first {
			if err := f.call(ctx, "browsingContext.close", map[string]any{"context": tab}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *firefox) picture(ctx context.Context) ([]byte, error) {
	tabs, err := f.tabs(ctx)
	if err != nil {
		return nil, err
	}
	tab := tabs[len(tabs)-1]
	if err := f.activate(ctx, tab); err != nil {
		return nil, err
	}
	var shot struct{ Data string }
	if err := f.call(ctx, "browsingContext.captureScreenshot", map[string]any{"context": tab}, &shot); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(shot.Data)
}
