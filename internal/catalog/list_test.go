package catalog

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseList(t *testing.T) {
	full := Item{
		ID: "quiz-7", Path: "/quiz%207?x=1", Title: "Quiz 7", Text: "About", Image: "/7.png", ScoreMaximum: 50, ResourceID: "quiz-7", Tag: "grade",
		Custom: map[string]string{"level": "2", "empty": ""},
	}
	plain := Item{ID: "/a", Path: "/a", Title: "A"}
	for _, tc := range []struct {
		name, in string
		want     []Item
	}{
		{"all members", `{"items":[{"path":"/quiz 7?x=1","title":"Quiz  7\n","text":"About","image":"7.png","score_maximum":50,
			"resource_id":"quiz-7","tag":"grade","custom":{"level":"2","empty":""}}]}`, []Item{full}},
		{"bare", ` [{"url":"/a","title":"A"}] `, []Item{plain}},
		{"absolute", `[{"url":"https://tool.example/a","title":"A"}]`, []Item{plain}},
		{"null is none", `[{"path":"/a","title":"A","text":null,"score_maximum":null,"custom":null,"tag":null}]`, []Item{plain}},
		{"one path, two identities", `[{"path":"/a","title":"A"},{"path":"/a","title":"A","resource_id":"b"}]`, []Item{plain, {ID: "b", Path: "/a", Title: "A", ResourceID: "b"}}},
		{"none", `{"items":[]}`, []Item{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseList([]byte(tc.in), &site{origin: "https://tool.example"})
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%+v, %v; expected %+v", got, err, tc.want)
			}
		})
	}
}

func TestParseListErrors(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{``, "expected a JSON array"},
		{`null`, "expected a JSON array"},
		{`"x"`, "expected a JSON array"},
		{`<!doctype html>`, "expected a JSON array"},
		{`{}`, "expected a JSON array"},
		{`{"items":{}}`, "expected a JSON array"},
		{`{"items":[],"more":1}`, `unknown member "more"`},
		{`{"items":[],"items":[]}`, "duplicate member"},
		{`[{}`, "reading JSON"},
		{`[] x`, "reading JSON"},
		{`[1]`, "items[0]: not a JSON object"},
		{`[{"path":"/a","title":"A"},{"path":"/b","titel":"B"}]`, "items[1]: titel: unknown member"},
		{`[{"path":"/a","path":"/b","title":"A"}]`, `items[0]: duplicate member "path"`},
		{`[{"path":"/a","url":"/a","title":"A"}]`, "items[0]: url: path says it already"},
		{`[{"path":"/a"}]`, "items[0]: title: missing"},
		{`[{"title":"A"}]`, "items[0]: path: expected a path of this site"},
		{`[{"path":"https://evil.example/","title":"A"}]`, "items[0]: path: expected a path of this site"},
		{`[{"path":"/a/../b","title":"A"}]`, "items[0]: path: dot segments"},
		{`[{"path":7,"title":"A"}]`, "items[0]: path: expected a string"},
		{`[{"path":"/a","title":["A"]}]`, "items[0]: title: expected a string"},
		{`[{"path":"/a","title":"A","image":"https://evil.example/x.png"}]`, "items[0]: image: expected a path of this site"},
		{`[{"path":"/a","title":"A","score_maximum":"50"}]`, "items[0]: score_maximum: expected a number above 0"},
		{`[{"path":"/a","title":"A","score_maximum":0}]`, "items[0]: score_maximum: expected a number above 0"},
		{`[{"path":"/a","title":"A","score_maximum":1e400}]`, "items[0]: score_maximum: expected a number above 0"},
		{`[{"path":"/a","title":"A","resource_id":"a\u0000b"}]`, "items[0]: resource_id: expected at most"},
		{`[{"path":"/a","title":"A","custom":{"a":1}}]`, "items[0]: custom: a: expected a string"},
		{`[{"path":"/a","title":"A","custom":{"a":null}}]`, "items[0]: custom: a: expected a string"},
		{`[{"path":"/a","title":"A","custom":{"a":"1","a":"2"}}]`, "items[0]: custom: duplicate member"},
		{`[{"path":"/a","title":"A","custom":{"a":"` + strings.Repeat("x", maxPair+1) + `"}}]`, "items[0]: custom: a parameter has"},
		{`[{"path":"/a","title":"A"},{"path":"/b","title":"B"},{"path":"/a","title":"C"}]`, "items[2]: has the same identity as items[0]"},
		{`[` + strings.Repeat(`{},`, MaxItems) + `{}]`, "more than 50000 items"},
		{strings.Repeat(" ", MaxList+1), "more than 8 MiB"},
	} {
		items, err := parseList([]byte(tc.in), new(site))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("parseList(%.100s) = %v, %v; expected an error with %q", tc.in, items, err, tc.want)
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{
		`{"items":[{"path":"/a","title":"A","custom":{"x":"y"},"score_maximum":1}]}`, `[{"url":"/ü?b","title":"\u202e","image":"../x.png"}]`, `[]`, `{}`, `[{"path":"//x"}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		items, err := parseList(data, new(site))
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("%q: error %q", data, err)
			}
			return
		}
		// What was taken could stand in the configuration as it is.
		if _, err := newEntries(items, new(site)); err != nil {
			t.Fatalf("%q: taken, but %v", data, err)
		}
		for _, it := range items {
			if clean, err := CleanPath(it.Path); err != nil || clean != it.Path {
				t.Fatalf("%q: path %q", data, it.Path)
			}
		}
	})
}
