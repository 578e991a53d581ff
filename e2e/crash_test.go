package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-lti/lti/internal/ltitest"
)

// After kill -9, what was acknowledged holds: people stay signed in, a launch
// that was used is used up, and one that was under way can be finished.
func TestKillAndRestart(t *testing.T) {
	p := ltitest.NewPlatform(t)
	site := global(ltiGlobal) + toolSite(p, "", echo)
	tool := &tool{caddy: startCaddy(t, site), host: "tool.localhost", base: "/lti", platform: p}
	v := tool.newVisitor(t)
	used, err := v.begin(sub("ann"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := v.finish(used)
	if err != nil {
		t.Fatal(err)
	}
	second := v.launch(t, sub("ann"))
	other := tool.newVisitor(t)
	ended := other.launch(t, sub("ann"))
	bobs := other.launch(t, sub("bob"))
	signedOut := tool.newVisitor(t)
	gone := signedOut.launch(t, sub("cay"))
	if res, err := signedOut.send("/lti/logout", "x="); err != nil || res.StatusCode != http.StatusNoContent {
		t.Fatalf("logout: %v %v", res, err)
	}
	underWay, err := tool.newVisitor(t).begin(sub("dan"))
	if err != nil {
		t.Fatal(err)
	}
	keys := newBrowser(t).get(tool.url("/lti/jwks.json")).body

	tool.kill()
	tool.start(site)

	v = tool.newVisitor(t)
	v.mustBe(t, "ann's first session", first, "ann")
	v.mustBe(t, "ann's second session", second, "ann")
	v.mustBe(t, "bob's session", bobs, "bob")
	v.mustBe(t, "the session that bob's launch ended", ended, "")
	v.mustBe(t, "the session that was signed out", gone, "")
	if _, err := v.with(used.cookies).finish(used); err == nil || !strings.Contains(err.Error(), "nonce_reused") {
		t.Errorf("a launch that had been used: %v, expected nonce_reused", err)
	}
	id, err := v.with(underWay.cookies).finish(underWay)
	if err != nil {
		t.Errorf("a login from before the crash: %v", err)
	}
	v.mustBe(t, "the session of that login", id, "dan")
	if _, err := v.with(underWay.cookies).finish(underWay); err == nil || !strings.Contains(err.Error(), "nonce_reused") {
		t.Errorf("and the same once more: %v, expected nonce_reused", err)
	}
	if again := newBrowser(t).get(tool.url("/lti/jwks.json")).body; again != keys || !strings.Contains(keys, `"kid"`) {
		t.Errorf("the tool's keys were %s, now they are %s", keys, again)
	}
}

// The same in the middle of many launches, at whatever instant: what the server
// answered before it died is so afterwards.
func TestKillUnderLoad(t *testing.T) {
	p := ltitest.NewPlatform(t)
	site := global(ltiGlobal) + toolSite(p, "", echo)
	tool := &tool{caddy: startCaddy(t, site), host: "tool.localhost", base: "/lti", platform: p}

	type launch struct {
		*attemptOf
		person, id string // id is empty where no answer came
	}
	const visitors, rounds, enough = 6, 3, 40
	for round := range rounds {
		var (
			wg       sync.WaitGroup
			mu       sync.Mutex
			launches []launch
			answered atomic.Int64
			dying    atomic.Bool
		)
		reached := make(chan struct{})
		for i := range visitors {
			person := fmt.Sprintf("person-%d", i)
			v := tool.newVisitor(t)
			wg.Go(func() {
				for {
					a, err := v.begin(sub(person))
					if err != nil {
						if !dying.Load() {
							t.Errorf("login: %v", err)
						}
						return
					}
					id, err := v.finish(a)
					mu.Lock()
					launches = append(launches, launch{a, person, id})
					mu.Unlock()
					if err != nil {
						if !dying.Load() {
							t.Errorf("launch: %v", err)
						}
						return
					}
					if answered.Add(1) == enough {
						close(reached)
					}
				}
			})
		}
		select {
		case <-reached:
		case <-time.After(time.Minute):
			t.Fatalf("only %d launches in a minute", answered.Load())
		}
		dying.Store(true)
		tool.kill()
		wg.Wait()
		tool.start(site)

		v := tool.newVisitor(t)
		unanswered, late := 0, 0
		for i, l := range launches {
			if l.id != "" {
				v.mustBe(t, fmt.Sprintf("round %d, launch %d of %d", round, i, len(launches)), l.id, l.person)
				if _, err := v.with(l.cookies).finish(l.attemptOf); err == nil || !strings.Contains(err.Error(), "nonce_reused") {
					t.Errorf("round %d, launch %d of %d, once more: %v, expected nonce_reused", round, i, len(launches), err)
				}
				continue
			}
			// Nobody knows whether it was used. It may be good once, not twice.
			unanswered++
			if _, err := v.with(l.cookies).finish(l.attemptOf); err == nil {
				late++
			} else if !strings.Contains(err.Error(), "nonce_reused") {
				t.Errorf("round %d, a launch without an answer: %v", round, err)
			}
			if _, err := v.with(l.cookies).finish(l.attemptOf); err == nil || !strings.Contains(err.Error(), "nonce_reused") {
				t.Errorf("round %d, a launch without an answer, once more: %v, expected nonce_reused", round, err)
			}
		}
		t.Logf("round %d: %d launches answered, %d not, of which %d could be repeated", round, len(launches)-unanswered, unanswered, late)
	}
}
