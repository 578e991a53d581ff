// Package command is the command caddy lti, whose parts come from the packages
// that are in the build.
package command

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// parts makes the subcommands. It is filled by init functions, as Caddy's own
// commands are.
var parts []func() *cobra.Command

// Add registers a subcommand of caddy lti. It is for init functions.
func Add(part func() *cobra.Command) { parts = append(parts, part) }

// All makes every subcommand.
func All() []*cobra.Command {
	all := make([]*cobra.Command, len(parts))
	for i, part := range parts {
		all[i] = part()
	}
	return all
}

// Group makes a command that only has others below it show them. A word that is
// none of them is an error: without this, cobra shows the help and is content.
func Group(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "lti",
		Short: "Looks after LTI tools and platforms",
		Long: `
Looks after the LTI tools of a running Caddy, by its admin endpoint: platforms,
registrations and invites, scores, sessions and keys.`,
		CobraFunc: func(root *cobra.Command) {
			Group(root)
			root.AddCommand(All()...)
		},
	})
}
