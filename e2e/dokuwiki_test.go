package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// wiki is Debian's DokuWiki, as it is in the package, behind examples/dokuwiki.
type wiki struct {
	*caddy
	dir string // configuration, data, plugins, and what PHP was told
}

const (
	dokuwiki        = "/usr/share/dokuwiki"
	dokuwikiConf    = "/etc/dokuwiki"
	dokuwikiPlugins = "/var/lib/dokuwiki/lib/plugins"
)

// startWiki runs the wiki with a PHP and a Caddy of its own, and the demo LMS.
func startWiki(tb testing.TB) *wiki {
	tb.Helper()
	w := &wiki{caddy: newCaddy(tb), dir: tb.TempDir()}
	w.install()
	socket := startPHP(tb, w.dir)

	text, err := os.ReadFile("../examples/dokuwiki/Caddyfile")
	if err != nil {
		tb.Fatal(err)
	}
	site := string(text)
	for _, change := range [][2]string{
		{`wiki\.example\.edu`, "http://wiki.localhost:$$PORT"},
		{`platform moodle \{[^}]*\}`, `platform demo {
			issuer http://lms.localhost:$$PORT
			auth_url http://lms.localhost:$$PORT/auth
			jwks_url http://lms.localhost:$$PORT/jwks
			client_id wiki
			deployment 1
		}`},
		{`/run/php/php-fpm\.sock`, socket},
	} {
		pattern := regexp.MustCompile(change[0])
		if n := len(pattern.FindAllString(site, -1)); n != 1 {
			tb.Fatalf("%s is %d times in the example", change[0], n)
		}
		site = pattern.ReplaceAllString(site, change[1])
	}
	w.start(global(ltiGlobal) + `
http://lms.localhost:$PORT {
	devlms {
		title "Localhost University"
		tool wiki {
			title "The wiki"
			client_id wiki
			deployment 1
			login http://wiki.localhost:$PORT/lti/login
			redirect http://wiki.localhost:$PORT/lti/launch
			jwks http://wiki.localhost:$PORT/lti/jwks.json
			link "The page tides in a frame" http://wiki.localhost:$PORT/doku.php?id=tides iframe
			link "The page moons in a frame" http://wiki.localhost:$PORT/doku.php?id=moons iframe
			link "The page tides in a window" http://wiki.localhost:$PORT/doku.php?id=tides window
			link "The page moons in a window" http://wiki.localhost:$PORT/doku.php?id=moons window
		}
	}
}

` + site)
	return w
}

// install gives the wiki its own configuration, empty data, and our plugin
// beside those of the package.
func (w *wiki) install() {
	w.tb.Helper()
	if _, err := os.Stat(filepath.Join(dokuwiki, "doku.php")); err != nil {
		w.tb.Fatalf("%v: scripts/setup.sh installs it", err)
	}
	entries, err := os.ReadDir(dokuwikiConf)
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, entry := range entries { // but not how this machine is set up
		if !entry.Type().IsRegular() || strings.Contains(entry.Name(), "local") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dokuwikiConf, entry.Name()))
		if err != nil {
			w.tb.Fatal(err)
		}
		writeFile(w.tb, w.dir, "conf/"+entry.Name(), string(content))
	}
	for _, name := range []string{"attic", "cache", "index", "locks", "log", "media", "media_attic", "media_meta", "meta", "pages", "tmp"} {
		if err := os.MkdirAll(filepath.Join(w.dir, "data", name), 0o755); err != nil {
			w.tb.Fatal(err)
		}
	}
	for _, name := range []string{"sessions", "plugins"} {
		if err := os.Mkdir(filepath.Join(w.dir, name), 0o755); err != nil {
			w.tb.Fatal(err)
		}
	}
	if entries, err = os.ReadDir(dokuwikiPlugins); err != nil {
		w.tb.Fatal(err)
	}
	ours, err := filepath.Abs("../examples/dokuwiki/lib/plugins/authlti")
	if err != nil {
		w.tb.Fatal(err)
	}
	plugins := map[string]string{}
	for _, entry := range entries {
		plugins[entry.Name()] = filepath.Join(dokuwikiPlugins, entry.Name())
	}
	plugins["authlti"] = ours
	for name, target := range plugins {
		if err := os.Symlink(target, filepath.Join(w.dir, "plugins", name)); err != nil {
			w.tb.Fatal(err)
		}
	}

	fixtures := os.DirFS("testdata/dokuwiki")
	err = fs.WalkDir(fixtures, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fixtures, name)
		if err != nil {
			return err
		}
		to := strings.Replace(name, "pages/", "data/pages/", 1)
		writeFile(w.tb, w.dir, to, strings.NewReplacer("$DIR", w.dir, "$AS", asUser()).Replace(string(content)))
		return nil
	})
	if err != nil {
		w.tb.Fatal(err)
	}
}

// startPHP runs PHP's process manager with dir/php-fpm.conf, which has it listen
// at dir/php.sock, and returns that.
func startPHP(tb testing.TB, dir string) (socket string) {
	tb.Helper()
	found, err := filepath.Glob("/usr/sbin/php-fpm*")
	if err != nil || len(found) == 0 {
		tb.Fatalf("there is no /usr/sbin/php-fpm (%v): scripts/setup.sh installs it", err)
	}
	args := []string{"--nodaemonize", "--fpm-config", filepath.Join(dir, "php-fpm.conf")}
	if os.Geteuid() == 0 {
		args = append(args, "--allow-to-run-as-root")
	}
	tb.Cleanup(func() {
		if !tb.Failed() {
			return
		}
		for _, name := range []string{"php-fpm.log", "php.log"} {
			content, _ := os.ReadFile(filepath.Join(dir, name))
			tb.Logf("%s:\n%s", name, content)
		}
	})
	socket = filepath.Join(dir, "php.sock")
	program(tb, "unix", socket, exec.Command(found[len(found)-1], args...)) //nolint:gosec // Debian's own binary
	return socket
}

// asUser is the line of a PHP pool that it needs to run as root.
func asUser() string {
	if os.Geteuid() == 0 {
		return "user = root"
	}
	return ""
}

// wikiRequest is what the app was told with a request.
type wikiRequest struct {
	Method, URI, User string
	Cookies           map[string]string
}

// requests returns what the app was told so far.
func (w *wiki) requests() (all []wikiRequest) {
	w.tb.Helper()
	content, err := os.ReadFile(filepath.Join(w.dir, "requests"))
	if err != nil {
		w.tb.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var r wikiRequest
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			w.tb.Fatalf("%v in %q", err, line)
		}
		all = append(all, r)
	}
	return all
}

// changes returns who changed a page, in the order of the page's change log.
func (w *wiki) changes(page string) (users []string) {
	w.tb.Helper()
	content, err := os.ReadFile(filepath.Join(w.dir, "data", "meta", page+".changes"))
	if err != nil {
		w.tb.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		users = append(users, strings.Split(line, "\t")[4])
	}
	return users
}

// wikiPerson is somebody of the LMS as the wiki knows them.
type wikiPerson struct {
	name, login string
	pictures    string // prefix of their names
}

// visit is one person's time in the wiki.
type visit struct {
	*wiki
	wikiPerson
	tb      testing.TB
	ctx     context.Context // the frame or window of the wiki
	picture func(step string)
}

// visit chooses a person in the LMS and opens an activity, which leads to a
// page of the wiki in a "frame" or in a "window".
func (w *wiki) visit(ctx context.Context, tb testing.TB, who wikiPerson, page, where string) *visit {
	tb.Helper()
	v := &visit{wiki: w, wikiPerson: who, tb: tb}
	given, _, _ := strings.Cut(who.name, " ")
	be(ctx, tb, w.origin("lms.localhost"), given)
	run(ctx, tb,
		chromedp.Click(firstCourse),
		chromedp.Click(`//a[text()="The page `+page+` in a `+where+`"]`),
	)
	paint := ctx // a frame has no picture of its own
	if where == "window" {
		button := `//button[text()="Open in a new window"]`
		run(ctx, tb, chromedp.WaitVisible(button))
		opened := chromedp.WaitNewTarget(ctx, func(info *target.Info) bool { return info.OpenerID != "" })
		run(ctx, tb, chromedp.Click(button))
		var cancel context.CancelFunc
		v.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithTargetID(<-opened))
		tb.Cleanup(cancel)
		paint = v.ctx
	} else {
		run(ctx, tb, chromedp.WaitVisible(chromedp.CSS(`iframe.tool`)))
		v.ctx = frame(ctx, tb, w.origin("wiki.localhost")+"/doku.php?id="+page)
	}
	if err := chromedp.Do(v.ctx); err != nil { // not in run, whose context ends
		tb.Fatalf("turning to the wiki: %v", err)
	}
	v.picture = func(step string) {
		tb.Helper()
		shot(paint, tb, fmt.Sprintf("dokuwiki-%s-%s-%s", where, who.pictures, step))
	}
	return v
}

// sees checks what a page of the wiki says: its text, whom it takes the visitor
// for, and which pages the visitor came by, which the wiki keeps in its session.
func (v *visit) sees(step, content, trace string) {
	v.tb.Helper()
	run(v.ctx, v.tb, chromedp.WaitVisible(chromedp.CSS(`.dokuwiki.mode_show`))) // a page, not the form
	if got := text(v.ctx, v.tb, `#dokuwiki__content .page p`); got != content {
		v.tb.Errorf("%s, %s: the page is %q, expected %q", v.login, step, got, content)
	}
	if got, want := text(v.ctx, v.tb, `#dokuwiki__usertools li.user`), fmt.Sprintf("Logged in as: %s (%s)", v.name, v.login); got != want {
		v.tb.Errorf("%s, %s: the wiki says %q, expected %q", v.login, step, got, want)
	}
	if got := text(v.ctx, v.tb, `.breadcrumbs`); got != trace {
		v.tb.Errorf("%s, %s: the way is %q, expected %q", v.login, step, got, trace)
	}
	v.picture(step)
}

// follow clicks a link to another page of the wiki.
func (v *visit) follow(page string) {
	v.tb.Helper()
	run(v.ctx, v.tb,
		chromedp.Click(`//div[@class="page group"]//a[text()="`+page+`"]`),
		chromedp.WaitVisible(`//div[@class="pageId"]/span[text()="`+page+`"]`),
	)
}

// edit opens the form for the page, writes, and saves.
func (v *visit) edit(content string) {
	v.tb.Helper()
	run(v.ctx, v.tb,
		chromedp.Click(chromedp.CSS(`#dokuwiki__pagetools a[href*="do=edit"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#wiki__text`)),
		chromedp.SetValue(chromedp.CSS(`#wiki__text`), content),
		chromedp.Click(chromedp.CSS(`#edbtn__save`)),
	)
}

// history checks who changed a page, the last one first.
func (v *visit) history(page string, logins ...string) {
	v.tb.Helper()
	run(v.ctx, v.tb,
		chromedp.Click(chromedp.CSS(`#dokuwiki__pagetools a[href*="do=revisions"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#page__revisions .user`)),
	)
	got, err := chromedp.Run(v.ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("#page__revisions .user")].map(e => e.innerText.trim())`))
	if err != nil || !slices.Equal(got, logins) {
		v.tb.Errorf("%s: the page was changed by %q, expected %q (%v)", v.login, got, logins, err)
	}
	v.picture("history")
	slices.Reverse(logins)
	if got := v.changes(page); !slices.Equal(got, logins) {
		v.tb.Errorf("%s: the log says that the page was changed by %q, expected %q", v.login, got, logins)
	}
}

// internals checks what the example keeps from browsers, even of people of the
// course.
func (v *visit) internals() {
	v.tb.Helper()
	want := map[string]int{"/doku.php": 200, "/lib/exe/css.php": 200, "/lib/tpl/dokuwiki/images/favicon.ico": 200}
	for _, path := range []string{
		"/inc/init.php", "/inc/preload.php.dist", "/INC/init.php", "/vendor/README", "/bin/dwpage.php", "/conf/local.php", "/data/pages/moons.txt",
		"/install.php", "/install.php/x", "/.htaccess", "/.htaccess.dist",
	} {
		want[path] = 404
	}
	paths, err := json.Marshal(slices.Collect(maps.Keys(want)))
	if err != nil {
		v.tb.Fatal(err)
	}
	got, err := chromedp.Run(v.ctx, chromedp.Evaluate[map[string]int](
		`(async () => { const got = {}; for (const path of `+string(paths)+`) got[path] = (await fetch(path)).status; return got })()`, chromedp.EvalAwaitPromise))
	if err != nil || !maps.Equal(got, want) {
		v.tb.Errorf("paths answer %v, expected %v (%v)", got, want, err)
	}
}

// Two people write into an app that was made long before LTI 1.3, one after the
// other in the same browser. It needs its session cookie, for its forms have a
// token against forgery.
func TestDokuWiki(t *testing.T) {
	for _, where := range []string{"frame", "window"} {
		t.Run(where, func(t *testing.T) {
			w, ctx := startWiki(t), newChrome(t)
			isPage(t, "nobody", newBrowser(t).get(w.origin("wiki.localhost")+"/doku.php?id=moons"), http.StatusUnauthorized, true)

			zoe := w.visit(ctx, t, wikiPerson{"Zoë Łukasiewicz-山田", "u-2002@demo", "zoe"}, "tides", where)
			zoe.sees("launch", "You've followed a link to a topic that doesn't exist yet. If permissions allow, you may create it by clicking on Create this page.", "Trace:")
			zoe.edit("High water at noon, says Zoë. See [[moons]].")
			zoe.sees("saved", "High water at noon, says Zoë. See moons.", "Trace: • tides")
			zoe.follow("moons")
			zoe.sees("moons", "The moon pulls at the sea: see tides.", "Trace: • tides • moons")
			zoe.follow("tides")
			zoe.history("tides", zoe.login)
			zoe.internals()

			hers := make(map[string]string) // value → name
			for _, r := range w.requests() {
				if r.User != zoe.login {
					t.Errorf("before Maeve came, the wiki was told of %q: %s %s", r.User, r.Method, r.URI)
				}
				for name, value := range r.Cookies {
					hers[value] = name
				}
			}
			if len(hers) == 0 {
				t.Error("none of the wiki's cookies came back to it")
			}

			maeve := w.visit(ctx, t, wikiPerson{"Maeve O'Hara", "u-2001@demo", "maeve"}, "moons", where)
			maeve.sees("launch", "The moon pulls at the sea: see tides.", "Trace: • moons")
			maeve.follow("tides")
			maeve.sees("tides", "High water at noon, says Zoë. See moons.", "Trace: • moons • tides")
			maeve.edit("Low water at six, says Maeve.")
			maeve.sees("saved", "Low water at six, says Maeve.", "Trace: • moons • tides")
			maeve.history("tides", maeve.login, zoe.login)

			first := true
			for _, r := range w.requests() {
				if r.User != maeve.login {
					continue
				}
				if first && r.URI != "/doku.php?id=moons" {
					t.Errorf("Maeve's first request is %s %s", r.Method, r.URI)
				}
				for name, value := range r.Cookies {
					if hers[value] != "" {
						t.Fatalf("Maeve's %s %s (her first: %t) has %s=%s of Zoë", r.Method, r.URI, first, name, value)
					}
				}
				first = false
			}
			if first {
				t.Error("no request of Maeve reached the wiki")
			}
		})
	}
}
