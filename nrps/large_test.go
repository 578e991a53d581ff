package nrps

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// largeMember writes a member as platforms send them, about 500 bytes.
func largeMember(w io.Writer, n int) {
	fmt.Fprintf(w, `{"status":"Active","roles":["Learner","http://purl.imsglobal.org/vocab/lis/v2/institution/person#Student"],"user_id":"b3a1c2d4-%08d-4d2f-9a77","lis_person_sourcedid":"S-%08d",`+
		`"name":"Zoë Łukasiewicz-山田 %d","given_name":"Zoë","family_name":"Łukasiewicz-山田 %d","email":"student%d@university.example.edu","picture":"https://lms.example.edu/pictures/%d/large.jpg",`+
		`"https://lms.example.edu/ext":{"section":"%d"},"ext_user_username":"student%d"}`, n, n, n, n, n, n, n%20, n)
}

// large answers with so many members, in pages of that many.
func large(members, perPage int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from := 0
		_, _ = fmt.Sscan(r.FormValue("from"), &from)
		to := min(from+perPage, members)
		if to < members {
			w.Header().Set("Link", fmt.Sprintf(`</m?from=%d>; rel="next"`, to))
		}
		buf := bufio.NewWriter(w)
		fmt.Fprint(buf, `{"id":"https://lms.example/m","context":{"id":"c1"},"members":[`)
		for n := from; n < to; n++ {
			if n > from {
				fmt.Fprint(buf, ",")
			}
			largeMember(buf, n)
		}
		fmt.Fprint(buf, "]}")
		_ = buf.Flush()
	}
}

// A roster of 100,000 passes through a few megabytes, in pages or as one, and
// each page is fetched once. The budget is for one member, garbage, and what is
// remembered of each person; all that was sent is several times as much.
func TestLargeRoster(t *testing.T) {
	members := 100_000
	if testing.Short() || raced {
		members /= 5
	}
	budget := int64(6<<20 + 100*members)
	for _, perPage := range []int{100, members} {
		l := newLMS(t, large(members, perPage))
		c := l.client("/m")
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		before, peak := stats.HeapAlloc, uint64(0)
		r, err := c.Open(t.Context(), Filter{Role: "Learner"})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for m, err := range r.Members() {
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("b3a1c2d4-%08d-4d2f-9a77", n); m.UserID != want {
				t.Fatalf("member %d is %s, want %s", n, m.UserID, want)
			}
			if n++; n%1000 == 0 {
				runtime.ReadMemStats(&stats)
				peak = max(peak, stats.HeapAlloc)
			}
		}
		if n != members {
			t.Errorf("%d members", n)
		}
		used := int64(peak) - int64(before)
		t.Logf("%d members in pages of %d: %.1f MB", members, perPage, float64(used)/1e6)
		if used > budget {
			t.Errorf("pages of %d: %d bytes of memory were in use, at most %d are promised", perPage, used, budget)
		}
		asked := make(map[string]int)
		for _, url := range l.asked() {
			if asked[url]++; asked[url] > 1 {
				t.Errorf("%s was fetched again", url)
			}
		}
		if len(asked) != members/perPage {
			t.Errorf("%d pages, want %d", len(asked), members/perPage)
		}
	}
}

func TestTooManyMembers(t *testing.T) {
	l := newLMS(t, serve(roster(member("a", "Learner"), member("b", "Learner"), member("c", "Learner"))))
	r, err := l.client("/m").Open(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	r.members = maxMembers - 2 // as many came before these
	var members []Member
	for m, failed := range r.Members() {
		if err = failed; err == nil {
			members = append(members, m)
		}
	}
	if short(members) != "a:Learner b:Learner" || !errors.Is(err, ErrTooMany) {
		t.Errorf("%s, %v", short(members), err)
	}
}

func BenchmarkMembers(b *testing.B) {
	var page strings.Builder
	page.WriteString(`{"id":"https://lms.example/m","context":{"id":"c1"},"members":[`)
	const members = 1000
	for n := range members {
		if n > 0 {
			page.WriteString(",")
		}
		largeMember(&page, n)
	}
	page.WriteString("]}")
	c := New(callerFunc(func(string) (http.Header, io.ReadCloser, error) {
		return http.Header{}, io.NopCloser(strings.NewReader(page.String())), nil
	}), Endpoint{URL: "https://lms.example/m"})
	b.SetBytes(int64(page.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, got, err := read(b, c, Filter{}); err != nil || len(got) != members {
			b.Fatal(len(got), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*members), "ns/member")
}
