package devlms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-lti/lti/internal/command"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/lab"
)

func init() { command.Add(labCommand) }

// maxLabAnswer bounds what the command reads.
const maxLabAnswer = 64 << 20

// labCommand is caddy lti lab, which asks the laboratory of a demo LMS that runs.
func labCommand() *cobra.Command {
	order, asJSON := make(url.Values), false
	var tool, marker string
	var cases, groups []string
	cmd := &cobra.Command{
		Use:   "lab URL",
		Short: "Try out a tool with the laboratory of a demo LMS",
		Long: `
Has the laboratory of the demo LMS at URL send a registered tool good launches,
bad messages and attacks, and prints what came of each.

The exit status is 0 if the tool did right in all of them, 1 if it did wrong in
one, and 2 if something could not be played or judged.`,
		Args: cobra.ExactArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&tool, "tool", "", "The name of the tool in the demo LMS, where there are several")
	flags.StringSliceVar(&cases, "case", nil, "Play this case only; may be repeated")
	flags.StringSliceVar(&groups, "group", nil, "Play this group only: "+strings.Join(lab.Groups, ", ")+"; may be repeated")
	flags.StringVar(&marker, "marker", "", "A text that only a page of the tool has that lets somebody in")
	flags.BoolVar(&asJSON, "json", false, "Print the answer as JSON")
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		cmd.SilenceUsage = true
		order["case"], order["group"] = cases, groups
		order.Set("tool", tool)
		order.Set("marker", marker)
		report, data, err := askLab(cmd.Context(), flags.Arg(0), order)
		if err != nil {
			cmd.PrintErrln("Error:", err) // Caddy prints none with a status of its own
			return 2, err
		}
		out := cmd.OutOrStdout()
		if asJSON {
			_, err = out.Write(data)
		} else {
			err = printReport(out, report)
		}
		if err != nil {
			return 2, err
		}
		switch status := report.ExitStatus(); status {
		case 0:
			return 0, nil
		case 1:
			return 1, errors.New("the tool did wrong")
		default:
			cmd.PrintErrln("Error: not everything could be judged")
			return status, errors.New("not everything could be judged")
		}
	})
	return cmd
}

// askLab makes the one call.
func askLab(ctx context.Context, address string, order url.Values) (*lab.Report, []byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, nil, fmt.Errorf("bad URL %q: expected that of a demo LMS, such as http://localhost:8080", address)
	}
	to := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/lab/run"}
	// Whoever calls has chosen the address.
	var allow []httpx.AllowRule
	for _, network := range []string{"0.0.0.0/0", "::/0"} {
		rule, err := httpx.ParseAllow(network)
		if err != nil {
			return nil, nil, err
		}
		allow = append(allow, rule)
	}
	client := httpx.New(httpx.Config{AllowPrivate: allow, Timeout: labTime + labPatience})
	defer client.CloseIdle()
	resp, err := client.Do(ctx, &httpx.Request{
		Method: http.MethodPost, URL: to.String(), Body: []byte(order.Encode()), MaxBytes: maxLabAnswer,
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}},
	})
	if err != nil {
		return nil, nil, err
	}
	if resp.Status != http.StatusOK {
		var problem struct {
			Reason string `json:"reason"`
		}
		if json.Unmarshal(resp.Body, &problem) == nil && problem.Reason != "" {
			return nil, nil, errors.New(problem.Reason)
		}
		return nil, nil, fmt.Errorf("%s answers with status %d; is that a demo LMS, with the option lab?", to, resp.Status)
	}
	report := new(lab.Report)
	if err := json.Unmarshal(resp.Body, report); err != nil {
		return nil, nil, fmt.Errorf("reading the answer of %s: %w", to, err)
	}
	return report, resp.Body, nil
}

// printReport prints the table. What a tool says is in it, so nothing of it may
// reach the terminal as a command.
func printReport(out io.Writer, report *lab.Report) error {
	plain := func(s string) string {
		return strings.Map(func(c rune) rune {
			if c < ' ' || c >= 0x7f && c < 0xa0 {
				return ' '
			}
			return c
		}, s)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERDICT\tGROUP\tCASE\tMUST BE\tWAS\tWHY")
	for _, res := range report.Results {
		got := res.Got
		if got == "" {
			got = "-"
		}
		fmt.Fprintln(w, strings.Join([]string{res.Verdict, res.Group, res.Case, res.Want, got, plain(res.Why)}, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if report.Problem != "" {
		if _, err := fmt.Fprintf(out, "Nothing could be judged: %s.\n", plain(report.Problem)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%s: %d right, %d wrong, %d undecided\n", report.Tool, report.Right, report.Wrong, report.Unsure)
	return err
}
