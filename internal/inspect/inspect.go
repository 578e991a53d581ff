// Package inspect keeps what was seen of one launch, for the administrator who
// asked to see the next one: what came, and each check up to the one that failed.
//
// All of it is in a [store.Store], for the login may be answered by another node
// than the launch. It holds no name, no hint and no token: see [Claims].
package inspect

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-lti/lti/store"
)

// Lifetime is how long an inspection waits, and how long it can be looked at.
const Lifetime = time.Hour

// MaxWaiting is how many may wait at a time.
const MaxWaiting = 20

// Errors of [Inspections]. Match them with [errors.Is].
var (
	// ErrUnknown says that there is none, or that it has expired.
	ErrUnknown = errors.New("there is no such inspection")
	// ErrTooMany says that no more can wait.
	ErrTooMany = fmt.Errorf("%d inspections wait for a launch already; each ends after an hour", MaxWaiting)
)

// Inspection is what was asked for, and what has come.
type Inspection struct {
	Site     string    `json:"site"` // public address of the tool, base included
	Platform string    `json:"platform,omitempty"`
	Expires  time.Time `json:"expires"`

	// Run names the launch that is looked at. A login makes a new one as long as
	// nothing is Done.
	Run  string `json:"run,omitempty"`
	Done bool   `json:"done,omitempty"`
	Seen Seen   `json:"seen,omitzero"`
}

// Seen is what was seen of a launch.
type Seen struct {
	Steps []Step `json:"steps,omitempty"` // that found nothing wrong, in their order
	Fault *Fault `json:"fault,omitempty"` // what was found wrong in the step after
	// Came is what the browser brought: of the login, then of the launch.
	Came []Message `json:"came,omitempty"`
	// Token is the id_token, masked.
	Token string `json:"token,omitempty"`
}

// Step is a check that was passed, with what there is to say of it.
type Step struct {
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
}

// Message is a request of the browser.
type Message struct {
	Request string  `json:"request"` // POST /lti/launch
	Params  []Param `json:"params,omitempty"`
}

// Param is a parameter, masked.
type Param struct{ Name, Value string }

// Fault is why a launch was refused.
type Fault struct {
	Code    string `json:"code"`
	Detail  string `json:"detail"`
	Section string `json:"section,omitempty"` // of the specification
	Mender  string `json:"mender"`
}

// Waiting is an inspection whose launch has not come.
type Waiting struct {
	ID       string    `json:"id"`
	Site     string    `json:"site"`
	Platform string    `json:"platform,omitempty"`
	Expires  time.Time `json:"expires"`
}

// Inspections is safe for concurrent use.
type Inspections struct{ store store.Store }

// Open returns the inspections that are in a store.
func Open(s store.Store) *Inspections { return &Inspections{s} }

const (
	record  = "inspection:" // and the id
	waiting = "inspections" // a list of Waiting
)

// idOf is where an inspection is: nothing keeps the secret.
func idOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:16])
}

// Ask asks to see the next launch of a platform, or of any if it is empty, at a
// site. Whoever has the secret can look.
func (n *Inspections) Ask(ctx context.Context, site, platform string, now time.Time) (secret string, i *Inspection, err error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", nil, err
	}
	secret = base64.RawURLEncoding.EncodeToString(raw)
	i = &Inspection{Site: site, Platform: platform, Expires: now.Add(Lifetime)}
	val, err := json.Marshal(i)
	if err != nil {
		return "", nil, err
	}
	id := idOf(secret)
	if err := n.store.Put(ctx, record+id, val, Lifetime); err != nil {
		return "", nil, err
	}
	err = n.edit(ctx, now, func(list []Waiting) ([]Waiting, error) {
		if len(list) >= MaxWaiting {
			return nil, ErrTooMany
		}
		return append(list, Waiting{id, site, platform, i.Expires}), nil
	})
	return secret, i, err
}

// Waiting returns those that wait, the oldest first.
func (n *Inspections) Waiting(ctx context.Context, now time.Time) ([]Waiting, error) {
	list, _, err := n.list(ctx, now)
	return list, err
}

func (n *Inspections) list(ctx context.Context, now time.Time) (list []Waiting, val []byte, err error) {
	val, err = n.store.Get(ctx, waiting)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(val, &list); err != nil {
		return nil, nil, fmt.Errorf("the list of inspections cannot be read: %w", err)
	}
	return slices.DeleteFunc(list, func(w Waiting) bool { return !now.Before(w.Expires) }), val, nil
}

// edit changes the list of those that wait.
func (n *Inspections) edit(ctx context.Context, now time.Time, change func([]Waiting) ([]Waiting, error)) error {
	for {
		list, old, err := n.list(ctx, now)
		if err != nil {
			return err
		}
		if list, err = change(list); err != nil {
			return err
		}
		val, err := json.Marshal(list)
		if err != nil {
			return err
		}
		var done bool
		if old == nil {
			done, err = n.store.PutIfAbsent(ctx, waiting, val, Lifetime)
		} else {
			done, err = n.store.Swap(ctx, waiting, old, val, Lifetime)
		}
		if done || err != nil {
			return err
		}
	}
}

// Look returns the inspection with that secret. It is looked up by its hash, so
// how long that takes says nothing of others.
func (n *Inspections) Look(ctx context.Context, secret string) (*Inspection, error) {
	i, _, err := n.get(ctx, idOf(secret))
	return i, err
}

func (n *Inspections) get(ctx context.Context, id string) (*Inspection, []byte, error) {
	val, err := n.store.Get(ctx, record+id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, ErrUnknown
	}
	if err != nil {
		return nil, nil, err
	}
	i := new(Inspection)
	if err := json.Unmarshal(val, i); err != nil {
		return nil, nil, fmt.Errorf("an inspection cannot be read: %w", err)
	}
	return i, val, nil
}

// Change changes an inspection that is not done, if the function says so. One that
// is done by that waits no longer.
func (n *Inspections) Change(ctx context.Context, id string, now time.Time, change func(*Inspection) bool) error {
	for {
		i, old, err := n.get(ctx, id)
		if err != nil {
			return err
		}
		left := i.Expires.Sub(now)
		if i.Done || left <= 0 || !change(i) {
			return nil
		}
		val, err := json.Marshal(i)
		if err != nil {
			return err
		}
		if len(val) > store.MaxValueLen {
			i.Seen.Token = "(too long to be kept)"
			if val, err = json.Marshal(i); err != nil {
				return err
			}
		}
		done, err := n.store.Swap(ctx, record+id, old, val, left)
		if err != nil {
			return err
		}
		if !done {
			continue
		}
		if !i.Done {
			return nil
		}
		return n.edit(ctx, now, func(list []Waiting) ([]Waiting, error) {
			return slices.DeleteFunc(list, func(w Waiting) bool { return w.ID == id }), nil
		})
	}
}
