package caddylti

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddy-lti/lti/internal/command"
)

// The addresses that invites and the doctor begin with.
func TestSites(t *testing.T) {
	for name, tt := range map[string]struct {
		where origin
		want  []string
	}{
		"url":            {origin{fixed: "https://tool.example.edu"}, []string{"https://tool.example.edu/lti"}},
		"site addresses": {origin{hosts: map[string]bool{"b.example.edu": true, "a.example.edu": true}, ports: map[string]bool{"443": true}}, []string{"https://a.example.edu/lti", "https://b.example.edu/lti"}},
		"behind a proxy": {origin{hosts: map[string]bool{"a.example.edu": true}, ports: map[string]bool{"8080": true}}, []string{"https://a.example.edu/lti"}},
		"on this machine": {
			origin{hosts: map[string]bool{"tool.localhost": true}, ports: map[string]bool{"9090": true, "8080": true}},
			[]string{"http://tool.localhost:8080/lti"},
		},
		"on this machine, port 80": {origin{hosts: map[string]bool{"tool.localhost": true}, ports: map[string]bool{"80": true}}, []string{"http://tool.localhost/lti"}},
		"an address of IPv6":       {origin{hosts: map[string]bool{"::1": true}, ports: map[string]bool{"8080": true}}, []string{"http://[::1]:8080/lti"}},
		"none":                     {origin{}, nil},
	} {
		h := &Handler{Base: "/lti", where: tt.where}
		if got := h.sites(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		for _, site := range tt.want {
			if !h.isAt(site) || h.isAt("https://elsewhere.example.edu/lti") || h.isAt(site+"/more") {
				t.Errorf("%s: %s is not its address, or others are", name, site)
			}
		}
	}
}

// The commands are those of docs/commands.md, and each is told with its call, if it
// has one.
func TestCommandsAreDocumented(t *testing.T) {
	doc := readFile(t, "../docs/commands.md")
	documented := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `caddy lti ([a-z ]+[a-z])[^`]*` \\| (?:`[A-Z]+ /|none: )").FindAllStringSubmatch(doc, -1) {
		documented[m[1]] = true
	}
	known := make(map[string]bool)
	var walk func(prefix string, c *cobra.Command)
	walk = func(prefix string, c *cobra.Command) {
		name := prefix + c.Name()
		if !c.HasSubCommands() {
			known[name] = true
		}
		for _, sub := range c.Commands() {
			walk(name+" ", sub)
		}
	}
	for _, c := range command.All() {
		walk("", c)
	}
	for name := range known {
		if !documented[name] {
			t.Errorf("caddy lti %s is not in docs/commands.md", name)
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("docs/commands.md has caddy lti %s, which there is not", name)
		}
	}
}

// A word that is no command is an error, so that no script takes an invite for
// withdrawn that is not.
func TestUnknownCommands(t *testing.T) {
	caddy := &cobra.Command{Use: "caddy"}
	root := &cobra.Command{Use: "lti"}
	command.Group(root)
	root.AddCommand(command.All()...)
	caddy.AddCommand(root)
	caddy.SetOut(io.Discard)
	caddy.SetErr(io.Discard)
	run := func(args ...string) error {
		caddy.SetArgs(append([]string{"lti"}, args...))
		return caddy.Execute()
	}
	if err := run("revoke"); err == nil {
		t.Error("caddy lti revoke is no error")
	}
	for _, noun := range root.Commands() {
		if !noun.HasSubCommands() {
			continue
		}
		if err := run(noun.Name(), "revoke", "x"); err == nil || !strings.Contains(err.Error(), `unknown command "revoke"`) {
			t.Errorf("caddy lti %s revoke x: %v", noun.Name(), err)
		}
		if err := run(noun.Name()); err != nil {
			t.Errorf("caddy lti %s: %v", noun.Name(), err)
		}
	}
}
