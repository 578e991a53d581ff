package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/store"
)

var (
	storeFailed = define(rule{
		CheckStore, "failed", Failure, fault.ToolAdmin,
		"see to disk space, file permissions, or the network to the store", "",
	})
	storeWrong = define(rule{
		CheckStore, "wrong", Failure, fault.ToolAdmin,
		"see that all nodes use the same store, and that nothing else writes to it or empties it", "",
	})
	storeSlow = define(rule{
		CheckStore, "slow", Warning, fault.ToolAdmin,
		"put the store on a faster disk, or nearer to this server: each launch waits for it", "",
	})

	keysNone = define(rule{
		CheckKeys, "none", Failure, fault.ToolAdmin,
		"restore the tool's keys from a backup of Caddy's storage", "",
	})
	keysWeak = define(rule{
		CheckKeys, "weak", Failure, fault.ToolAdmin,
		"replace the key by one of 2048 bits or more: caddy lti keys rotate", "",
	})
	keysOld = define(rule{
		CheckKeys, "old", Note, fault.ToolAdmin,
		"replace the key, with caddy lti keys rotate or the option rotate: a year is long for one", "",
	})
	keysFuture = define(rule{
		CheckKeys, "future", Warning, fault.ToolAdmin,
		"see that the clocks of all nodes agree", "",
	})
)

const (
	probePrefix = "doctor/"
	probeLife   = time.Minute
	slowProbe   = time.Second // for all of its operations
)

// Store tries out the store with a record of its own, which it deletes.
func Store(ctx context.Context, st store.Store) []Finding {
	r := &report{subject: "store"}
	p := probe{ctx: ctx, st: st, key: probePrefix + rand.Text()}
	defer func() { _ = st.Delete(context.WithoutCancel(ctx), p.key) }()
	begin := time.Now()
	for _, s := range []struct {
		what string
		do   func() error
	}{
		{"write a record", p.write},
		{"read it", p.read("1")},
		{"write it once more, as if it were not there", p.repeat},
		{"find it in a list", p.list},
		{"swap it", p.swap},
		{"read the new one", p.read("2")},
		{"delete it", p.remove},
	} {
		switch err := s.do(); {
		case errors.Is(err, errWrong):
			r.broken(storeWrong, "to %s: %v", s.what, err)
			return r.found
		case err != nil:
			r.broken(storeFailed, "to %s: %v", s.what, err)
			return r.found
		}
	}
	took := time.Since(begin)
	if took > slowProbe {
		r.broken(storeSlow, "a record was written, read, swapped and deleted in %s", took.Round(time.Millisecond))
	} else {
		r.ok(CheckStore, "a record was written, read, swapped and deleted in %s", took.Round(time.Microsecond))
	}
	return r.found
}

var errWrong = errors.New("the store did not do what it said")

func wrong(ok bool, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: %s", errWrong, what)
}

// probe is a record and what is done with it.
type probe struct {
	ctx context.Context
	st  store.Store
	key string
}

func (p *probe) write() error {
	made, err := p.st.PutIfAbsent(p.ctx, p.key, []byte("1"), probeLife)
	if err != nil {
		return err
	}
	return wrong(made, "a new record counts as there already")
}

func (p *probe) repeat() error {
	made, err := p.st.PutIfAbsent(p.ctx, p.key, []byte("3"), probeLife)
	if err != nil {
		return err
	}
	return wrong(!made, "what must be good once was good twice")
}

func (p *probe) read(want string) func() error {
	return func() error {
		val, err := p.st.Get(p.ctx, p.key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return wrong(bytes.Equal(val, []byte(want)), "it does not have what was just written")
	}
}

func (p *probe) list() error {
	found, err := p.st.List(p.ctx, p.key, "", 1)
	if err != nil {
		return err
	}
	return wrong(len(found) == 1 && found[0].Key == p.key, "the record is not in it")
}

func (p *probe) swap() error {
	done, err := p.st.Swap(p.ctx, p.key, []byte("1"), []byte("2"), probeLife)
	if err != nil {
		return err
	}
	return wrong(done, "the record counts as changed by somebody else")
}

func (p *probe) remove() error {
	if err := p.st.Delete(p.ctx, p.key); err != nil {
		return err
	}
	_, err := p.st.Get(p.ctx, p.key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return errors.Join(err, wrong(err != nil, "the record is still there"))
}

const oldKey = 366 * 24 * time.Hour

// Keys judges the tool's keys: the key set that the server publishes, and when the
// key in use was made; the zero time is unknown.
func Keys(document []byte, created, now time.Time) []Finding {
	r := &report{subject: "keys"}
	set, err := jose.ParseKeySet(document)
	if err != nil {
		r.broken(keysNone, "the tool has no keys: %v", err)
		return r.found
	}
	for _, why := range set.Skipped() {
		r.broken(keysWeak, "no platform will use a key of the tool: %v", why)
	}
	switch age := now.Sub(created); {
	case set.Len() == 0:
		r.broken(keysNone, "the tool has no key that can be used")
	case created.IsZero():
		r.ok(CheckKeys, "keys of the tool: %d", set.Len())
	case age < -time.Minute:
		r.broken(keysFuture, "the key in use was made on %s, which is not yet", day(created))
	case age > oldKey:
		r.broken(keysOld, "the key in use was made on %s", day(created))
	default:
		r.ok(CheckKeys, "keys of the tool: %d; the one in use was made on %s", set.Len(), day(created))
	}
	return r.found
}
