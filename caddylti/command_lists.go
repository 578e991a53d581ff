package caddylti

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
)

// query makes the query of a call, of what is not empty.
func query(params map[string]string) string {
	q := make(url.Values)
	for name, val := range params {
		if val != "" {
			q.Set(name, val)
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func outboxCommand() *cobra.Command {
	var state, platform string
	var limit int
	list := verb("list", "List scores, the newest first, and what became of them", cobra.NoArgs, func(c *adminClient, _ []string) error {
		if c.json {
			_, err := c.call(http.MethodGet, "outbox"+query(map[string]string{"state": state, "platform": platform, "limit": strconv.Itoa(limit)}), nil, nil)
			return err
		}
		scores, err := c.scores(state, platform, limit)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range scores {
			rows = append(rows, []string{s.ID, s.State, s.Platform, s.User, s.Activity, s.Points, strconv.Itoa(s.Attempts), day(s.Taken), s.Reason})
		}
		return c.table("ID STATE PLATFORM USER ACTIVITY POINTS ATTEMPTS TAKEN REASON", rows)
	})
	list.Flags().StringVar(&state, "state", "", "Only those: queued, delivered, replaced, skipped or dead")
	list.Flags().StringVar(&platform, "platform", "", "Only those for the platform of this name")
	list.Flags().IntVar(&limit, "limit", adminListLen, "How many at most")

	var all bool
	var of string
	retry := verb("retry [ID...]", "Send scores again that had failed for good", cobra.ArbitraryArgs, func(c *adminClient, ids []string) error {
		if all == (len(ids) > 0) || of != "" && !all {
			return errors.New("say which scores: ids, or --all, perhaps with --platform")
		}
		if all {
			dead, err := c.dead(of)
			if err != nil {
				return err
			}
			ids = dead
		}
		return c.retry(ids)
	})
	retry.Flags().BoolVar(&all, "all", false, "Every score that has failed for good")
	retry.Flags().StringVar(&of, "platform", "", "With --all: only those for the platform of this name")
	return under("outbox", "Scores on their way to the platforms", list, retry)
}

// scores asks page by page for as many scores as are wanted.
func (c *adminClient) scores(state, platform string, limit int) ([]adminScore, error) {
	var all []adminScore
	for after := ""; ; {
		var page adminScores
		path := "outbox" + query(map[string]string{"state": state, "platform": platform, "after": after, "limit": strconv.Itoa(min(limit, maxAdminListLen))})
		if _, err := c.call(http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Scores...)
		if len(all) >= limit || page.Next == "" {
			return all[:min(len(all), limit)], nil
		}
		after = page.Next
	}
}

// dead returns the ids of all scores that have failed for good.
func (c *adminClient) dead(platform string) ([]string, error) {
	asJSON := c.json
	c.json = false
	defer func() { c.json = asJSON }()
	const many = 1 << 20
	dead, err := c.scores("dead", platform, many)
	var ids []string
	for _, s := range slices.Backward(dead) { // the oldest first, so that newer ones replace them
		ids = append(ids, s.ID)
	}
	return ids, err
}

// retry sends scores again, and says of each that cannot be why.
func (c *adminClient) retry(ids []string) error {
	var failed error
	sent := 0
	for _, id := range ids {
		var s adminScore
		if _, err := c.call(http.MethodPost, "outbox/"+url.PathEscape(id)+"/retry", nil, &s); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		sent++
	}
	if !c.json {
		if err := c.say("%d of %d will be sent again.", sent, len(ids)); err != nil {
			return err
		}
	}
	return failed
}

func sessionsCommand() *cobra.Command {
	var platform, user string
	var limit int
	list := verb("list", "List visits, those first that began first", cobra.NoArgs, func(c *adminClient, _ []string) error {
		var all []adminSession
		path := "sessions" + query(map[string]string{"platform": platform, "user": user, "limit": strconv.Itoa(limit)})
		if shown, err := c.call(http.MethodGet, path, nil, &all); shown || err != nil {
			return err
		}
		var rows [][]string
		for _, s := range all {
			rows = append(rows, []string{s.ID, s.Platform, s.User, day(s.Launched), day(s.Used)})
		}
		return c.table("ID PLATFORM USER LAUNCHED USED", rows)
	})
	list.Flags().StringVar(&platform, "platform", "", "Only those of the platform of this name")
	list.Flags().StringVar(&user, "user", "", "Only those of this person, as in Remote-User")
	list.Flags().IntVar(&limit, "limit", adminListLen, "How many at most")

	var ofPlatform, ofUser string
	end := verb("end [ID]", "End a visit, or those of a platform or a person", cobra.MaximumNArgs(1), func(c *adminClient, args []string) error {
		path := "sessions"
		switch {
		case len(args) == 1 && ofPlatform+ofUser == "":
			path += "/" + url.PathEscape(args[0])
		case len(args) == 0 && ofPlatform+ofUser != "":
			path += query(map[string]string{"platform": ofPlatform, "user": ofUser})
		default:
			return errors.New("say which visits: an id, or --platform or --user")
		}
		var done endedSessions
		if shown, err := c.call(http.MethodDelete, path, nil, &done); shown || err != nil {
			return err
		}
		return c.say("%d ended, with the others of the same people in the same browsers.", done.Ended)
	})
	end.Flags().StringVar(&ofPlatform, "platform", "", "Those of the platform of this name")
	end.Flags().StringVar(&ofUser, "user", "", "Those of this person, as in Remote-User")
	return under("sessions", "Visits after launches", list, end)
}

func keysCommand() *cobra.Command {
	show := func(c *adminClient, all []adminKey) error {
		var rows [][]string
		for _, k := range all {
			rows = append(rows, []string{k.ID, day(k.Created), day(k.From), strconv.FormatBool(k.InUse)})
		}
		return c.table("KID CREATED FROM IN-USE", rows)
	}
	var n newKey
	rotate := verb("rotate", "Make a new key, which is used in two days", cobra.NoArgs, func(c *adminClient, _ []string) error {
		var all []adminKey
		if shown, err := c.call(http.MethodPost, "keys", n, &all); shown || err != nil {
			return err
		}
		return show(c, all)
	})
	rotate.Flags().BoolVar(&n.AtOnce, "at-once", false, "Use it now and withdraw all others, for somebody may have them")
	return under("keys", "The keys that sign what the tool sends",
		verb("list", "List the keys that sign what the tool sends, the newest first", cobra.NoArgs, func(c *adminClient, _ []string) error {
			var all []adminKey
			if shown, err := c.call(http.MethodGet, "keys", nil, &all); shown || err != nil {
				return err
			}
			return show(c, all)
		}), rotate)
}
