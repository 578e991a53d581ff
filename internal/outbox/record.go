package outbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/caddy-lti/lti/store"
)

const (
	pendingPrefix = "outbox:p:"
	finalPrefix   = "outbox:e:"

	maxItems  = 16  // of a lane
	maxReason = 512 // bytes

	maxTime = 1 << 62 // nanoseconds, in the year 2116: sums do not overflow
)

// content is what the caller gave, and never changes.
type content struct {
	Nonce    string `json:"n"` // makes each record one of its kind
	Written  int64  `json:"w"` // Unix milliseconds
	Gen      int    `json:"g,omitempty"`
	Platform string `json:"p"`
	Lane     string `json:"l"`
	Group    string `json:"gr,omitempty"`
	Owner    string `json:"o,omitempty"`
	Taken    int64  `json:"t"`

	body []byte
}

// item is the state of an entry. Times are in Unix nanoseconds, 0 for none.
type item struct {
	ID       string `json:"id"`
	Gen      int    `json:"g,omitempty"` // how often it has been called back from the dead
	State    State  `json:"s"`
	Reason   string `json:"r,omitempty"`
	Time     int64  `json:"t"`
	Since    int64  `json:"si"` // when it was taken, or called back
	NotUntil int64  `json:"nu,omitempty"`
	Attempts int    `json:"a,omitempty"`
	Unsure   bool   `json:"un,omitempty"` // a call had no answer, and may have arrived
	Last     int64  `json:"la,omitempty"` // attempt
	Done     int64  `json:"d,omitempty"`
	Lease    *lease `json:"le,omitempty"`
}

// lease says who is sending an entry.
type lease struct {
	Node  string `json:"n"`
	Until int64  `json:"u"`
}

// lane is the record that decides. Its items are in the order of their times
// as far as they are queued; those that are final are there until somebody has
// moved their content.
type lane struct {
	Version uint64 `json:"v"`
	Last    int64  `json:"l"`           // the last time given out
	Asked   int64  `json:"a"`           // the last before it was raised
	Sent    int64  `json:"s,omitempty"` // the last that a call was begun for
	Arrived int64  `json:"r,omitempty"` // the last that the platform has, or may have
	Items   []item `json:"i,omitempty"`
}

var errRecord = errors.New("outbox: damaged record")

func (it *item) valid() bool {
	switch it.State {
	case StateQueued, StateDelivered, StateReplaced, StateSkipped, StateDead:
	default:
		return false
	}
	return validID(it.ID) && it.Gen >= 0 && it.Attempts >= 0 && it.State.Final() == (it.Done != 0)
}

func decodeLane(val []byte) (*lane, error) {
	l := &lane{}
	if err := json.Unmarshal(val, l); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	for _, at := range []int64{l.Last, l.Asked, l.Sent, l.Arrived} {
		if at < 0 || at > maxTime {
			return nil, fmt.Errorf("%w: lane at no time that can be", errRecord)
		}
	}
	if len(l.Items) > maxItems {
		return nil, fmt.Errorf("%w: lane of %d entries", errRecord, len(l.Items))
	}
	for i := range l.Items {
		if !l.Items[i].valid() {
			return nil, fmt.Errorf("%w: lane with an entry that cannot be", errRecord)
		}
	}
	return l, nil
}

// encode puts a head in JSON before a body, which stays as it is, byte for
// byte.
func encode(head any, body []byte) ([]byte, error) {
	val, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("writing record: %w", err)
	}
	return append(append(val, '\n'), body...), nil
}

func decode(val []byte, head any) (body []byte, err error) {
	text, body, ok := bytes.Cut(val, []byte{'\n'})
	if !ok {
		return nil, fmt.Errorf("%w: no end of head", errRecord)
	}
	if err := json.Unmarshal(text, head); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return body, nil
}

func (c *content) encode(now time.Time) ([]byte, error) {
	c.Nonce, c.Written = rand.Text(), now.UnixMilli()
	return encode(c, c.body)
}

func decodeContent(val []byte) (*content, error) {
	c := &content{}
	body, err := decode(val, c)
	if err != nil {
		return nil, err
	}
	c.body = body
	return c, nil
}

// final is content and state of an entry that is no longer under way.
type final struct {
	content
	Item item `json:"i"`
}

func decodeFinal(val []byte) (*final, error) {
	f := &final{}
	body, err := decode(val, f)
	if err != nil {
		return nil, err
	}
	if !f.Item.valid() || !f.Item.State.Final() {
		return nil, fmt.Errorf("%w: final entry that cannot be", errRecord)
	}
	f.body = body
	return f, nil
}

// entry joins content and state.
func entry(c *content, it *item) Entry {
	return Entry{
		ID: it.ID, Platform: c.Platform, Lane: c.Lane, Time: timeOf(it.Time), Group: c.Group, Owner: c.Owner, Body: c.body,
		State: it.State, Reason: it.Reason, Attempts: it.Attempts,
		Taken: timeOf(c.Taken), Attempted: timeOf(it.Last), Done: timeOf(it.Done),
	}
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

var idText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

const idLen = 26

// newID returns an id. The later, the smaller, so that lists begin with the
// newest.
func newID(now time.Time) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], (math.MaxInt64-uint64(now.UnixMilli()))<<16)
	_, _ = rand.Read(raw[6:]) // never fails
	return idText.EncodeToString(raw[:])
}

func validID(id string) bool {
	return len(id) == idLen && strings.Trim(id, "0123456789abcdefghijklmnopqrstuv") == ""
}

// hashOf names texts in a key, so that no two lists of them have the same.
func hashOf(texts ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", texts))
	return idText.EncodeToString(sum[:20])
}

func laneOf(platform, lane string) string { return hashOf("lane", platform, lane) }

func laneKey(lane string) string          { return "outbox:l:" + lane }
func pendingKey(id string) string         { return pendingPrefix + id }
func finalKey(id string) string           { return finalPrefix + id }
func groupPrefix(group string) string     { return "outbox:g:" + hashOf("group", group) + ":" }
func idempotencyKey(o, key string) string { return "outbox:k:" + hashOf("key", o, key) }

// loadLane reads a lane; one that is not there is empty, with a nil raw.
func (o *Outbox) loadLane(ctx context.Context, key string) (l *lane, raw []byte, err error) {
	raw, err = o.store.Get(ctx, laneKey(key))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &lane{}, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("reading lane: %w", err)
	}
	l, err = decodeLane(raw)
	return l, raw, err
}

// swapLane writes l over raw, which must be what the lane was read from.
func (o *Outbox) swapLane(ctx context.Context, key string, raw []byte, l *lane) (newRaw []byte, ok bool, err error) {
	l.Version++
	val, err := json.Marshal(l)
	if err != nil {
		return nil, false, fmt.Errorf("writing lane: %w", err)
	}
	ttl := keepLane
	if l.newest() != nil {
		ttl = 0
	}
	if raw == nil {
		ok, err = o.store.PutIfAbsent(ctx, laneKey(key), val, ttl)
	} else {
		ok, err = o.store.Swap(ctx, laneKey(key), raw, val, ttl)
	}
	if err != nil {
		return nil, false, fmt.Errorf("writing lane: %w", err)
	}
	return val, ok, nil
}

// get reads a record. An empty one has been dropped.
func (o *Outbox) get(ctx context.Context, key string) ([]byte, error) {
	val, err := o.store.Get(ctx, key)
	if err == nil && len(val) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return val, nil
}

// create writes a record where none is, or one that has been
// dropped.
func (o *Outbox) create(ctx context.Context, key string, val []byte, ttl time.Duration) (bool, error) {
	ok, err := o.store.PutIfAbsent(ctx, key, val, ttl)
	if ok || err != nil {
		return ok, err
	}
	return o.store.Swap(ctx, key, nil, val, ttl)
}

// drop deletes a record if it still has the value. The store knows no such
// operation; an empty record that expires at once stands for it.
func (o *Outbox) drop(ctx context.Context, key string, val []byte) error {
	_, err := o.store.Swap(ctx, key, val, nil, time.Millisecond)
	return err
}

func cutReason(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason-3], "") + "…"
}
