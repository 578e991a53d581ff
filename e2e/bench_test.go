package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
	"github.com/caddy-lti/lti/internal/session"
	"github.com/caddy-lti/lti/store/bolt"
)

// The figures of these benchmarks are ratios of CPU time of the Caddy process,
// between variants that take turns in short bursts within one run. Wall-clock
// time says little on a machine that does other things too.

// benchCaddy is a Caddy without the race detector.
func benchCaddy(b *testing.B) {
	b.Helper()
	race := bin
	bin = filepath.Join(b.TempDir(), "caddy")
	b.Cleanup(func() { bin = race })
	build := exec.Command("go", "build", "-tags", "nobadger,nomysql,nopgx", "-o", bin, "./cmd/caddy") //nolint:gosec // fixed arguments
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building Caddy: %v\n%s", err, out)
	}
}

// cpu returns the CPU time that all threads of a process have used, in
// nanoseconds.
func cpu(b *testing.B, pid int) int64 {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		b.Skip("this needs Linux's /proc") // a benchmark measures or it does not
	}
	var sum int64
	for _, task := range tasks {
		data, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(data), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		sum += n
	}
	return sum
}

// BenchmarkProtectedRequest compares a request through the gate, by header set,
// with the same request to a bare reverse_proxy, and with core's request_header
// setting as many headers as the default set.
func BenchmarkProtectedRequest(b *testing.B) {
	benchCaddy(b)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}))
	b.Cleanup(upstream.Close)
	proxy := "reverse_proxy " + strings.TrimPrefix(upstream.URL, "http://")
	p := ltitest.NewPlatform(b)
	sites := "http://bare.localhost:$PORT {\n\t" + proxy + "\n}\n"
	sites += "http://core.localhost:$PORT {\n"
	for i := range 18 {
		sites += fmt.Sprintf("\trequest_header X-Core-Identity-%d \"some value of usual length\"\n", i)
	}
	sites += "\t" + proxy + "\n}\n"
	for _, set := range []string{"off", "minimal", "standard"} {
		sites += "http://" + set + ".localhost:$PORT {\n\tlti {\n\t\theaders " + set + "\n\t\t" + platformBlock(p) + "\n\t}\n\t" + proxy + "\n}\n"
	}
	c := startCaddy(b, strings.Replace(global(ltiGlobal), "\tdebug\n", "", 1)+sites)

	variants := []string{"bare", "off", "minimal", "standard", "core"}
	cookie := make(map[string]string)
	for _, v := range variants[1:4] {
		t := &tool{caddy: c, host: v + ".localhost", base: "/lti", platform: p}
		br := newBrowser(b)
		t.mustLaunch(br, map[string]any{"locale": "en-GB"})
		cookie[v] = "__Host-lti=" + br.cookie(t.host, "__Host-lti")
	}
	// The same request to all: Caddy reads a cookie that is not its business, too.
	cookie["bare"], cookie["core"] = cookie["off"], cookie["off"]
	client := newBrowser(b).client
	burst := func(v string, n int) {
		var wg sync.WaitGroup
		const workers = 4
		for range workers {
			wg.Go(func() {
				for range n / workers {
					req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, c.origin(v+".localhost")+"/page", nil)
					req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36")
					req.Header.Set("Accept", "text/html,application/xhtml+xml")
					req.Header.Set("Accept-Language", "en-GB")
					req.Header.Set("Cookie", cookie[v]+"; app=1234567890")
					res, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					if res.StatusCode != http.StatusOK {
						b.Errorf("%s: %d", v, res.StatusCode)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	for _, v := range variants {
		burst(v, 2000) // warm up
	}
	used := make(map[string]int64)
	requests := 0
	const size = 2000
	for b.Loop() {
		for _, v := range variants {
			before := cpu(b, c.cmd.Process.Pid)
			burst(v, size)
			used[v] += cpu(b, c.cmd.Process.Pid) - before
		}
		requests += size
	}
	b.ReportMetric(float64(used["bare"])/float64(requests)/1000, "µs-CPU/bare-request")
	for _, v := range variants[1:] {
		b.ReportMetric(float64(used[v])/float64(used["bare"]), v+"/bare")
	}
}

// BenchmarkLaunch measures the CPU time of a whole launch: login, redirect URI,
// and the first page.
func BenchmarkLaunch(b *testing.B) {
	benchCaddy(b)
	p := ltitest.NewPlatform(b)
	c := startCaddy(b, strings.Replace(global(ltiGlobal), "\tdebug\n", "", 1)+toolSite(p, "", "respond ok"))
	t := &tool{caddy: c, host: "tool.localhost", base: "/lti", platform: p}
	br := newBrowser(b)
	for range 50 {
		t.mustLaunch(br, nil)
	}
	before := cpu(b, c.cmd.Process.Pid)
	n := 0
	for b.Loop() {
		t.mustLaunch(br, nil)
		n++
	}
	b.ReportMetric(float64(cpu(b, c.cmd.Process.Pid)-before)/float64(n)/1e6, "ms-CPU/launch")
}

// BenchmarkRoster has the API stream a roster of 100,000 members from the demo LMS,
// and measures the most memory that the Caddy process ever had, beside what it had
// before, and CPU time.
func BenchmarkRoster(b *testing.B) {
	benchCaddy(b)
	s := newRosterSite(b, "fault page_size 1000", "")
	token := s.open(newBrowser(b), "u-1001", "c-100k", "quiz-one")
	s.call(b, token, "GET", "members?role=Instructor", "").members(b)
	pid := s.cmd.Process.Pid
	before, used, n := peak(b, pid), cpu(b, pid), 0
	for b.Loop() {
		res, body, err := s.stream(b, token, "members")
		if list, _ := (&answer{res, body}).members(b); err != nil || len(list) != 100_000 {
			b.Fatalf("%d members, %v", len(list), err)
		}
		b.SetBytes(int64(len(body)))
		n++
	}
	b.ReportMetric(float64(peak(b, pid))/1e6, "MB-peak")
	b.ReportMetric(float64(peak(b, pid)-before)/1e6, "MB-more")
	b.ReportMetric(float64(cpu(b, pid)-used)/float64(n)/1e6, "ms-CPU/roster")
}

// BenchmarkManySessions measures the memory of a Caddy on whose default store
// 200,000 people have sessions, of whom 20,000 are about, more than it holds in
// memory, beside that of one with an empty store.
func BenchmarkManySessions(b *testing.B) {
	const sessions, about = 200_000, 20_000
	benchCaddy(b)
	p := ltitest.NewPlatform(b)
	t := &tool{caddy: newCaddy(b), host: "tool.localhost", base: "/lti", platform: p}
	text := strings.Replace(global(ltiGlobal), "\tdebug\n", "", 1) + toolSite(p, "", "respond ok")
	t.start(text)
	for range 50 {
		t.mustLaunch(newBrowser(b), nil)
	}
	empty := resident(b, t.cmd.Process.Pid)
	t.stop()
	ids := fillStore(b, t, sessions, about)
	for b.Loop() {
		t.start(text)
		br := newBrowser(b)
		for i, id := range ids {
			br.setCookie(t.host, "__Host-lti", id)
			if res := br.get(t.url("/")); res.StatusCode != http.StatusOK {
				b.Fatalf("visit %d: %d %s", i, res.StatusCode, res.body)
			}
		}
		most := resident(b, t.cmd.Process.Pid)
		b.ReportMetric(float64(most)/1e6, "MB")
		b.ReportMetric(float64(most-empty)/1e6, "MB-more")
		t.stop()
	}
}

// resident returns the memory that a process has, without what it only maps from a
// file, for that is the system's to take back.
func resident(b *testing.B, pid int) int64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("this needs Linux's /proc") // a benchmark measures or it does not
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb << 10
}

// fillStore makes sessions in the site's store, and returns the ids of some of them.
func fillStore(b *testing.B, t *tool, sessions, about int) []string {
	b.Helper()
	st, err := bolt.Open(t.defaultStore(), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	m := session.NewManager(st, nil, func(data []byte) (any, error) { return data, nil }, func(msg string, err error) { b.Error(msg, err) })
	defer m.Close()
	var facts []byte // what one launch has left there is what all leave
	if err := m.Each(b.Context(), func(i session.Info) bool {
		facts, _ = i.Value.([]byte)
		return false
	}); err != nil || len(facts) == 0 {
		b.Fatal("no session in the store", err)
	}
	lim := session.Limits{Idle: time.Hour, Max: 12 * time.Hour}
	ids := make([]string, about)
	var wg sync.WaitGroup
	work := make(chan int)
	for range 512 {
		wg.Go(func() {
			for i := range work {
				id, err := m.Create(b.Context(), session.New{
					Site: fmt.Sprintf("%s:%d%s", t.host, t.port, t.base), Person: fmt.Sprint("person-", i),
					Launch: session.Launch{ID: fmt.Sprint("launch-", i), Path: "/"}, Data: facts,
				}, lim)
				if err != nil {
					b.Error(err)
				}
				if i < about {
					ids[i] = id
				}
			}
		})
	}
	for i := range sessions {
		work <- i
	}
	close(work)
	wg.Wait()
	return ids
}
