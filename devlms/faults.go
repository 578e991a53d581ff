package devlms

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a fault can be switched for: the token endpoint, all of AGS, its scores
// alone, the rosters of NRPS, or the platform's key set.
const (
	targetToken   = "token"
	targetAGS     = "ags"
	targetScores  = "scores"
	targetMembers = "members"
	targetKeys    = "jwks"
)

// Faults of a target, one at a time.
const (
	faultOff       = "off"
	faultDown      = "down"      // the connection is closed
	fault503       = "503"       // as from a proxy in front of an LMS that is down
	fault500       = "500"       //
	fault429       = "429"       // with Retry-After: a number of seconds, or "date" and that number
	faultSlow      = "slow"      // answers after a time
	faultHang      = "hang"      // never answers
	faultHalf      = "half"      // every second call is a 503
	faultTruncated = "truncated" // does what is asked; the answer breaks off
	faultLost      = "lost"      // does what is asked; no answer arrives
	faultRedirect  = "redirect"  // to another host
	faultExpired   = "expired"   // every token is refused once

	// Of rosters only.
	faultLoop      = "loop"       // a page names itself as the next
	faultForeign   = "foreign"    // the next page is at another host
	faultNoUserID  = "no_user_id" // the last member of a page has none
	faultUnclosed  = "unclosed"   // the answer is whole, its JSON is not
	faultWrongType = "wrong_type" // application/json
)

// Peculiarities of real LMSs, each on or off.
const (
	quirkWholeSeconds = "whole_seconds" // Moodle: timestamps count by the second, refusals say nothing
	quirkErase        = "erase"         // Moodle: what is not final, or has no score, deletes the grade
	quirkHTMLToken    = "html_token"    // Moodle: token answers are text/html
	quirkStrictAccept = "strict_accept" // Moodle: media types are compared as strings
	quirkBrokenLink   = "broken_link"   // Moodle: typographic quotes and &amp; in Link
	quirkNoLineItem   = "no_lineitem"   // the claim has no lineitem
	quirkPageSize     = "page_size"     // lists are cut into pages, asked for or not
	quirkShortRoles   = "short_roles"   // Moodle: rosters have simple names of roles
	quirkEscapedNames = "escaped_names" // Moodle: names in rosters are HTML
	quirkInactive     = "inactive"      // somebody who has left is in each roster
)

var (
	targets = []string{targetToken, targetAGS, targetScores, targetMembers, targetKeys}
	quirks  = []string{
		quirkWholeSeconds, quirkErase, quirkHTMLToken, quirkStrictAccept, quirkBrokenLink, quirkNoLineItem, quirkPageSize,
		quirkShortRoles, quirkEscapedNames, quirkInactive,
	}
)

// elsewhere is where the faults redirect and foreign lead, unless another place is named. No
// name below invalid exists (RFC 6761 §6.4).
const elsewhere = "https://elsewhere.invalid/"

// maxWait bounds the faults slow and 429.
const maxWait = time.Hour

// fault is what a name was set to.
type fault struct {
	kind string // one of the faults, or "on"; "" is off
	text string // as it was given
	wait time.Duration
	date bool
	to   string
	size int
}

// parseFault reads the value of a fault or quirk.
func parseFault(name, value string) (fault, error) {
	words := strings.Fields(value)
	if len(words) == 0 {
		return fault{}, fmt.Errorf("%s: the value is missing", name)
	}
	f := fault{kind: words[0], text: strings.Join(words, " ")}
	args := words[1:]
	bad := func(expected string) (fault, error) {
		return fault{}, fmt.Errorf("%s: bad value %q: expected %s", name, truncate(value), expected)
	}
	if f.kind == faultOff && len(args) == 0 {
		return fault{}, nil
	}
	switch {
	case name == quirkPageSize:
		n, err := strconv.Atoi(f.kind)
		if err != nil || n < 1 || len(args) > 0 {
			return bad("a number, or off")
		}
		f.kind, f.size = "on", n
		return f, nil
	case slices.Contains(quirks, name):
		if f.kind != "on" || len(args) > 0 {
			return bad("on or off")
		}
		return f, nil
	case !slices.Contains(targets, name):
		return fault{}, fmt.Errorf("unknown fault %q: expected %s or %s",
			truncate(name), strings.Join(targets, ", "), strings.Join(quirks, ", "))
	}

	var err error
	switch f.kind {
	case faultDown, fault503, fault500, faultHang, faultHalf, faultTruncated, faultLost:
		if len(args) > 0 {
			return bad("nothing after " + f.kind)
		}
	case faultExpired:
		if name == targetToken || name == targetKeys || len(args) > 0 {
			return bad("expired for " + targetAGS + ", " + targetScores + " or " + targetMembers + ", with nothing after it")
		}
	case faultLoop, faultNoUserID, faultUnclosed, faultWrongType:
		if name != targetMembers || len(args) > 0 {
			return bad(f.kind + " for " + targetMembers + ", with nothing after it")
		}
	case faultSlow:
		f.wait, err = parseWait(args, 5*time.Second)
	case fault429:
		if len(args) > 0 && args[0] == "date" {
			f.date, args = true, args[1:]
		}
		f.wait, err = parseWait(args, time.Second)
	case faultRedirect, faultForeign:
		if f.kind == faultForeign && name != targetMembers {
			return bad(faultForeign + " for " + targetMembers)
		}
		f.to = elsewhere
		if len(args) > 0 {
			f.to = args[0]
		}
		if len(args) > 1 {
			return bad("one URL after " + f.kind)
		}
		err = checkURL(f.to)
	default:
		return bad("off, down, 503, 500, 429, slow, hang, half, truncated, lost, redirect or expired" +
			", for " + targetMembers + " also loop, foreign, no_user_id, unclosed or wrong_type")
	}
	if err != nil {
		return fault{}, fmt.Errorf("%s: %s: %w", name, f.kind, err)
	}
	return f, nil
}

// parseWait reads a time: 5s, 200ms, or a number of seconds.
func parseWait(args []string, usual time.Duration) (time.Duration, error) {
	if len(args) == 0 {
		return usual, nil
	}
	wait, err := time.ParseDuration(args[0])
	if n, atoiErr := strconv.Atoi(args[0]); atoiErr == nil {
		wait, err = time.Duration(min(n, int(maxWait)))*time.Second, nil
		if n > int(maxWait/time.Second) {
			wait = maxWait + 1
		}
	}
	if err != nil || len(args) > 1 || wait < 0 || wait > maxWait {
		return 0, fmt.Errorf("bad time %q: expected such as 5s or 5, an hour at most", truncate(strings.Join(args, " ")))
	}
	return wait, nil
}

// parseFaults reads the configured ones.
func parseFaults(values map[string]string) (map[string]fault, error) {
	faults := make(map[string]fault, len(values))
	for name, value := range values {
		f, err := parseFault(name, value)
		if err != nil {
			return nil, err
		}
		faults[name] = f
	}
	return faults, nil
}

// fault returns what is on under a name: what was set at run time, else what is
// configured.
func (p *platform) fault(b *book, name string) fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.faultLocked(b, name)
}

func (p *platform) faultLocked(b *book, name string) fault {
	if f, ok := b.faults[name]; ok {
		return f
	}
	return p.faults[name]
}

func (p *platform) quirk(b *book, name string) bool { return p.fault(b, name).kind != "" }

// faultFor returns the fault of a call, and what is closed when faults change.
// That of scores wins over that of AGS.
func (p *platform) faultFor(b *book, target string) (fault, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := p.faultLocked(b, target)
	if target == targetScores && f.kind == "" {
		f = p.faultLocked(b, targetAGS)
	}
	return f, b.changed
}

// service serves a call of a service: it counts it, and brings on the fault that
// is switched on for it.
func (p *platform) service(target string, serve func(*visit, *book) error) func(*visit) error {
	return func(v *visit) error {
		b := p.state.book(v.issuer)
		stopped := p.stops.of(v.r)
		f, changed := p.faultFor(b, target)
		b.count(target) // last, so that who counts knows what will come of it
		v.note.fault = f.text
		switch f.kind {
		case faultDown:
			panic(http.ErrAbortHandler) // net/http closes the connection
		case fault500, fault503:
			status, _ := strconv.Atoi(f.kind)
			answerProblem(v, status, "this is the fault "+f.text)
			return nil
		case fault429:
			after := strconv.Itoa(int(f.wait.Seconds()))
			if f.date {
				after = p.now().Add(f.wait).UTC().Format(http.TimeFormat)
			}
			v.w.Header().Set("Retry-After", after)
			answerProblem(v, http.StatusTooManyRequests, "this is the fault "+f.text)
			return nil
		case faultHalf:
			b.mu.Lock()
			b.calls[target]++
			fails := b.calls[target]%2 == 0
			b.mu.Unlock()
			if fails {
				answerProblem(v, http.StatusServiceUnavailable, "this is the fault "+f.text)
				return nil
			}
		case faultRedirect:
			v.w.Header().Set("Location", f.to)
			v.w.WriteHeader(http.StatusFound)
			return nil
		case faultSlow, faultHang:
			if !delay(v, f, changed, stopped) {
				panic(http.ErrAbortHandler)
			}
		case faultTruncated, faultLost:
			if target == targetMembers {
				// Nothing is done there but answering, and not all of it may be in
				// memory at once.
				if f.kind == faultLost {
					panic(http.ErrAbortHandler)
				}
				break
			}
			return breakOff(v, f.kind == faultLost, func() error { return serve(v, b) })
		}
		return serve(v, b)
	}
}

// control answers only to this machine itself, and to no proxy on it, nor to a
// page of another site in a browser on it.
func (p *platform) control(serve func(*visit, *book) error) func(*visit) error {
	return func(v *visit) error {
		if !isLoopbackPeer(v.r) || p.csrf.Check(v.r) != nil {
			return p.refuse(v, http.StatusForbidden, "Not from there", "This address answers only requests that begin on this machine.")
		}
		return serve(v, p.state.book(v.issuer))
	}
}

func isLoopbackPeer(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	return isLoopback(r.RemoteAddr)
}

// faultsPage says what is switched on and how often the services were called,
// and switches: each field of the form is a fault and its value.
func (p *platform) faultsPage(v *visit, b *book) error {
	if v.r.Method == http.MethodPost {
		v.limit(4 << 10)
		problem := v.r.ParseForm()
		if problem == nil {
			problem = p.switchFaults(b, v.r.PostForm)
		}
		if problem != nil {
			answerProblem(v, http.StatusBadRequest, problem.Error())
			return nil
		}
	}
	on := make(map[string]string)
	for _, name := range slices.Concat(targets, quirks) {
		if f := p.fault(b, name); f.kind != "" {
			on[name] = f.text
		}
	}
	b.mu.Lock()
	count := b.counts
	b.mu.Unlock()
	answerJSON(v, http.StatusOK, "application/json", struct {
		Faults map[string]string `json:"faults"`
		Count  counts            `json:"count"`
	}{on, count})
	return nil
}

// switchFaults does all that a form says, or nothing. First it resets: faults to
// the configured ones, count to zero, grades to none, and content, with its
// grades, to what is configured.
func (p *platform) switchFaults(b *book, form url.Values) error {
	set := make(map[string]fault)
	for name, values := range form {
		if name == "reset" {
			continue
		}
		if len(values) != 1 {
			return fmt.Errorf("%s is given more than once", truncate(name))
		}
		f, err := parseFault(name, values[0])
		if err != nil {
			return err
		}
		set[name] = f
	}
	for _, what := range form["reset"] {
		if !slices.Contains([]string{"faults", "count", "grades", "content"}, what) {
			return fmt.Errorf("reset: bad value %q: expected faults, count, grades or content", truncate(what))
		}
	}
	if slices.Contains(form["reset"], "grades") {
		b.clear()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(form["reset"], "content") {
		for _, ct := range b.contents {
			b.forgetLink(ct.resourceLinkID())
		}
		b.contents = nil
	}
	if slices.Contains(form["reset"], "faults") {
		clear(b.faults)
	}
	if slices.Contains(form["reset"], "count") {
		b.counts = counts{}
	}
	maps.Copy(b.faults, set)
	clear(b.calls)
	close(b.changed) // who hangs is let go
	b.changed = make(chan struct{})
	return nil
}
