package devlms

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// cell is a grade as the gradebook shows it.
type cell struct {
	Points  string // "" means no score
	Over    string // what stands behind it
	State   string // what is not final yet
	Comment string
	At      time.Time
}

// Given tells whether the tool has said anything.
func (c cell) Given() bool { return !c.At.IsZero() }

// Stamp is the time as machines read it.
func (c cell) Stamp() string { return c.At.UTC().Format(time.RFC3339Nano) }

// Time is the time as people read it.
func (c cell) Time() string { return c.At.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

type gradebookRow struct {
	Name  string
	Cells []cell
}

// gradebook shows a course's grades: to teachers all, to learners their own.
func (p *platform) gradebook(v *visit, c *course) error {
	type column struct{ Label, Tool, Maximum string }
	b := p.state.book(v.issuer)
	items := p.lineItems(b, c, nil)
	columns := make([]column, 0, len(items))
	for _, item := range items {
		col := column{Label: item.label, Maximum: points(item.maximum)}
		if t := p.toolByName(b, item.tool); t != nil { // it may go at any time
			col.Tool = t.Title
		}
		columns = append(columns, col)
	}
	var rows []gradebookRow
	scores := false
	for _, who := range people {
		if !who.Learner() || v.person.Learner() && who != v.person {
			continue
		}
		row := gradebookRow{Name: who.Name()}
		for _, item := range items {
			shown := showCell(b.grade(item, who.ID), item)
			scores = scores || shown.Given()
			row.Cells = append(row.Cells, shown)
		}
		rows = append(rows, row)
	}
	return p.render(v, "gradebook", refreshPolicy, http.StatusOK, page{Title: "Gradebook", Body: struct {
		Course  *course
		Columns []column
		Rows    []gradebookRow
		Scores  bool
		Version string
	}{c, columns, rows, scores, refreshVersion}})
}

func showCell(g *grade, item *lineItem) cell {
	if g == nil {
		return cell{}
	}
	shown := cell{Comment: g.comment, At: g.at}
	if n, ok := g.in(item); ok {
		shown.Points, shown.Over = points(n), points(item.maximum)
	}
	if g.grading != gradingFinal {
		shown.State = g.activity + ", " + g.grading
	}
	return shown
}

// points writes a number with two decimals at most.
func points(n float64) string {
	return strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64)
}
