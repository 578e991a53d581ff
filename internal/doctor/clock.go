package doctor

import (
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/lti"
)

const clockMend = "set the clock that is wrong by NTP (timedatectl); where several platforms differ alike, it is this server's"

var (
	clockWrong = define(rule{
		CheckClock, "wrong", Failure, fault.ToolAdmin, clockMend,
		"set the clock of the server, or of this machine, by NTP (timedatectl)",
	})
	clockBehind = define(rule{CheckClock, "behind", Warning, fault.PlatformAdmin, clockMend, ""})
	clockOff    = define(rule{
		CheckClock, "off", Note, fault.ToolAdmin, clockMend,
		"set the clock of the server, or of this machine, by NTP (timedatectl)",
	})
	clockRefused = define(rule{CheckClock, "refused", Failure, fault.ToolAdmin, clockMend, ""})
	clockNoDate  = define(rule{CheckClock, "no_date", Note, fault.Nobody, "", ""})
)

// clockNoise is a difference that means nothing.
const clockNoise = 5 * time.Second

// sample is when an answer was asked for, when it was there, and its header.
type sample struct {
	sent, got time.Time
	header    http.Header
}

// skew returns how far the other clock is ahead, at least: the time that the
// answer took, and the part of a second that Date leaves out, count for it.
func (s *sample) skew() (time.Duration, bool) {
	date, err := http.ParseTime(s.header.Get("Date"))
	if err != nil {
		return 0, false
	}
	// A cache leaves Date as it was (RFC 9111 §4.2.3).
	if age, err := strconv.ParseUint(s.header.Get("Age"), 10, 31); err == nil {
		date = date.Add(time.Duration(age) * time.Second)
	}
	if ahead := date.Sub(s.got); ahead > 0 {
		return ahead, true
	}
	return min(date.Add(time.Second).Sub(s.sent), 0), true
}

// clock judges the clock of the other side by several answers, of which the one
// that differs least counts: others may have come from a cache.
func (r *report) clock(samples []sample, leeway time.Duration) {
	var least time.Duration
	known := false
	for _, s := range samples {
		if d, ok := s.skew(); ok && (!known || d.Abs() < least.Abs()) {
			least, known = d, true
		}
	}
	if leeway == 0 {
		leeway = lti.DefaultLeeway
	}
	way := "ahead of"
	if least < 0 {
		way = "behind"
	}
	by := least.Abs().Round(time.Second)
	switch {
	case len(samples) == 0: // no answer, which is said elsewhere
	case !known:
		r.broken(clockNoDate, "no answer has a Date, so the clocks cannot be compared")
	case least.Abs() > leeway:
		r.broken(clockWrong, "the clock there is %s %s this one, more than the %s that are allowed for, so launches fail", by, way, leeway)
	case least < -service.AssertionBack && !r.own:
		r.broken(clockBehind, "the clock there is %s behind this one; platforms that allow for no difference refuse to give tokens", by)
	case least.Abs() > clockNoise:
		r.broken(clockOff, "the clock there is %s %s this one", by, way)
	default:
		r.ok(CheckClock, "both clocks agree within %s", max(by, time.Second))
	}
}
