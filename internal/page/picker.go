package page

// Picker is the list in which a teacher finds what to add to a course.
type Picker struct {
	Action string // where the form is posted to show another part of the list
	Answer string // where it is posted when the choice is made
	Course string
	Query  string
	From   int // of the list, as Action is told
	// Results is the part of the list that is shown, of Total that match.
	Results []Choice
	Total   int
	// Earlier and Later are where the parts before and after begin, -1 for none.
	Earlier, Later int
	Chosen         []Chosen
	Multiple       bool // several may be chosen
	Points         bool // the platform takes maximum scores
	Slow           bool // the list is still being read
	Incomplete     bool // a part of it could not be read
	Gone           bool // something that had been chosen is no longer there
}

// First and Last count the results that are shown, from 1.
func (p *Picker) First() int { return p.From + 1 }

// Last is the number of the last result that is shown.
func (p *Picker) Last() int { return p.From + len(p.Results) }

// Choice is something that can be chosen.
type Choice struct {
	ID     string
	Title  string
	Text   string
	Image  string // URL, perhaps empty
	Where  string
	Chosen bool
}

// Chosen is something that has been chosen, as it is to be called in the course.
type Chosen struct {
	ID     string
	Title  string
	Where  string
	Points string // maximum score; empty for none
	// Wrong says that Points is none.
	Wrong bool
}
