package page

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// Setup is what administrators of platforms are told of a tool: with its
// addresses, what to enter in each platform, and what to do with what it shows.
type Setup struct {
	Guides []LMS
	// Link says that platforms can register by a link.
	Link bool
	// JSON is the tool's configuration in the form that Canvas takes.
	JSON string
}

// Uses are what a guide depends on: what the tool's configuration makes use of.
type Uses struct {
	Links  bool // deep linking
	Scores bool
	Roster bool
	Name   bool // of people
	Email  bool
}

func (u *Uses) has(when string) bool {
	switch when {
	case "":
		return true
	case "links":
		return u.Links
	case "scores":
		return u.Scores
	case "roster":
		return u.Roster
	case "name":
		return u.Name
	case "email":
		return u.Email
	}
	return false
}

// LMS says how a learning platform is told of a tool, in the words of the
// platform's own administration, which are not translated.
type LMS struct {
	// ID is the name of its guide in docs/lms, and what the platform is called in
	// the lines for the Caddyfile.
	ID string `json:"id"`
	// Name of the product. The platform without one is any other, whose fields and
	// values are named by our own words.
	Name  string     `json:"name"`
	Link  string     `json:"link"` // where a registration link is put in; empty: nowhere
	Forms []LMSForm  `json:"forms"`
	Shown string     `json:"shown"` // where it shows what it gives
	Gives []LMSValue `json:"gives"`
	Lines []string   `json:"lines"` // of its block in the Caddyfile
}

// LMSForm is a form of a platform's administration.
type LMSForm struct {
	Where  string     `json:"where"`
	Fields []LMSField `json:"fields"`
}

// LMSField is a field of a form, and what to do with it: enter an address of the
// tool, or what Text says, or do what our word for Do says.
type LMSField struct {
	Label   string `json:"label"`
	Address string `json:"address"` // a name among those that Guides is given
	Text    string `json:"text"`
	Do      string `json:"do"`
	// When is what the tool has to use for that. Otherwise is the text, or what is
	// to be done, if it does not; without one the field is left out.
	When      string `json:"when"`
	Otherwise string `json:"otherwise"`

	// Value is the address, where it is one.
	Value string `json:"-"`
}

// LMSValue is a value that a platform shows, and the option of the Caddyfile that
// it belongs to. Those that a preset knows need not be written.
type LMSValue struct {
	Label  string `json:"label"`
	Option string `json:"option"`
	Preset bool   `json:"preset"`
}

//go:embed setup.json
var setupJSON []byte

// Guides says how a tool is set up in each of the platforms that are known, with
// the fields that the tool needs, and its addresses, by these names: target, login,
// redirect (in a JSON list: redirects), jwks, links (for deep linking), config,
// domain and origin; and its custom parameters, line by line: custom (in a JSON
// list: customs). Fields for what has no value are left out.
func Guides(addresses map[string]string, uses Uses) ([]LMS, error) {
	var all []LMS
	if err := json.Unmarshal(setupJSON, &all); err != nil {
		return nil, fmt.Errorf("setup.json: %w", err)
	}
	for i := range all {
		for j := range all[i].Forms {
			form := &all[i].Forms[j]
			needed := form.Fields[:0]
			for _, f := range form.Fields {
				f.Value = addresses[f.Address]
				switch {
				case f.Address != "" && f.Value == "":
					continue
				case uses.has(f.When):
				case f.Otherwise == "":
					continue
				case f.Do != "":
					f.Do = f.Otherwise
				default:
					f.Text = f.Otherwise
				}
				needed = append(needed, f)
			}
			form.Fields = needed
		}
	}
	return all, nil
}

// Caddyfile is the block of the platform, to be filled in.
func (l LMS) Caddyfile() string {
	name := l.ID
	if l.Name == "" {
		name = "lms"
	}
	return "platform " + name + " {\n\t" + strings.Join(l.Lines, "\n\t") + "\n}"
}
