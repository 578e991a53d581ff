package devlms

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-lti/lti/internal/jose"
)

const (
	// maxHints and maxNonces bound what visitors can make the platform
	// remember; the second is per tool.
	maxHints  = 10_000
	maxNonces = 10_000

	// hintLifetime is how long a launch that was begun may take to reach the
	// authorization endpoint.
	hintLifetime = 5 * time.Minute
)

// state is what survives a reload of the configuration.
type state struct {
	mu     sync.Mutex
	key    *jose.Key
	hints  *table[string, launch]
	nonces map[string]*table[[sha256.Size]byte, struct{}] // by client id
}

// launch is what an lti_message_hint stands for: one click of one person on one
// activity.
type launch struct {
	issuer   string
	clientID string
	person   string
	course   string
	activity string
	expires  time.Time
}

func newState() *state {
	return &state{
		hints:  newTable[string, launch](maxHints),
		nonces: make(map[string]*table[[sha256.Size]byte, struct{}]),
	}
}

// Destruct makes a state a value of Caddy's usage pool. There is nothing to
// close, and requests of an old configuration may still be using it.
func (*state) Destruct() error { return nil }

// signingKey returns the platform's key, made when it is first needed.
func (s *state) signingKey() (*jose.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		key, err := jose.GenerateKey()
		if err != nil {
			return nil, err
		}
		s.key = key
	}
	return s.key, nil
}

// publicKeys returns the platform's key set.
func (s *state) publicKeys() ([]byte, error) {
	key, err := s.signingKey()
	if err != nil {
		return nil, err
	}
	return jose.PublicSet(key)
}

// begin remembers a launch and returns its lti_message_hint. As Moodle's, it is
// JSON text: a tool that does not carry it through URLs and forms unharmed
// shall find out here.
func (s *state) begin(l launch) (string, error) {
	hint, err := json.Marshal(struct {
		Activity string `json:"activity"`
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
// remembers it. Hashes are kept, for a client may send nonces of any length.
func (s *state) firstUse(clientID, nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.nonces[clientID]
	if seen == nil {
		seen = newTable[[sha256.Size]byte, struct{}](maxNonces)
		s.nonces[clientID] = seen
	}
	return seen.add(sha256.Sum256([]byte(nonce)), struct{}{})
}
