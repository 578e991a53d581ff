package catalog

import (
	"slices"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	c := open(t, Config{Entries: []Item{
		{Path: "/c10", Title: "Chapter 10"},
		{Path: "/c2", Title: "Chapter 2: Limits"},
		{Path: "/c1", Title: "Chapter 1"},
		{Path: "/limits", Title: "Zero"},
		{Path: "/t", Title: "Text", Text: "All about limits"},
		{Path: "/o", Title: "Off-limits"},
		{Path: "/u", Title: "Unlimitsed"},
		{Path: "/l", Title: "Limits of functions"},
		{Path: "/l1", Title: "Limits"},
		{Path: "/e", Title: "Évaluation finale", Text: "Où, déjà"},
		{Path: "/g", Title: "GRÖSSE UND STRASSE"},
		{Path: "/s", Title: "Łódź Ærø Đakovo"},
		{Path: "/%C3%BCbung.html", Title: "Exercise"},
		{Path: "/m", Title: "数学の問題１２"},
		{Path: "/k", Title: "ガイド"},
		{Path: "/h", Title: "한국어 시험"},
		{Path: "/ar1", Title: "الفصل ١٠"},
		{Path: "/ar2", Title: "الفَصْلُ ٢"},
		{Path: "/ar3", Title: "أسئلة"},
		{Path: "/he", Title: "שָׁלוֹם"},
		{Path: "/th", Title: "ที่"},
		{Path: "/q", Title: "It’s a “test” – really"},
		{Path: "/gr", Title: "ΟΔΟΣ"},
		{Path: "/kashida", Title: "كـــتاب"},
		{Path: "/f1", Title: "Functions of several limbs"},
		{Path: "/f2", Title: "Several limbs of functions"},
		{Path: "/cpp", Title: "C++ & <b>"},
	}})
	for _, tc := range []struct{ query, want string }{
		{"limits", "Limits, Limits of functions, Chapter 2: Limits, Off-limits, Unlimitsed, Zero, Text"},
		{"LIMITS  of", "Limits of functions, Off-limits"},
		{"func limits", "Limits of functions"},
		{"chapter", "Chapter 1, Chapter 2: Limits, Chapter 10"},
		{"chapter 1", "Chapter 1, Chapter 10"},
		{"chapter nothing", ""},
		{"evaluation", "Évaluation finale"},
		{"ÉVALUATION ou deja", "Évaluation finale"},
		{"Größe", "GRÖSSE UND STRASSE"},
		{"straße", "GRÖSSE UND STRASSE"},
		{"lodz aero dakovo", "Łódź Ærø Đakovo"},
		{"ubung", "Exercise"},
		{"数学", "数学の問題１２"},
		{"問題12", "数学の問題１２"},
		{"ガイド", "ガイド"},
		{"ｶﾞｲﾄﾞ", "ガイド"},
		{"カ", ""},
		{"كتاب", "كـــتاب"},
		{"several limbs of functions", "Several limbs of functions, Functions of several limbs"},
		{"시험", "한국어 시험"},
		{"الفصل", "الفَصْلُ ٢, الفصل ١٠"},
		{"الفصل 10", "الفصل ١٠"},
		{"اسئلة", "أسئلة"},
		{"שלום", "שָׁלוֹם"},
		{"ท", "ที่"},
		{"ทุ", ""},
		{`it's "test" - really`, "It’s a “test” – really"},
		{"οδός", "ΟΔΟΣ"},
		{"c++ & <b>", "C++ & <b>"},
		{"\x00", titles(search(t, c, ""))}, // nothing to look for
		{".*", ""},
		{strings.Repeat("limits ", 100), "Limits, Limits of functions, Chapter 2: Limits, Off-limits, Unlimitsed, Zero, Text"},
		{strings.Repeat("x", 1<<20), ""},
	} {
		p := search(t, c, tc.query)
		if got := titles(p); got != tc.want || (got != "" && p.Total != len(p.Items)) {
			t.Errorf("Search(%.40q): %q, expected %q", tc.query, got, tc.want)
		}
	}
}

func TestNatural(t *testing.T) {
	want := []string{"", "2 b", "10 a", "a", "a1", "a01b", "a2", "a2b", "a10", "a10b2", "a10b11", "a100", "ab", "b"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortStableFunc(got, natural)
	if !slices.Equal(got, want) {
		t.Errorf("order %q", got)
	}
	big := strings.Repeat("9", 400)
	if natural("a"+big, "a1"+big) >= 0 {
		t.Error("long numbers are not compared by value")
	}
}

func TestFoldIsStable(t *testing.T) {
	for _, s := range []string{"", "ÀÉÎ õ", "ﬁ ＡＢＣ ½", "ガｶﾞ", "한글", "İıſ", "אָ", "٣٤", "ẞß", "a\u0000b\u00adc\u200bd", "\xff\xfe"} {
		once := fold(s)
		if twice := fold(once); twice != once {
			t.Errorf("fold(%q) = %q, folded again %q", s, once, twice)
		}
		if strings.ContainsRune(once, 0) {
			t.Errorf("fold(%q) = %q has a NUL", s, once)
		}
	}
}
