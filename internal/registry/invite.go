package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-lti/lti/store"
)

// Invite lets whoever has its secret register a platform.
type Invite struct {
	ID    string `json:"id"` // 12 hex digits
	Label string `json:"label,omitempty"`
	// Site is the only one that it is good for; empty means any.
	Site     string    `json:"site,omitempty"`
	Reusable bool      `json:"reusable"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Uses     int       `json:"uses"`
	LastUse  time.Time `json:"last_use,omitzero"`

	// Busy is until when a registration with it is under way.
	Busy time.Time `json:"busy,omitzero"`
}

// rememberInvites is how long an invite that has expired is told from one that
// never was.
const rememberInvites = 30 * 24 * time.Hour

// busyTime is how long a registration may take. One that a crash cut off does not
// keep the invite for longer.
const busyTime = 5 * time.Minute

func inviteKey(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return invites + hex.EncodeToString(sum[:16])
}

func inviteID(key string) string { return strings.TrimPrefix(key, invites)[:12] }

// Invite makes an invite like this one until it expires, and returns its secret,
// of 256 bits, which nothing keeps. Id and time of making are filled in.
func (g *Registry) Invite(ctx context.Context, i *Invite, now time.Time) (secret string, err error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	secret = base64.RawURLEncoding.EncodeToString(raw)
	key := inviteKey(secret)
	i.ID, i.Created = inviteID(key), now
	val, err := json.Marshal(i)
	if err != nil {
		return "", err
	}
	return secret, g.store.Put(ctx, key, val, i.ttl(now))
}

func (i *Invite) ttl(now time.Time) time.Duration { return i.Expires.Add(rememberInvites).Sub(now) }

// Invites returns all invites that are remembered.
func (g *Registry) Invites(ctx context.Context) ([]*Invite, error) {
	var all []*Invite
	err := each(ctx, g.store, invites, func(r store.Record) error {
		i := new(Invite)
		if err := json.Unmarshal(r.Value, i); err != nil {
			return fmt.Errorf("invite %s cannot be read: %w", inviteID(r.Key), err)
		}
		all = append(all, i)
		return nil
	})
	return all, err
}

// Withdraw forgets an invite.
func (g *Registry) Withdraw(ctx context.Context, id string) error {
	found := ""
	err := each(ctx, g.store, invites, func(r store.Record) error {
		if inviteID(r.Key) == id {
			found = r.Key
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case found == "":
		return ErrUnknown
	}
	return g.store.Delete(ctx, found)
}

// Taken is an invite that a registration uses. It has to be [Taken.Used] or
// [Taken.GiveBack].
type Taken struct {
	registry *Registry
	key      string
	val      []byte // as it is stored
	invite   Invite
}

// Label says whom the invite was for.
func (t *Taken) Label() string { return t.invite.Label }

// Take takes the invite with that secret for a registration, if it is for any site
// or here says that it is for this one. The secret is looked up by its hash, so how
// long that takes says nothing of others.
func (g *Registry) Take(ctx context.Context, secret string, here func(site string) bool, now time.Time) (*Taken, error) {
	t := &Taken{registry: g, key: inviteKey(secret)}
	for {
		old, err := g.store.Get(ctx, t.key)
		if errors.Is(err, store.ErrNotFound) {
			return nil, ErrInvite
		}
		if err != nil {
			return nil, err
		}
		t.invite = Invite{}
		if err := json.Unmarshal(old, &t.invite); err != nil {
			return nil, fmt.Errorf("invite %s cannot be read: %w", inviteID(t.key), err)
		}
		switch i := &t.invite; {
		case i.Site != "" && !here(i.Site):
			return nil, ErrInvite
		case !now.Before(i.Expires):
			return nil, ErrInviteExpired
		case i.Reusable: // nobody has to wait for others
			t.val = old
			return t, nil
		case i.Uses > 0:
			return nil, ErrInviteUsed
		case now.Before(i.Busy):
			return nil, ErrInviteBusy
		}
		t.invite.Busy = now.Add(busyTime)
		done, err := t.write(ctx, old, now)
		if err != nil {
			return nil, err
		}
		if done {
			return t, nil
		}
	}
}

// write stores the invite in the place of old.
func (t *Taken) write(ctx context.Context, old []byte, now time.Time) (bool, error) {
	val, err := json.Marshal(&t.invite)
	if err != nil {
		return false, err
	}
	done, err := t.registry.store.Swap(ctx, t.key, old, val, max(t.invite.ttl(now), time.Second))
	if done {
		t.val = val
	}
	return done, err
}

// Used says that the registration succeeded.
func (t *Taken) Used(ctx context.Context, now time.Time) error {
	for {
		t.invite.Uses++
		t.invite.LastUse, t.invite.Busy = now, time.Time{}
		done, err := t.write(ctx, t.val, now)
		if done || err != nil || !t.invite.Reusable {
			return err
		}
		// Another registration with it has been counted meanwhile.
		switch t.val, err = t.registry.store.Get(ctx, t.key); {
		case errors.Is(err, store.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		if err := json.Unmarshal(t.val, &t.invite); err != nil {
			return err
		}
	}
}

// GiveBack says that the registration failed: the invite is as good as before.
func (t *Taken) GiveBack(ctx context.Context, now time.Time) error {
	if t.invite.Reusable {
		return nil
	}
	t.invite.Busy = time.Time{}
	_, err := t.write(ctx, t.val, now)
	return err
}
