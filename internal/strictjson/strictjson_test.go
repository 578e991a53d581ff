package strictjson

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestObject(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		ok       bool
	}{
		{"empty", `{}`, true},
		{"nested duplicate is left alone", `{"a":{"b":1,"b":2}}`, true},
		{"case matters", `{"a":1,"A":2}`, true},
		{"white space around", " {\"a\":1}\n", true},
		{"duplicate", `{"a":1,"a":2}`, false},
		{"duplicate by escape", `{"a":1,"\u0061":2}`, false},
		{"array", `[1]`, false},
		{"null", `null`, false},
		{"string", `"x"`, false},
		{"nothing", ``, false},
		{"cut off", `{"a":1`, false},
		{"cut off in a value", `{"a":[1`, false},
		{"two objects", `{"a":1}{"b":2}`, false},
		{"rubbish behind", `{"a":1} x`, false},
		{"number as name", `{1:2}`, false},
		{"comma at the end", `{"a":1,}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Object([]byte(tc.in))
			if (err == nil) != tc.ok {
				t.Errorf("Object(%q): %v, expected success %v", tc.in, err, tc.ok)
			}
		})
	}
	if _, err := Object([]byte(`{"a":1,"a":1}`)); !errors.Is(err, ErrDuplicate) {
		t.Errorf("expected ErrDuplicate, got %v", err)
	}
}

func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `{"a":{"b":[1,2]}}`, `{"a":1,"a":2}`, `{"é":"\u00e9"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, err := Object(data)
		if err != nil {
			return
		}
		var std map[string]json.RawMessage
		if err := json.Unmarshal(data, &std); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %q: %v", data, err)
		}
		if len(std) != len(obj) {
			t.Fatalf("%q: %d members, encoding/json has %d", data, len(obj), len(std))
		}
	})
}
