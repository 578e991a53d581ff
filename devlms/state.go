package devlms

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-lti/lti/internal/jose"
	"github.com/caddy-lti/lti/internal/jwkset"
)

const (
	// maxHints and maxNonces bound what visitors can make the platform
	// remember; the second is per tool.
	maxHints  = 10_000
	maxNonces = 10_000 // and as many ids of assertions, and nonces of answers

	// maxAsked bounds the deep linking requests that wait for an answer.
	maxAsked = 10_000

	// hintLifetime is how long a launch that was begun may take to reach the
	// authorization endpoint.
	hintLifetime = 5 * time.Minute
)

// state is what survives a reload of the configuration.
type state struct {
	// offset is how far the laboratory has put off the clock, in nanoseconds. The
	// clock is read under any lock, so this has none.
	offset atomic.Int64

	mu      sync.Mutex
	signing []*jose.Key // the newest last: it signs
	storage string      // switched at run time; "" means: as configured
	hints   *table[string, launch]
	nonces  seen
	jtis    seen // of client assertions
	asked   *table[string, *deepLink]
	answers seen // nonces of deep linking responses
	books   *table[string, *book]
	keys    map[string]*jwkset.Set // of tools, by URL
	offers  *table[string, *offer] // registrations that were begun, by id
	journal journal
	lab     labState
}

// seen holds hashes of what each client has sent, by client id: a client may
// send values of any length.
type seen map[string]*table[[sha256.Size]byte, struct{}]

// first reports whether a value is new, and remembers it.
func (s seen) first(clientID, value string) bool {
	t := s[clientID]
	if t == nil {
		t = newTable[[sha256.Size]byte, struct{}](maxNonces)
		s[clientID] = t
	}
	return t.add(sha256.Sum256([]byte(value)), struct{}{})
}

// launch is what an lti_message_hint stands for: one click of one person on one
// activity, or to add content.
type launch struct {
	issuer   string
	clientID string
	person   string
	course   string
	activity string
	asked    *deepLink // nil for an activity
	expires  time.Time
}

func newState() *state {
	return &state{
		hints:   newTable[string, launch](maxHints),
		nonces:  make(seen),
		jtis:    make(seen),
		asked:   newTable[string, *deepLink](maxAsked),
		answers: make(seen),
		books:   newTable[string, *book](maxBooks),
		keys:    make(map[string]*jwkset.Set),
		offers:  newTable[string, *offer](maxOffers),
	}
}

// Destruct makes a state a value of Caddy's usage pool. It ends the fetches of
// key sets that are under way; for the rest there is nothing to close, and
// requests of an old configuration may still be using it.
func (s *state) Destruct() error {
	s.mu.Lock()
	sets := slices.Collect(maps.Values(s.keys))
	s.mu.Unlock()
	for _, set := range sets {
		_ = set.Destruct()
	}
	return nil
}

// book returns what the services of an issuer remember. They are kept apart, for
// demos without the issuer option share one state.
func (s *state) book(issuer string) *book {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.books.get(issuer)
	if !ok {
		b = newBook()
		s.books.add(issuer, b)
	}
	return b
}

// keySet returns the keys behind a tool's URL. They are kept over reloads, as a
// platform keeps them.
func (s *state) keySet(url string, now func() time.Time) *jwkset.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.keys[url]
	if set == nil {
		set = jwkset.New(url, now)
		s.keys[url] = set
	}
	return set
}

// forgetKeys forgets those of a tool that is gone. Another one with the same URL
// has them fetched again.
func (s *state) forgetKeys(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, url)
}

// signingKey returns the platform's key, made when it is first needed.
func (s *state) signingKey() (*jose.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.needKeyLocked(); err != nil {
		return nil, err
	}
	return s.signing[len(s.signing)-1], nil
}

func (s *state) needKeyLocked() error {
	if len(s.signing) > 0 {
		return nil
	}
	key, err := jose.GenerateKey()
	if err != nil {
		return err
	}
	s.signing = []*jose.Key{key}
	return nil
}

// rotateKey has a new key sign. The one before stays published, as tools may still
// have messages of it to verify; undo has it sign again.
func (s *state) rotateKey() (undo func(), err error) {
	key, err := jose.GenerateKey()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.needKeyLocked(); err != nil {
		return nil, err
	}
	before := s.signing[len(s.signing)-1]
	s.signing = []*jose.Key{before, key}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.signing[len(s.signing)-1] == key {
			s.signing = []*jose.Key{key, before}
		}
	}, nil
}

// publicKeys returns the platform's key set.
func (s *state) publicKeys() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.needKeyLocked(); err != nil {
		return nil, err
	}
	return jose.PublicSet(s.signing...)
}

// clockOffset is how far the platform's clock is off, on purpose.
func (s *state) clockOffset() time.Duration {
	return time.Duration(s.offset.Load())
}

func (s *state) storageSwitch() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.storage
}

// begin remembers a launch and returns its lti_message_hint. As Moodle's, it is
// JSON text: a tool that does not carry it through URLs and forms unharmed
// shall find out here.
func (s *state) begin(l launch) (string, error) {
	hint, err := json.Marshal(struct {
		Activity string `json:"activity,omitempty"`
		Launch   string `json:"launchid"`
	}{l.activity, rand.Text()})
	if err != nil {
		return "", fmt.Errorf("making a launch hint: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hints.add(string(hint), l)
	return string(hint), nil
}

// redeem returns the launch of a hint, once.
func (s *state) redeem(hint string) (launch, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hints.take(hint)
}

// firstUse reports whether a client's nonce was never seen before, and
// remembers it.
func (s *state) firstUse(clientID, nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nonces.first(clientID, nonce)
}

// firstAssertion does the same for the jti of a client assertion.
func (s *state) firstAssertion(clientID, jti string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jtis.first(clientID, jti)
}

// expect remembers a deep linking request that was sent to a tool.
func (s *state) expect(d *deepLink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked.add(d.id, d)
}

// request returns a deep linking request, and whether it was answered.
func (s *state) request(id string) (d *deepLink, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, _ = s.asked.get(id)
	return d, d != nil && d.answered
}

// accept makes an answer the one of its request, and says why it cannot be.
func (s *state) accept(d *deepLink, clientID, nonce string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case d.answered:
		return answeredBefore
	case !s.answers.first(clientID, nonce):
		return "nonce was used before"
	}
	d.answered = true
	return ""
}
