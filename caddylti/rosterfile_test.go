package caddylti

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/caddy-lti/lti/nrps"
)

func TestDefused(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "",
		"Ada Moreau":         "Ada Moreau",
		"O'Hara-Vale":        "O'Hara-Vale",
		"山田 Łukasiewicz":     "山田 Łukasiewicz",
		"a=b":                "a=b",
		"ada@example.edu":    "ada@example.edu",
		`=1+1`:               `'=1+1`,
		"+1":                 "'+1",
		"-1":                 "'-1",
		"@SUM(A1)":           "'@SUM(A1)",
		" =1":                "' =1",
		"\t=1":               "' =1",
		"\r\n=1":             "'  =1",
		"a\tb\x00":           "a b ",
		"\u00a0=1":           "'\u00a0=1",
		"\ufeff=1":           "'\ufeff=1",
		"\u200b=1":           "'\u200b=1",
		"＝1":                 "'＝1",
		"＋1":                 "'＋1",
		"－1":                 "'－1",
		"＠1":                 "'＠1",
		`"=1"`:               `'"=1"`,
		"a;=1":               "a;'=1",
		`a;"=1`:              `a;'"=1`,
		"a; b;-c":            "a; b;'-c",
		"'=1":                "'=1",
		"=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0",
	} {
		if got := defused(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// tableOf writes members as CSV and reads that again.
func tableOf(t *testing.T, members ...nrps.Member) [][]string {
	t.Helper()
	var s sheet
	for i := range members {
		if err := s.add(&members[i]); err != nil {
			t.Fatal(err)
		}
	}
	var text bytes.Buffer
	out := bufio.NewWriter(&text)
	if err := writeRosterCSV(out, nil, s.standing(bytes.NewReader(s.lines))); err != nil {
		t.Fatal(err)
	}
	_ = out.Flush()
	body, ok := strings.CutPrefix(text.String(), "\ufeff")
	if lines := strings.Count(body, "\r\n"); !ok || lines != len(members)+1 || strings.Count(body, "\n") != lines {
		t.Errorf("no mark, or other lines than one for each member: %q", text.String())
	}
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestRosterCSV(t *testing.T) {
	const course = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
	rows := tableOf(t,
		nrps.Member{UserID: "1", Name: `Conan O'Brien & "Co", Ltd`, GivenName: "Conan", FamilyName: "O'Brien", Email: "c@x.example", Roles: []string{course + "Instructor", "https://x.example/r"}, Status: "Active"},
		nrps.Member{UserID: "2", Name: "=HYPERLINK(1)\n", Status: "Inactive"})
	want := [][]string{
		{"user_id", "name", "given_name", "family_name", "email", "roles", "status"},
		{"1", `Conan O'Brien & "Co", Ltd`, "Conan", "O'Brien", "c@x.example", "Instructor,https://x.example/r", "Active"},
		{"2", "'=HYPERLINK(1) ", "", "", "", "", "Inactive"},
	}
	if !slices.EqualFunc(rows, want, slices.Equal) {
		t.Errorf("%q", rows)
	}
}

func FuzzRosterCSV(f *testing.F) {
	for _, s := range []string{"Ada", "=1", ";=1", "\"=1\"", "a\r\nb", "\u2028=1", "=;;=", "é,\"", "\x00=", "\ufeff\ufeff=", "\\.", " -\t"} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, id, name, role string) {
		if id == "" {
			return
		}
		// As it comes from a platform.
		data, err := json.Marshal(nrps.Member{UserID: id, Name: name, Roles: []string{role}, Status: "Active"})
		if err != nil {
			t.Fatal(err)
		}
		var m nrps.Member
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		rows := tableOf(t, m)
		if len(rows) != 2 || !slices.Equal(rows[1], csvRow(&m)) {
			t.Errorf("%q, want %q", rows, csvRow(&m))
		}
		for _, cell := range rows[1] {
			for part := range strings.SplitSeq(cell, ";") {
				visible := strings.TrimLeftFunc(part, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == '"' })
				if visible != "" && strings.ContainsAny(visible[:1], "=+-@") {
					t.Errorf("%q begins a formula", part)
				}
			}
		}
	})
}

// What does not fit into memory goes through a file that others do not see.
func TestSpool(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, lines := range []int{0, 3, 100} {
		var s spool
		var want bytes.Buffer
		for i := range lines {
			line := []byte(strings.Repeat(string(rune('a'+i%26)), 50_000) + "\n")
			want.Write(line)
			if err := s.add(line); err != nil {
				t.Fatal(err)
			}
		}
		if (s.file != nil) != (want.Len() > spoolMemory) || s.buf.Len() > spoolMemory {
			t.Errorf("%d bytes: file %v, %d bytes in memory", want.Len(), s.file != nil, s.buf.Len())
		}
		in, err := s.reader()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%d bytes come back, %v, want %d", len(got), err, want.Len())
		}
		s.close()
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
	s := spool{size: maxSpool}
	if err := s.add([]byte("x\n")); err == nil {
		t.Error("there is no limit")
	}
}
