package caddylti

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-lti/lti/nrps"
)

// rosterPlatform answers with a roster of so many members whose names tell which
// question it was, after delay.
type rosterPlatform struct {
	delay   time.Duration
	members int
	linger  time.Duration // until it notices that nobody listens
	deaf    bool          // it does not notice that

	mu    sync.Mutex
	asked int
	open  int // answers that nobody has closed
	most  int // of these, at one time
}

func (p *rosterPlatform) Open(ctx context.Context, _ []string, _, _ string, _ http.Header, _ int64) (http.Header, io.ReadCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	p.open++
	p.most = max(p.most, p.open)
	var body bytes.Buffer
	body.WriteString(`{"id":"https://lms.example/m","context":{"id":"c"},"members":[`)
	for i := range p.members {
		if i > 0 {
			body.WriteString(",")
		}
		fmt.Fprintf(&body, `{"user_id":"u%d","roles":["Learner"],"name":"Answer %d"}`, i, p.asked)
	}
	body.WriteString("]}")
	if p.deaf {
		ctx = context.Background()
	}
	return http.Header{}, &rosterBody{ctx: ctx, p: p, Reader: &body, delay: p.delay}, nil
}

func (p *rosterPlatform) counts() (asked, open, most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.open, p.most
}

type rosterBody struct {
	ctx context.Context
	p   *rosterPlatform
	io.Reader
	delay time.Duration
	once  sync.Once
}

func (b *rosterBody) Read(data []byte) (int, error) {
	select {
	case <-time.After(b.delay):
	case <-b.ctx.Done():
		time.Sleep(b.p.linger)
		return 0, b.ctx.Err()
	}
	b.delay = 0
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Reader.Read(data)
}

func (b *rosterBody) Close() error {
	b.once.Do(func() {
		b.p.mu.Lock()
		defer b.p.mu.Unlock()
		b.p.open--
	})
	return nil
}

// want is one of several rosters at the platform.
func (p *rosterPlatform) want(which int) *wanted {
	return &wanted{
		client: nrps.New(p, nrps.Endpoint{URL: "https://lms.example/m"}), host: "https://lms.example",
		key: sha256.Sum256(fmt.Append(nil, which)),
	}
}

// answerOf tells which answer of the platform a roster is.
func answerOf(t *testing.T, w *whole) string {
	t.Helper()
	var m nrps.Member
	line, _, _ := bytes.Cut(w.lines, []byte("\n"))
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatal(err)
	}
	return m.Name
}

const (
	ttl   = time.Minute
	large = 100 // where a smaller one is as good
)

func newTestRosters(t *testing.T, p *rosterPlatform) *rosters {
	t.Helper()
	rs := newRosters()
	t.Cleanup(func() {
		rs.close()
		if _, open, _ := p.counts(); open != 0 {
			t.Errorf("%d answers were not closed", open)
		}
		if len(rs.flights)+len(rs.kept)+len(rs.turns.of)+rs.bytes != 0 {
			t.Errorf("left over: %d flights, %d kept with %d bytes, %d turns", len(rs.flights), len(rs.kept), rs.bytes, len(rs.turns.of))
		}
		if _, _, err := rs.get(context.Background(), p.want(1), ttl, false); !errors.Is(err, errBusy) {
			t.Errorf("after the end: %v", err)
		}
	})
	return rs
}

// Many ask at the same time, and the platform is asked once; later too, until the
// time is up.
func TestRosterIsReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rosterPlatform{delay: time.Second, members: maxWholeMembers} // as many as are kept
		rs := newTestRosters(t, p)
		for round, want := range []string{"Answer 1", "Answer 1", "Answer 2"} {
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					w, _, err := rs.get(t.Context(), p.want(1), ttl, false)
					if err != nil || answerOf(t, w) != want {
						t.Errorf("round %d: not %s, %v", round, want, err)
					}
				})
			}
			wg.Wait()
			time.Sleep(ttl / 2)
		}
		if asked, _, _ := p.counts(); asked != 2 {
			t.Errorf("the platform was asked %d times", asked)
		}
		// Another one is another one, and nothing is kept for those who do not want
		// that.
		for range 2 {
			if _, _, err := rs.get(t.Context(), p.want(2), 0, false); err != nil {
				t.Error(err)
			}
		}
		if asked, _, _ := p.counts(); asked != 4 {
			t.Errorf("the platform was asked %d times", asked)
		}
		time.Sleep(ttl)
		rs.mu.Lock()
		defer rs.mu.Unlock()
		if len(rs.kept) != 0 || rs.bytes != 0 {
			t.Errorf("%d are kept for longer than they are good", len(rs.kept))
		}
	})
}

// Who wants the platform to be asked anew gets nothing that was asked for earlier,
// be it kept or under way, and still one at a time.
func TestRosterAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rosterPlatform{delay: time.Second, members: 3}
		rs := newTestRosters(t, p)
		get := func(anew bool, want string) {
			t.Helper()
			if w, _, err := rs.get(t.Context(), p.want(1), ttl, anew); err != nil || answerOf(t, w) != want {
				t.Errorf("not %s, %v", want, err)
			}
		}
		get(false, "Answer 1")
		get(true, "Answer 2")
		get(false, "Answer 2")
		var wg sync.WaitGroup
		wg.Go(func() { get(true, "Answer 3") })
		synctest.Wait() // it is under way
		for range 5 {
			wg.Go(func() { get(true, "Answer 4") })
		}
		wg.Go(func() { get(false, "Answer 2") })
		wg.Wait()
		if _, _, most := p.counts(); most != 1 {
			t.Errorf("%d at the same time", most)
		}
	})
}

// A reading goes on as long as somebody waits for it.
func TestRosterNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rosterPlatform{delay: time.Minute, members: 3}
		rs := newTestRosters(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := rs.get(ctx, p.want(1), ttl, false); !errors.Is(err, context.Canceled) {
				t.Errorf("who has left: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if w, _, err := rs.get(t.Context(), p.want(1), ttl, false); err != nil || answerOf(t, w) != "Answer 1" {
				t.Errorf("who stays: not the first answer, %v", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()

		// Whoever comes when the last one has left does not share that fate.
		p.linger = time.Minute
		ctx, cancel = context.WithCancel(t.Context())
		wg.Go(func() { _, _, _ = rs.get(ctx, p.want(2), ttl, false) })
		synctest.Wait()
		cancel()
		synctest.Wait() // it is noticed later
		begin := time.Now()
		w, _, err := rs.get(t.Context(), p.want(2), ttl, false)
		if err != nil || answerOf(t, w) != "Answer 3" {
			t.Errorf("who comes then: not the third answer, %v", err)
		}
		wg.Wait()
		synctest.Wait() // both come to their end at this very time
		if _, open, _ := p.counts(); open != 0 || time.Since(begin) != time.Minute {
			t.Errorf("%d are being read after %s", open, time.Since(begin))
		}
	})
}

// One that is too large is for one caller: the others read it themselves, and a few
// at a time.
func TestLargeRosters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rosterPlatform{delay: time.Second, members: large + 1}
		rs := newTestRosters(t, p)
		rs.most = large
		var wg sync.WaitGroup
		for range maxReading + 3 {
			wg.Go(func() {
				_, b, err := rs.get(t.Context(), p.want(1), ttl, false)
				if err != nil {
					t.Error(err)
					return
				}
				defer b.close()
				time.Sleep(10 * time.Second) // a slow one
				var out bytes.Buffer
				buf := bufio.NewWriter(&out)
				if err := writeRosterLines(buf, nil, b.all()); err != nil {
					t.Error(err)
				}
				_ = buf.Flush()
				if lines := strings.Split(out.String(), "\n"); len(lines) != large+3 || lines[len(lines)-2] != `{"complete":true,"count":101}` {
					t.Errorf("%d lines", len(lines))
				}
			})
		}
		wg.Wait()
		if asked, _, most := p.counts(); asked != maxReading+3 || most != maxReading {
			t.Errorf("asked %d times, %d at the same time", asked, most)
		}

		// Nobody gets his turn, and a caller who leaves ends his reading.
		p.members = 2 * large
		ctx, cancel := context.WithCancel(t.Context())
		var held []*begun
		for range maxReading {
			_, b, err := rs.get(ctx, p.want(1), ttl, false)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, b)
		}
		begin := time.Now()
		if _, _, err := rs.get(t.Context(), p.want(1), ttl, false); !errors.Is(err, errBusy) || time.Since(begin) != maxTurn {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		cancel()
		synctest.Wait()
		for _, b := range held {
			var err error
			for _, failed := range b.all() {
				err = failed
			}
			if err == nil {
				t.Error("who has left reads on")
			}
			b.close()
			b.close() // once more does no harm
		}
		_, b, err := rs.get(t.Context(), p.want(1), ttl, false)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		head, err := b.head()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		buf := bufio.NewWriter(&out)
		if err := writeRosterJSON(buf, head, b.all()); err != nil {
			t.Error(err)
		}
		_ = buf.Flush()
		var doc struct {
			ID      string
			Context struct{ ID string }
			Members []nrps.Member
		}
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc.ID != "https://lms.example/m" || doc.Context.ID != "c" || len(doc.Members) != p.members {
			t.Errorf("JSON: %v, of %s, %d members", err, doc.ID, len(doc.Members))
		}
	})
}

// A large one that is there when nobody waits any more is closed.
func TestLargeRosterNobodyWaits(t *testing.T) {
	for _, patience := range []time.Duration{time.Second / 2, time.Second} { // before, or at the same time
		synctest.Test(t, func(t *testing.T) {
			p := &rosterPlatform{delay: time.Second, members: large + 1, deaf: true}
			rs := newTestRosters(t, p)
			rs.most = large
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if _, b, err := rs.get(ctx, p.want(1), ttl, false); err == nil {
					b.close()
				}
				cancel()
				time.Sleep(time.Second)
				synctest.Wait()
				if _, open, _ := p.counts(); open != 0 {
					t.Fatal("it was left open")
				}
			}
		})
	}
}

// What is kept is bounded, and the oldest goes first.
func TestKeptRosters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rosterPlatform{members: 2}
		rs := newTestRosters(t, p)
		get := func(which int) {
			t.Helper()
			if _, _, err := rs.get(t.Context(), p.want(which), ttl, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		for which := range maxKept + 1 {
			get(which)
		}
		get(1)
		get(maxKept)
		if asked, _, _ := p.counts(); asked != maxKept+1 {
			t.Errorf("asked %d times", asked)
		}
		if get(0); len(rs.kept) != maxKept {
			t.Errorf("%d are kept", len(rs.kept))
		}
		if asked, _, _ := p.counts(); asked != maxKept+2 {
			t.Errorf("asked %d times: the oldest was kept", asked)
		}
		// By size.
		rs.mu.Lock()
		big := &kept{whole: &whole{lines: make([]byte, maxKeptBytes-1000)}}
		rs.keep(p.want(1000).key, big, ttl)
		if rs.bytes > maxKeptBytes || len(rs.kept) < 2 {
			t.Errorf("%d bytes of %d rosters are kept", rs.bytes, len(rs.kept))
		}
		rs.mu.Unlock()
	})
}

// The end of the configuration ends what is being read, and waits for that.
func TestRostersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rosterPlatform{delay: time.Hour, members: 3, linger: time.Second}
		rs := newTestRosters(t, p)
		begin := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := rs.get(t.Context(), p.want(1), ttl, false); err == nil {
				t.Error("no error")
			}
		})
		synctest.Wait()
		rs.close()
		if _, open, _ := p.counts(); open != 0 || time.Since(begin) != p.linger {
			t.Errorf("%d are being read after %s", open, time.Since(begin))
		}
		wg.Wait()
	})
}

// Everybody is in a whole roster once for each status, with all roles.
func TestWholeRoster(t *testing.T) {
	body := `{"id":"i","context":{"id":"c"},"members":[{"user_id":"a","roles":["Learner"]},{"user_id":"b","roles":["Learner"]},` +
		`{"user_id":"a","roles":["Instructor"]},{"user_id":"a","roles":["Mentor"],"status":"Inactive"},{"user_id":"c","roles":[]}]}`
	client := nrps.New(textPlatform(body), nrps.Endpoint{URL: "https://lms.example/m"})
	rs := newRosters()
	defer rs.close()
	w, _, err := rs.get(t.Context(), &wanted{client: client}, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range w.all() {
		var m nrps.Member
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %d %s", m.UserID, len(m.Roles), m.Status))
	}
	if s := strings.Join(got, ", "); s != "b 1 Active, a 2 Active, a 1 Inactive, c 0 Active" {
		t.Error(s)
	}
}

type textPlatform string

func (p textPlatform) Open(context.Context, []string, string, string, http.Header, int64) (http.Header, io.ReadCloser, error) {
	return http.Header{}, io.NopCloser(strings.NewReader(string(p))), nil
}

func TestAsksAnew(t *testing.T) {
	for line, want := range map[string]bool{
		"": false, "no-cache": true, "No-Cache": true, "max-age=0": true, "max-age=60, no-cache": true, "no-store": true,
		"max-age=60": false, `x="no-cache"`: false, "private": false,
	} {
		r := &http.Request{Header: http.Header{"Cache-Control": {line}}}
		if got := asksAnew(r); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestFormOf(t *testing.T) {
	for line, want := range map[string]*form{
		"": formJSON, "*/*": formJSON, "application/json": formJSON, "application/x-ndjson": formLines, "Application/NDJSON;q=0.5, text/html": formLines,
		"application/x-ndjson; q=0": formJSON, "text/html, application/x-ndjson": formLines, "application/x-ndjsonx": formJSON,
	} {
		r := &http.Request{Header: http.Header{"Accept": {line}}}
		if got := formOf(r); got != want {
			t.Errorf("%q: %s", line, got.mediaType)
		}
	}
}

func TestETagMatches(t *testing.T) {
	for line, want := range map[string]bool{`"a"`: true, `W/"a"`: true, `"b", "a"`: true, "*": true, `"b"`: false, `a`: false, "": false} {
		if got := etagMatches([]string{line}, `"a"`); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}
