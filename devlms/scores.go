package devlms

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"
)

// maxScoreBody limits a score.
const maxScoreBody = 32 << 10

// gradingFinal is the gradingProgress of a score that counts.
const gradingFinal = "FullyGraded"

var (
	activityProgress = []string{"Initialized", "Started", "InProgress", "Submitted", "Completed"}
	gradingProgress  = []string{gradingFinal, "Pending", "PendingManual", "Failed", "NotReady"}
)

// score is what a tool says about a person's work (AGS 2.0 §3.4).
type score struct {
	user     string
	given    *float64 // nil: there is none
	maximum  float64
	comment  string
	activity string
	grading  string
	grader   string
	// timestamp is at, as it was written.
	timestamp string
	at        time.Time

	started, submitted time.Time
}

// grade is the last score of a person for a line item, with what it keeps of
// those before.
type grade struct {
	score

	received time.Time
}

// in returns the score in points of the line item.
func (g *grade) in(item *lineItem) (float64, bool) {
	if g == nil || g.given == nil {
		return 0, false
	}
	if g.maximum == item.maximum {
		return *g.given, true
	}
	return *g.given * item.maximum / g.maximum, true
}

// subSecond is ISO 8601 with a zone and a part of a second, both of which AGS 2.0
// §3.4.8 demands; real LMSs do without the latter.
var subSecond = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(Z|[+-]\d\d:\d\d)$`)

func (p *parser) moment(name string) (time.Time, string) {
	s, ok := p.text(name)
	if !ok {
		return time.Time{}, ""
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !subSecond.MatchString(s) {
		p.fail(name + " is no ISO 8601 time with parts of a second and a zone")
		return time.Time{}, ""
	}
	return t, s
}

// parseScore reads a score; what it can read it returns with a refusal too.
func parseScore(members map[string]json.RawMessage) (score, *refusal) {
	var s score
	p := parser{members: members}
	if s.user, _ = p.text("userId"); s.user == "" {
		p.fail("userId is missing")
	}
	if s.activity, _ = p.text("activityProgress"); !slices.Contains(activityProgress, s.activity) {
		p.fail("activityProgress is missing or none of those in AGS 2.0 §3.4.6")
	}
	if s.grading, _ = p.text("gradingProgress"); !slices.Contains(gradingProgress, s.grading) {
		p.fail("gradingProgress is missing or none of those in AGS 2.0 §3.4.7")
	}
	if s.at, s.timestamp = p.moment("timestamp"); s.at.IsZero() {
		p.fail("timestamp is missing")
	}
	if given, ok := p.number("scoreGiven"); ok {
		if given < 0 {
			p.fail("scoreGiven is below 0")
		}
		s.given = &given
	}
	maximum, ok := p.number("scoreMaximum")
	switch {
	case ok && maximum < minMaximum:
		p.fail("scoreMaximum is not above 0")
	case !ok && s.given != nil:
		p.fail("scoreMaximum is missing")
	}
	s.maximum = maximum
	s.comment, _ = p.text("comment")
	if raw, ok := members["scoringUserId"]; ok {
		if s.grader, _ = p.text("scoringUserId"); s.grader == "" {
			p.fail("scoringUserId is " + truncate(string(raw)) + ", expected a user or nothing")
		}
	}
	if raw, ok := members["submission"]; ok {
		sub := parser{}
		if json.Unmarshal(raw, &sub.members) != nil {
			p.fail("submission is not an object")
		}
		s.started, _ = sub.moment("startedAt")
		s.submitted, _ = sub.moment("submittedAt")
		if !s.started.IsZero() && !s.submitted.IsZero() && s.submitted.Before(s.started) {
			sub.fail("submittedAt is before startedAt")
		}
		if sub.refused != nil {
			p.fail(sub.refused.reason)
		}
	}
	return s, p.refused
}

// postScore takes a score (AGS 2.0 §3.4).
func (p *platform) postScore(c *call, item *lineItem) *refusal {
	members, refused := parseObject(c.r.Body, maxScoreBody)
	var s score
	if refused == nil {
		s, refused = parseScore(members)
	}
	whole, erase := p.quirk(c.book, quirkWholeSeconds), p.quirk(c.book, quirkErase)

	c.book.mu.Lock()
	if refused == nil {
		refused = p.applyScore(c, item, s, whole, erase)
	}
	a := arrival{item: item.key(), score: s.clipped(), status: http.StatusOK, received: p.now()}
	if refused != nil {
		a.status = refused.status
	}
	c.book.arrived(a)
	c.book.mu.Unlock()

	if refused == nil {
		c.w.Header().Set("Content-Type", typeScore+"; charset=utf-8")
		c.w.WriteHeader(http.StatusOK)
	}
	return refused
}

// applyScore judges a score by what is known of its line item and person. The
// caller holds the lock of the book.
func (p *platform) applyScore(c *call, item *lineItem, s score, whole, erase bool) *refusal {
	if p.findLocked(c.book, c.course, c.tool, item.id) == nil {
		return refuse(http.StatusNotFound, "there is no such line item")
	}
	wrongUser := http.StatusUnprocessableEntity // as Canvas
	if whole {
		wrongUser = http.StatusBadRequest // as Moodle
	}
	switch who := findPerson(s.user); {
	case who == nil && c.course.generated(s.user):
		return refuse(wrongUser, "userId is a member who is only listed; scores are for the people that one can choose to be")
	case who == nil:
		return refuse(wrongUser, "userId is nobody of this course")
	case !who.Learner():
		return refuse(wrongUser, "userId is a person who is not graded")
	}
	key := gradeKey{item.key(), s.user}
	last := c.book.grades[key]
	if last != nil && (!s.at.After(last.at) || whole && s.at.Unix() <= last.at.Unix()) {
		return refuse(http.StatusConflict, "Refusing score with an earlier timestamp for item %s and user %s", item.id, s.user)
	}
	if erase && (s.given == nil || s.grading != gradingFinal) {
		delete(c.book.grades, key)
		return nil
	}
	g := &grade{score: s, received: p.now()}
	// AGS 2.0 §3.4.9: the times of a submission stay until the work is reset.
	if last != nil {
		if g.started.IsZero() && s.activity != "Initialized" {
			g.started = last.started
		}
		if g.submitted.IsZero() && (s.activity == "Submitted" || s.activity == "Completed") {
			g.submitted = last.submitted
		}
	}
	c.book.grades[key] = g
	return nil
}

// clipped is the score as it is remembered among thousands.
func (s score) clipped() score {
	for _, text := range []*string{&s.user, &s.comment, &s.activity, &s.grading, &s.grader, &s.timestamp} {
		*text = truncate(*text)
	}
	return s
}

// listResults answers with what the gradebook shows (AGS 2.0 §3.3).
func (p *platform) listResults(c *call, item *lineItem) *refusal {
	type result struct {
		ID      string   `json:"id"`
		ScoreOf string   `json:"scoreOf"`
		User    string   `json:"userId"`
		Score   *float64 `json:"resultScore,omitempty"`
		Maximum float64  `json:"resultMaximum"`
		Comment string   `json:"comment,omitempty"`
		Grader  string   `json:"scoringUserId,omitempty"`
		At      string   `json:"timestamp"`
	}
	all := []result{}
	for _, who := range people {
		if c.query.Has("user_id") && c.query.Get("user_id") != who.ID {
			continue
		}
		g := c.book.grade(item, who.ID)
		points, scored := g.in(item)
		if g == nil || !scored && g.comment == "" {
			continue
		}
		r := result{
			ID:      item.url(c.issuer, c.tool, "/results") + "&user_id=" + url.QueryEscape(who.ID),
			ScoreOf: item.url(c.issuer, c.tool, ""),
			User:    who.ID, Maximum: item.maximum, Comment: g.comment, Grader: g.grader,
			At: g.at.Format(time.RFC3339Nano),
		}
		if scored {
			r.Score = &points
		}
		all = append(all, r)
	}
	from, to, refused := p.cut(c, len(all))
	if refused != nil {
		return refused
	}
	answerJSON(c.visit, http.StatusOK, typeResults, all[from:to])
	return nil
}

// shownScore is a score in grades.json.
type shownScore struct {
	LineItem  string   `json:"lineItem"`
	User      string   `json:"userId"`
	Given     *float64 `json:"scoreGiven"`
	Maximum   float64  `json:"scoreMaximum"`
	Timestamp string   `json:"timestamp"`
	Comment   string   `json:"comment"`
	Activity  string   `json:"activityProgress"`
	Grading   string   `json:"gradingProgress"`
	Status    int      `json:"status,omitempty"`
	Received  string   `json:"received"`
}

func show(url string, s score, received time.Time) shownScore {
	return shownScore{
		LineItem: url, User: s.user, Given: s.given, Maximum: s.maximum, Timestamp: s.timestamp,
		Comment: s.comment, Activity: s.activity, Grading: s.grading, Received: received.UTC().Format(time.RFC3339Nano),
	}
}

// grades tells tests all scores as they arrived, refused ones too, and the
// grades that came of them.
func (p *platform) grades(v *visit, b *book) error {
	type shownGrade struct {
		shownScore

		Label         string   `json:"label"`
		ResultScore   *float64 `json:"resultScore"`
		ResultMaximum float64  `json:"resultMaximum"`
		Started       string   `json:"startedAt,omitempty"`
		Submitted     string   `json:"submittedAt,omitempty"`
	}
	body := struct {
		Scores    []shownScore `json:"scores"`
		Forgotten int          `json:"forgotten"`
		Grades    []shownGrade `json:"grades"`
	}{Scores: []shownScore{}, Grades: []shownGrade{}}

	urls := make(map[itemKey]string)
	for _, c := range courses {
		for _, item := range p.lineItems(b, c, nil) {
			t := p.toolByName(b, item.tool)
			if t == nil { // it has just gone
				continue
			}
			urls[item.key()] = item.url(v.issuer, t, "")
			for _, who := range people {
				g := b.grade(item, who.ID)
				if g == nil {
					continue
				}
				shown := shownGrade{
					shownScore: show(urls[item.key()], g.score, g.received), Label: item.label, ResultMaximum: item.maximum,
				}
				if points, ok := g.in(item); ok {
					shown.ResultScore = &points
				}
				shown.Started, shown.Submitted = stamp(g.started), stamp(g.submitted)
				body.Grades = append(body.Grades, shown)
			}
		}
	}
	b.mu.Lock()
	arrivals := b.inOrder()
	body.Forgotten = b.forgotten
	b.mu.Unlock()
	for _, a := range arrivals {
		where, ok := urls[a.item]
		if !ok {
			where = a.item.course + "/" + a.item.id // it is gone
		}
		s := show(where, a.score, a.received)
		s.Status = a.status
		body.Scores = append(body.Scores, s)
	}
	answerJSON(v, http.StatusOK, "application/json", body)
	return nil
}

// stamp writes a time, if there is one.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
