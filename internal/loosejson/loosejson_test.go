package loosejson

import (
	"encoding/json"
	"testing"
)

func TestMembers(t *testing.T) {
	var m Members
	doc := `{"s":"a","e":"","u":"\u00e9\n","n":5,"f":1.50,"z":null,"l":["a"],"b":true,"q":" 2.5 ","x":"NaN","no":{}}`
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"s": "a", "e": "", "u": "é\n", "n": "5", "f": "1.50", "z": "", "missing": ""} {
		if got := m.Text(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if _, ok := m[name]; ok {
			t.Errorf("%s was not taken out", name)
		}
	}
	if m.Text("l") != "" || m.Text("b") != "" || m.Number("x") != nil || m.Number("no") != nil || m.Boolean("no") != nil {
		t.Error("something was read that does not fit")
	}
	if b := m.Boolean("b"); b == nil || !*b {
		t.Errorf("b: %v", b)
	}
	if q := m.Number("q"); q == nil || *q != 2.5 {
		t.Errorf("q: %v", q)
	}
	if rest := m.Rest(); len(rest) != 3 || string(rest["l"]) != `["a"]` {
		t.Errorf("rest %s", rest)
	}
	if rest := (Members{}).Rest(); rest != nil {
		t.Errorf("rest %v, want nil", rest)
	}
}

// A string is what encoding/json says it is.
func FuzzText(f *testing.F) {
	for _, s := range []string{`"a"`, `"\u00e9\ud800"`, "\"\xff\"", `""`, `"`, `5`, `null`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var m Members
		var want string
		if json.Unmarshal([]byte(`{"a":`+raw+`}`), &m) != nil || len(m) != 1 || json.Unmarshal(m["a"], &want) != nil {
			return
		}
		if got := m.Text("a"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
