// Package lab plays a learning platform against a tool, any tool: launches that
// it must let in, messages that it must refuse, and the attacks that a platform
// can play. It says of each what was sent, what came back, and whether the tool
// did right.
//
// Most of the catalogue is data, in cases: a folder for each case, below valid or
// invalid, whose case.json holds what differs from a good launch. The conformance
// test of the gateway reads the same files; members that are not named here are
// for that test.
package lab

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"slices"
)

//go:embed cases
var caseFiles embed.FS

// Groups of cases.
const (
	GroupLaunches  = "launches"  // good launches
	GroupPayloads  = "payloads"  // messages that miss what they need
	GroupAttacks   = "attacks"   // messages that somebody has tampered with, and sequences
	GroupLogins    = "logins"    // login initiations
	GroupEndpoints = "endpoints" // key sets that are new, slow or broken
)

// Groups are all groups in the order in which they are played.
var Groups = []string{GroupEndpoints, GroupLaunches, GroupPayloads, GroupAttacks, GroupLogins}

// Info is what a case is about.
type Info struct {
	Description string `json:"description"`
	// Reference is the section of a specification, the test of the certification
	// guide or the attack that the case is about.
	Reference string `json:"reference"`
	Group     string `json:"group"`
	// Stays says that the tool may also let the launch in, if only it does not
	// lead the browser away to another site.
	Stays bool `json:"stays"`
}

// Case is something to play.
type Case struct {
	Info
	Deviation

	Name  string `json:"-"`
	Valid bool   `json:"-"` // the tool must let it in

	rotate bool   // the platform takes a new key first
	fault  string // of the key set's URL, while a message comes whose key the tool does not have
}

// Want says in words what a tool must do.
func (c *Case) Want() string {
	switch {
	case c.Valid:
		return "let in"
	case c.Stays:
		return "refused, or not led away"
	}
	return "refused"
}

// Catalogue returns all cases, in the order in which they are played.
func Catalogue() []*Case {
	cases := slices.Concat(endpointCases(), loginCases())
	for _, kind := range []string{"valid", "invalid"} {
		folders, err := caseFiles.ReadDir("cases/" + kind)
		if err != nil {
			panic(err) // it is embedded
		}
		for _, folder := range folders {
			data, err := caseFiles.ReadFile(path.Join("cases", kind, folder.Name(), "case.json"))
			if err != nil {
				panic(err)
			}
			c := &Case{Name: folder.Name(), Valid: kind == "valid"}
			if err := json.Unmarshal(data, c); err != nil {
				panic(fmt.Sprintf("case %s: %v", c.Name, err))
			}
			cases = append(cases, c)
		}
	}
	slices.SortStableFunc(cases, func(a, b *Case) int {
		return slices.Index(Groups, a.Group) - slices.Index(Groups, b.Group)
	})
	return cases
}

// endpointCases are about the platform's key set. The new key comes first: tools
// limit how often they fetch, and the other cases make them fetch as well.
func endpointCases() []*Case {
	const reference = "Security Framework 1.0 §6"
	cases := []*Case{{
		Name: "keys-rotated", Valid: true, rotate: true,
		Info: Info{Description: "The platform signs with a new key, which the tool has to fetch.", Reference: reference, Group: GroupEndpoints},
	}}
	for _, f := range []struct{ name, fault, what string }{
		{"keys-fail", "500", "answers 500"},
		{"keys-break-off", "truncated", "breaks off"},
		{"keys-lead-away", "redirect", "leads to a host that does not exist"},
		{"keys-never-come", "hang", "never answers"},
	} {
		cases = append(cases, &Case{
			Name: f.name, fault: f.fault, Deviation: Deviation{Header: map[string]any{"kid": "lab-" + f.name}, Sign: "rsa-2"},
			Info: Info{Description: "The token's key is not known, and the platform's key set " + f.what + ".", Reference: reference, Group: GroupEndpoints},
		})
	}
	return cases
}

// loginCases are login initiations that cannot lead to a launch.
func loginCases() []*Case {
	var cases []*Case
	for _, l := range []struct {
		name, what, section string
		diff                map[string]any
	}{
		{"login-no-iss", "iss is absent.", "§5.1.1.1", map[string]any{"iss": "{absent}"}},
		{"login-unknown-iss", "iss is a platform that the tool does not know.", "§5.1.1.1", map[string]any{"iss": "https://unknown.example"}},
		{"login-iss-with-slash", "iss has a slash at its end.", "§5.1.2", map[string]any{"iss": "{issuer}/"}},
		{"login-no-hint", "login_hint is absent.", "§5.1.1.1", map[string]any{"login_hint": "{absent}"}},
	} {
		cases = append(cases, &Case{
			Name: l.name, Deviation: Deviation{Login: l.diff},
			Info: Info{Description: l.what, Reference: "Security Framework 1.0 " + l.section, Group: GroupLogins},
		})
	}
	return cases
}
