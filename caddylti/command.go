package caddylti

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/caddy-lti/lti/internal/command"
	"github.com/caddy-lti/lti/internal/doctor"
	"github.com/caddy-lti/lti/internal/registry"
)

func init() {
	command.Add(platformsCommand)
	command.Add(registrationsCommand)
	command.Add(invitesCommand)
	command.Add(doctorCommand)
	command.Add(inspectCommand)
	command.Add(outboxCommand)
	command.Add(sessionsCommand)
	command.Add(keysCommand)
	command.Add(storeCommand)
}

// adminClient talks to the admin endpoint of a running Caddy.
type adminClient struct {
	cmd  *cobra.Command
	json bool // shows answers as they are
}

// under makes a noun, whose verbs have the flags that say where Caddy is.
func under(noun, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: noun, Short: short}
	where(cmd.PersistentFlags())
	command.Group(cmd)
	cmd.AddCommand(verbs...)
	return cmd
}

// where adds the flags that say where Caddy is.
func where(flags *pflag.FlagSet) {
	flags.String("address", "", "The address of Caddy's admin endpoint, if not the default")
	flags.StringP("config", "c", "", "The configuration file in which that address stands")
	flags.StringP("adapter", "a", "", "The adapter for that file")
	flags.Bool("json", false, "Print the answer as JSON")
}

// verb makes a command that talks to Caddy.
func verb(use, short string, args cobra.PositionalArgs, run func(c *adminClient, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true // what goes wrong from here on is no matter of spelling
			c := &adminClient{cmd: cmd}
			var err error
			if c.json, err = cmd.Flags().GetBool("json"); err != nil {
				return err
			}
			return run(c, args)
		},
	}
}

// call asks the admin endpoint and decodes its answer, or prints it where JSON is
// wanted: then shown is true.
func (c *adminClient) call(method, path string, body, to any) (shown bool, err error) {
	flag := func(name string) string {
		val, ferr := c.cmd.Flags().GetString(name)
		err = errors.Join(err, ferr)
		return val
	}
	address, config, adapter := flag("address"), flag("config"), flag("adapter")
	if err != nil {
		return false, err
	}
	endpoint, err := caddycmd.DetermineAdminAPIAddress(address, nil, config, adapter)
	if err != nil {
		return false, fmt.Errorf("finding out where Caddy's admin endpoint is: %w", err)
	}
	var send io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return false, err
		}
		send = bytes.NewReader(data)
	}
	resp, err := caddycmd.AdminAPIRequest(endpoint, method, "/lti/"+path, http.Header{}, send)
	switch {
	case err == nil:
	case strings.HasPrefix(err.Error(), "performing request:"): // Caddy wraps nothing
		return false, fmt.Errorf("%w; is Caddy running, and is its admin endpoint at %s? Otherwise say where with --address or --config", err, endpoint)
	default:
		return false, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return false, fmt.Errorf("reading Caddy's answer: %w", err)
	}
	if c.json {
		_, err := c.cmd.OutOrStdout().Write(data)
		return true, err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return false, fmt.Errorf("reading Caddy's answer: %w", err)
	}
	return false, nil
}

// table prints rows under a heading.
func (c *adminClient) table(heading string, rows [][]string) error {
	w := tabwriter.NewWriter(c.cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(heading, " ", "\t"))
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func (c *adminClient) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c.cmd.OutOrStdout(), format+"\n", args...)
	return err
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

func platformsCommand() *cobra.Command {
	return under("platforms", "Platforms that may launch",
		verb("list", "List the platforms that may launch, of the configuration and registered ones", cobra.NoArgs, func(c *adminClient, _ []string) error {
			var all []adminPlatform
			if shown, err := c.call(http.MethodGet, "platforms", nil, &all); shown || err != nil {
				return err
			}
			var rows [][]string
			for _, p := range all {
				deployments := "any"
				if p.Deployments != nil {
					deployments = strings.Join(p.Deployments, ",")
				}
				rows = append(rows, []string{p.Name, p.Issuer, p.ClientID, deployments, p.Registration, strings.Join(p.Sites, ",")})
			}
			return c.table("NAME ISSUER CLIENT-ID DEPLOYMENTS REGISTRATION SITES", rows)
		}))
}

func registrationsCommand() *cobra.Command {
	id := func(id, verb string) string { return "registrations/" + url.PathEscape(id) + verb }
	return under("registrations", "Platforms that registered themselves",
		verb("list", "List the platforms that registered themselves", cobra.NoArgs, func(c *adminClient, _ []string) error {
			var all []registry.Registration
			if shown, err := c.call(http.MethodGet, "registrations", nil, &all); shown || err != nil {
				return err
			}
			var rows [][]string
			for _, r := range all {
				deployments := strings.Join(r.Deployments, ",")
				if deployments == "" && r.Rule != registry.DeploymentListed {
					deployments = r.Rule
				}
				rows = append(rows, []string{r.ID, r.State, r.Name, r.Issuer, r.ClientID, deployments, r.Site, r.Invite, day(r.Updated)})
			}
			return c.table("ID STATE NAME ISSUER CLIENT-ID DEPLOYMENTS SITE INVITE UPDATED", rows)
		}),
		verb("approve ID", "Let a platform launch that registered itself", cobra.ExactArgs(1), func(c *adminClient, args []string) error {
			var r registry.Registration
			if shown, err := c.call(http.MethodPost, id(args[0], "/approve"), nil, &r); shown || err != nil {
				return err
			}
			return c.say("%s (%s) may launch %s.", r.Name, r.Issuer, r.Site)
		}),
		verb("deployment ID any|DEPLOYMENT...", "Say which deployments of a platform may launch", cobra.MinimumNArgs(2), func(c *adminClient, args []string) error {
			var r registry.Registration
			if shown, err := c.call(http.MethodPost, id(args[0], "/deployment"), args[1:], &r); shown || err != nil {
				return err
			}
			return c.say("Of %s, these deployments may launch: %s.", r.Name, strings.Join(args[1:], ", "))
		}),
		verb("remove ID", "Forget a platform that registered itself, and end the visits of its people", cobra.ExactArgs(1), func(c *adminClient, args []string) error {
			if shown, err := c.call(http.MethodDelete, id(args[0], ""), nil, new(struct{})); shown || err != nil {
				return err
			}
			return c.say("The registration is removed. The platform still has the tool: delete it there, too.")
		}))
}

func invitesCommand() *cobra.Command {
	var n newInvite
	create := verb("create", "Make a link with which a platform can be registered, once", cobra.NoArgs, func(c *adminClient, _ []string) error {
		var made madeInvite
		if shown, err := c.call(http.MethodPost, "invites", n, &made); shown || err != nil {
			return err
		}
		times := "once"
		if made.Reusable {
			times = "any number of times"
		}
		return c.say("%s\nGood %s until %s, for whoever has it. It is not shown again.", made.URL, times, day(made.Expires))
	})
	create.Flags().StringVar(&n.Site, "site", "", "The tool's address, such as https://tool.example.edu/lti, where there are several")
	create.Flags().StringVar(&n.Label, "label", "", "Whom it is for, in lists and the log")
	create.Flags().BoolVar(&n.Reusable, "reusable", false, "Good for any number of registrations")
	create.Flags().StringVar(&n.Lifetime, "lifetime", "", "How long it is good, such as 1d (default 7d)")
	return under("invites", "Links with which platforms register themselves",
		create,
		verb("list", "List the invites that were made at run time", cobra.NoArgs, func(c *adminClient, _ []string) error {
			var all []registry.Invite
			if shown, err := c.call(http.MethodGet, "invites", nil, &all); shown || err != nil {
				return err
			}
			var rows [][]string
			for _, i := range all {
				state := "good"
				switch {
				case !time.Now().Before(i.Expires):
					state = "expired"
				case !i.Reusable && i.Uses > 0:
					state = "used"
				}
				rows = append(rows, []string{i.ID, state, i.Label, fmt.Sprint(i.Uses), day(i.Expires), day(i.LastUse), i.Site})
			}
			return c.table("ID STATE LABEL USES EXPIRES LAST-USE SITE", rows)
		}),
		verb("remove ID", "Withdraw an invite", cobra.ExactArgs(1), func(c *adminClient, args []string) error {
			if shown, err := c.call(http.MethodDelete, "invites/"+url.PathEscape(args[0]), nil, new(struct{})); shown || err != nil {
				return err
			}
			return c.say("The invite is withdrawn.")
		}))
}

func doctorCommand() *cobra.Command {
	var t scoreTest
	cmd := verb("doctor", "Check the configuration of a running Caddy against the world", cobra.NoArgs, func(c *adminClient, _ []string) error {
		asJSON := c.json
		c.json = false
		var found []doctor.Finding
		if t != (scoreTest{}) {
			if _, err := c.call(http.MethodPost, "doctor", t, &found); err != nil {
				return err
			}
		} else {
			var seen examined
			if _, err := c.call(http.MethodGet, "doctor", nil, &seen); err != nil {
				return err
			}
			found = seen.Findings
			for _, s := range seen.Sites {
				found = append(found, doctor.Site(c.cmd.Context(), doctor.Outside{URL: s.URL, Base: s.Base, KeyIDs: s.KeyIDs})...)
			}
		}
		if err := c.report(found, asJSON); err != nil {
			return err
		}
		if doctor.ExitStatus(found) != 0 {
			return errors.New("something is not in order")
		}
		return nil
	})
	where(cmd.Flags())
	cmd.Flags().StringVar(&t.Platform, "score-platform", "", "Send a test score, really: to the platform of this name")
	cmd.Flags().StringVar(&t.LineItem, "score-line-item", "", "The URL of the line item that it is for")
	cmd.Flags().StringVar(&t.User, "score-user", "", "The platform's id of the test student that it is for")
	cmd.Flags().BoolVar(&t.Replace, "score-replace", false, "Send it even if that replaces a score")
	return cmd
}

func inspectCommand() *cobra.Command {
	var n newInspection
	cmd := verb("inspect [PLATFORM]", "Make a link that shows the next launch, of a platform or of any, step by step", cobra.MaximumNArgs(1), func(c *adminClient, args []string) error {
		if len(args) > 0 {
			n.Platform = args[0]
		}
		var made madeInspection
		if shown, err := c.call(http.MethodPost, "inspections", n, &made); shown || err != nil {
			return err
		}
		return c.say("%s\nOpen it, then launch. Good for one launch until %s, for whoever has it.", made.URL, day(made.Expires))
	})
	where(cmd.Flags())
	cmd.Flags().StringVar(&n.Site, "site", "", "The tool's address, such as https://tool.example.edu/lti, where there are several")
	return cmd
}

func (c *adminClient) report(found []doctor.Finding, asJSON bool) error {
	out := c.cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(found)
	}
	f, ok := out.(*os.File)
	return doctor.WriteText(out, found, ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "")
}
