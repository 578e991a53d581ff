package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// published returns the ids of the tool's keys, the newest first.
func (t *tool) published(tb testing.TB) (ids []string) {
	tb.Helper()
	var doc struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal([]byte(newBrowser(tb).get(t.url("/lti/jwks.json")).body), &doc); err != nil {
		tb.Fatal(err)
	}
	for _, k := range doc.Keys {
		ids = append(ids, k.Kid)
	}
	return ids
}

// inUse is the key that the command line says is in use.
func (t *tool) inUse(tb testing.TB) string {
	tb.Helper()
	for line := range strings.Lines(t.ltiDoes(tb, "keys", "list")) {
		if f := strings.Fields(line); f[len(f)-1] == "true" {
			return f[0]
		}
	}
	tb.Fatal("no key is in use")
	return ""
}

// Keys are replaced when their time is over: the next one is published before it is
// used, the last one a while longer, and people who are there notice nothing.
func TestKeysRotate(t *testing.T) {
	site := startTool(t, "", echo)
	text := global(ltiGlobal) + toolSite(site.platform, "", echo)
	b := newBrowser(t)
	site.mustLaunch(b, nil)
	first := site.published(t)
	if len(first) != 1 {
		t.Fatalf("at first: %v", first)
	}
	// The time that passes is written into the file, as if it had been made earlier.
	age := func(days int) {
		t.Helper()
		site.stop()
		path := filepath.Join(site.dir, "caddy", "lti", "keyring.json")
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		for _, k := range doc["signing"].([]any) {
			key := k.(map[string]any)
			for _, name := range []string{"created", "from"} {
				at, err := time.Parse(time.RFC3339, key[name].(string))
				if err != nil {
					t.Fatal(err)
				}
				key[name] = at.AddDate(0, 0, -days).Format(time.RFC3339)
			}
		}
		if raw, err = json.Marshal(doc); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		site.start(text)
		if in := b.get(site.url("/")); !strings.Contains(in.body, "user=") {
			t.Errorf("whoever was there is not any more: %d", in.StatusCode)
		}
		site.mustLaunch(newBrowser(t), nil)
	}
	age(100)
	if ids := site.published(t); !slices.Equal(ids, first) {
		t.Errorf("without rotate: %v", ids)
	}
	text = strings.Replace(text, "\tlti {\n", "\tlti {\n\t\tkeys {\n\t\t\trotate 90d\n\t\t}\n", 1)
	if err := site.reload(text); err != nil {
		t.Fatal(err)
	}
	until(t, "the next key to be published", func() bool { return len(site.published(t)) == 2 })
	both := site.published(t)
	if both[1] != first[0] || site.inUse(t) != first[0] {
		t.Errorf("%v are published, %s is in use", both, site.inUse(t))
	}
	age(3)
	if ids := site.published(t); !slices.Equal(ids, both) || site.inUse(t) != both[0] {
		t.Errorf("three days later %v are published, %s is in use", ids, site.inUse(t))
	}
	age(3)
	until(t, "the old key to be withdrawn", func() bool { return slices.Equal(site.published(t), both[:1]) })

	// By hand, because somebody may have the key.
	site.ltiDoes(t, "keys", "rotate", "--at-once")
	if ids := site.published(t); len(ids) != 1 || ids[0] == both[0] || site.inUse(t) != ids[0] {
		t.Errorf("at once: %v are published, %s is in use", ids, site.inUse(t))
	}
	current := site.inUse(t)
	site.ltiDoes(t, "keys", "rotate")
	if ids := site.published(t); len(ids) != 2 || ids[1] != current || site.inUse(t) != current {
		t.Errorf("by hand: %v are published, %s is in use", ids, site.inUse(t))
	}
	if strings.Contains(site.log.String(), "PRIVATE") || site.mustLaunch(newBrowser(t), nil) == nil {
		t.Error("the log has a private key")
	}
}
