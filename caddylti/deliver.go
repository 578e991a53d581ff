package caddylti

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-lti/lti/ags"
	"github.com/caddy-lti/lti/internal/httpx"
	"github.com/caddy-lti/lti/internal/outbox"
	"github.com/caddy-lti/lti/internal/service"
	"github.com/caddy-lti/lti/store"
)

// platformOf returns the registration that a course belongs to, if it is still
// configured.
func (a *App) platformOf(at *course) *Platform {
	for _, h := range a.used() {
		for _, p := range h.all() {
			if bytes.Equal(registrationHash(&p.registration), at.Registration) {
				return p
			}
		}
	}
	return nil
}

// grades returns the grade service of a course, as its launch offered it.
func (a *App) grades(at *course, more ...string) (*ags.Client, error) {
	access, err := a.access(at, append(more, at.LineItems)...)
	if err != nil {
		return nil, err
	}
	return ags.New(a.services.For(access), ags.Endpoint{Scopes: at.Scopes, LineItems: at.LineItems}), nil
}

// access is what is needed to call services of a course that are at these URLs.
func (a *App) access(at *course, urls ...string) (service.Access, error) {
	p := a.platformOf(at)
	if p == nil {
		return service.Access{}, fmt.Errorf("platform %s is no longer configured", at.Platform)
	}
	if p.service.TokenURL == "" {
		return service.Access{}, fmt.Errorf("platform %s has no token_url, which its services need", at.Platform)
	}
	return service.Access{Platform: p.service, Deployment: at.Deployment, Origins: originsOf(urls...)}, nil
}

// send delivers a score of the outbox.
func (a *App) send(ctx context.Context, e outbox.Entry) outbox.Result {
	var q queued
	if err := json.Unmarshal(e.Body, &q); err != nil {
		return outbox.Result{Outcome: outbox.Dead, Reason: "what was kept of the score cannot be read"}
	}
	d := &q.Destination
	if d.Test {
		return outbox.Result{Outcome: outbox.Skipped, Reason: "it was for a test person, who has no grades"}
	}
	ready, err := a.open()
	if err != nil {
		return outbox.Result{Reason: "the tool's store or keys cannot be used"}
	}
	client, err := a.grades(&d.course, d.LineItem)
	if err != nil {
		// Perhaps only for now: a configuration is easily mended.
		a.logger.Error("scores cannot be delivered until the configuration is mended; they are kept", zap.String("platform", d.Platform), zap.String("score", e.ID), zap.Error(err))
		return outbox.Result{Reason: err.Error(), After: mendPause}
	}
	item := d.LineItem
	if item == "" {
		if item, err = a.lineItemOf(ctx, ready, client, d, q.Score.ScoreMaximum); err != nil {
			return a.judge(&e, err)
		}
	}
	q.Score.Timestamp = e.Time
	if err := client.SendScore(ctx, item, q.Score); err != nil {
		if errors.Is(err, ags.ErrGone) && d.LineItem == "" {
			// It was deleted since it was found: the next attempt looks again.
			if err := ready.store.Delete(ctx, linkKey(d)); err != nil {
				return outbox.Result{Reason: "the tool's store cannot be used"}
			}
			if e.Attempts < 3 {
				return outbox.Result{Reason: "the line item is gone; it is looked for again"}
			}
		}
		return a.judge(&e, err)
	}
	a.logger.Debug("score delivered", zap.String("platform", d.Platform), zap.String("score", e.ID), zap.Int("attempt", e.Attempts))
	return outbox.Result{Outcome: outbox.Delivered}
}

// mendPause is between two attempts where an administrator has to do something.
const mendPause = 5 * time.Minute

// judge says what the failure of a delivery means.
func (a *App) judge(e *outbox.Entry, err error) outbox.Result {
	fields := []zap.Field{zap.String("platform", queueName(e.Platform)), zap.String("score", e.ID), zap.Int("attempt", e.Attempts), zap.Error(err)}
	failed, ok := errors.AsType[*ags.Error](err)
	if !ok {
		a.logger.Warn("a score could not be delivered and is tried again", fields...)
		return outbox.Result{Reason: err.Error()}
	}
	reason := failed.Error()
	switch {
	case errors.Is(err, ags.ErrOlder):
		return outbox.Result{Outcome: outbox.Superseded, Reason: reason}
	case failed.Retry:
		a.logger.Warn("a score could not be delivered and is tried again", fields...)
		return outbox.Result{Reason: reason, After: failed.After}
	case failed.Whose == ags.ToolAdmin:
		// Such as a client id that the platform does not know. It can be mended
		// here, and nobody should have to send scores again for it.
		a.logger.Error("scores cannot be delivered until the configuration is mended; they are kept", fields...)
		return outbox.Result{Reason: reason, After: mendPause}
	}
	a.logger.Error("a score was refused for good: /grades has it, for instructors of the course", append(fields, zap.String("who_can_mend_it", string(failed.Whose)))...)
	return outbox.Result{Outcome: outbox.Dead, Reason: reason}
}

// linkKey is where the store has the line item that belongs to a resource link.
func linkKey(d *destination) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%x %q %q %q", d.Registration, d.Deployment, d.LineItems, d.Link))
	return "lineitem:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// lineItemTag marks the line items that were made for a resource link.
const lineItemTag = "caddylti"

// lineItemOf finds the line item of a resource link, or makes it, once. A
// platform that hangs meanwhile keeps nobody else waiting.
func (a *App) lineItemOf(ctx context.Context, ready *ready, client *ags.Client, d *destination, maximum *float64) (string, error) {
	key := linkKey(d)
	known := func() (string, error) {
		val, err := ready.store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return "", nil
		}
		return string(val), err
	}
	if item, err := known(); item != "" || err != nil {
		return item, err
	}
	unlock, err := ready.making.lock(ctx, key)
	if err != nil {
		return "", err
	}
	defer unlock()
	if item, err := known(); item != "" || err != nil {
		return item, err
	}
	// Perhaps the platform made one, and did not say so in the launch.
	item, err := client.OnlyLineItem(ctx, d.Link)
	if err != nil {
		return "", err
	}
	if item == nil {
		wanted := ags.Wanted{ResourceLinkID: d.Link, ResourceID: d.Link, Tag: lineItemTag, Label: d.Label, ScoreMaximum: 100}
		if wanted.Label == "" {
			wanted.Label = "Activity " + d.Link
		}
		if maximum != nil {
			wanted.ScoreMaximum = *maximum
		}
		if item, _, err = client.FindOrMake(ctx, wanted); err != nil {
			return "", err
		}
	}
	// One that no score can be sent to is looked for again: the platform may have
	// been mended by then.
	if origin, err := httpx.Origin(item.ID); err != nil || !slices.Contains(originsOf(d.LineItems), origin) {
		return item.ID, nil // who sends to it says what is wrong
	}
	if err := ready.store.Put(ctx, key, []byte(item.ID), handleLifetime); err != nil {
		return "", err
	}
	return item.ID, nil
}
