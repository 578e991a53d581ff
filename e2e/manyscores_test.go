package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// scoreSink is the grade service of a platform that takes every score.
type scoreSink struct {
	tokens, refused atomic.Int64
	life            int // of tokens, in seconds

	mu     sync.Mutex
	valid  map[string]time.Time // tokens, until when
	scores map[string]float64   // by learner, the last one
}

func (s *scoreSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/token":
		token := fmt.Sprint("token-", s.tokens.Add(1))
		s.valid[token] = time.Now().Add(time.Duration(s.life) * time.Second)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": %d, "scope": "https://purl.imsglobal.org/spec/lti-ags/scope/score"}`, token, s.life)
	case "/items/1/scores":
		until, ok := s.valid[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		if !ok || time.Now().After(until) {
			s.refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var score struct {
			UserID     string
			ScoreGiven float64
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &score); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.scores[score.UserID] = score.ScoreGiven
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// Ten thousand scores in one course: each arrives, tokens are asked for only as
// their lifetimes demand, and the server stays as small as it was.
func TestTenThousandScores(t *testing.T) {
	const total, life = 10_000, 20
	sink := &scoreSink{life: life, valid: make(map[string]time.Time), scores: make(map[string]float64)}
	at := serve(t, sink.ServeHTTP)
	p := ltitest.NewPlatform(t)
	site := strings.Replace(toolSite(p, "api", ""), "jwks_url", "token_url "+at+"/token\n\t\t\tjwks_url", 1)
	var mu sync.Mutex
	var token string
	app := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		token = r.Header.Get("X-LTI-Token")
	})
	site = strings.TrimSuffix(site, "\t\n}\n") + "\treverse_proxy " + strings.TrimPrefix(app, "http://") + "\n}\n"
	tool := &tool{caddy: startCaddy(t, strings.Replace(global(ltiGlobal), "\tdebug\n", "", 1)+site), host: "tool.localhost", base: "/lti", platform: p}
	b := newBrowser(t)
	tool.mustLaunch(b, map[string]any{
		ltitest.Claim("roles"): []string{roleInstructor},
		"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": map[string]any{
			"scope": []string{"https://purl.imsglobal.org/spec/lti-ags/scope/score"}, "lineitem": at + "/items/1",
		},
	})
	b.get(tool.url("/"))
	before := residentMemory(t, tool.caddy)
	begun := time.Now()
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range 16 {
		wg.Go(func() {
			b := newBrowser(t)
			for {
				n := next.Add(1)
				if n > total {
					return
				}
				res := b.do(b.request("POST", tool.url("/lti/api/v1/scores"), strings.NewReader(fmt.Sprintf(`{"userId": "learner-%d", "scoreGiven": %d, "scoreMaximum": %d}`, n, n, total)),
					"Authorization", "Bearer "+token, "Content-Type", "application/json"))
				if res.StatusCode != http.StatusAccepted {
					t.Errorf("score %d: %d %s", n, res.StatusCode, res.body)
					return
				}
			}
		})
	}
	wg.Wait()
	taken := time.Since(begun)
	deadline := time.Now().Add(3 * time.Minute)
	for {
		sink.mu.Lock()
		arrived := len(sink.scores)
		sink.mu.Unlock()
		if arrived == total {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d have arrived\n%s", arrived, total, tool.log)
		}
		time.Sleep(50 * time.Millisecond) // polling: it is up to the outbox when it sends
	}
	took := time.Since(begun)
	t.Logf("taken in %s, delivered in %s, with %d tokens; %d MB more resident", taken, took, sink.tokens.Load(), (residentMemory(t, tool.caddy)-before)>>20)
	for n := 1; n <= total; n++ {
		if got := sink.scores[fmt.Sprint("learner-", n)]; got != float64(n) {
			t.Errorf("learner %d has %v", n, got)
		}
	}
	// A token is used for nine tenths of its life.
	if most := int64(took/(life*time.Second*9/10)) + 2; sink.tokens.Load() > most || sink.refused.Load() > 0 {
		t.Errorf("%d tokens in %s, expected %d at most; %d calls with one that had expired", sink.tokens.Load(), took, most, sink.refused.Load())
	}
	if more := residentMemory(t, tool.caddy) - before; more > 200<<20 { // with the race detector, which takes five to ten times as much
		t.Errorf("%d MB more than before", more>>20)
	}
}
