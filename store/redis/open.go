package redis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/caddy-lti/lti/store"
)

const defaultPort = "6379"

// Options sets up a [Store].
type Options struct {
	// Now is the clock; nil means [time.Now]. Those of all nodes have to agree.
	Now func() time.Time
	// Warn hears, at Open, of settings of the server by which records may get
	// lost; nil is nobody.
	Warn func(msg string)
}

// Address is where a server is, and how to sign in there. Its password is in no
// error.
type Address struct {
	network, address string
	host             string // for TLS; empty without
	user, password   string
	database         int
}

// ParseURL reads an address.
func ParseURL(text string) (*Address, error) {
	wrong := func(what string) error {
		return fmt.Errorf("%s: expected redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss://… for TLS, or unix://[USER:PASSWORD@]/PATH[?db=DATABASE]", what)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, wrong("not a URL") // err has the password in it
	}
	a := &Address{user: u.User.Username()}
	a.password, _ = u.User.Password()
	database := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss":
		if u.Hostname() == "" {
			return nil, wrong("the URL of the Redis server has no host")
		}
		port := u.Port()
		if port == "" {
			port = defaultPort
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, wrong("the port of the Redis server is none")
		}
		a.network, a.address = "tcp", net.JoinHostPort(u.Hostname(), port)
		if u.Scheme == "rediss" {
			a.host = u.Hostname()
		}
		if u.RawQuery != "" {
			return nil, wrong("the URL of the Redis server has a query")
		}
	case "unix":
		a.network, a.address = "unix", u.Path
		if u.Path == "" || u.Host != "" {
			return nil, wrong("the URL of the Redis server has no path of a socket")
		}
		query := u.Query()
		database = query.Get("db")
		if query.Del("db"); len(query) > 0 {
			return nil, wrong("the URL of the Redis server has parameters beside db")
		}
	default:
		return nil, wrong("not the URL of a Redis server")
	}
	if u.Fragment != "" {
		return nil, wrong("the URL of the Redis server has a #")
	}
	if database != "" {
		n, err := strconv.ParseUint(database, 10, 16)
		if err != nil {
			return nil, wrong("the database of the Redis server is not a number")
		}
		a.database = int(n)
	}
	return a, nil
}

// String is where the server is, without user and password.
func (a *Address) String() string { return fmt.Sprintf("%s/%d", a.address, a.database) }

// Key is the same for addresses that are the same in everything.
func (a *Address) Key() string { return fmt.Sprintf("%#v", *a) }

// dial connects and signs in.
func (a *Address) dial(ctx context.Context) (redis.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	opts := []redis.DialOption{
		redis.DialUsername(a.user), redis.DialPassword(a.password), redis.DialDatabase(a.database),
		redis.DialConnectTimeout(answerTimeout), redis.DialReadTimeout(answerTimeout), redis.DialWriteTimeout(answerTimeout),
	}
	if a.host != "" {
		opts = append(opts, redis.DialUseTLS(true), redis.DialTLSConfig(&tls.Config{ServerName: a.host, MinVersion: tls.VersionTLS12}), redis.DialTLSHandshakeTimeout(answerTimeout))
	}
	return redis.DialContext(ctx, a.network, a.address, opts...)
}

// Open connects to a server, and tries out that it can be written to. What would
// fail at the first launch fails here.
func Open(ctx context.Context, a *Address, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	s := &Store{at: a, now: opts.Now}
	s.pool = s.newPool()
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.try(ctx, opts.Warn); err != nil {
		s.stop()
		_ = s.pool.Close()
		return nil, err
	}
	s.wg.Go(s.sweeper)
	return s, nil
}

// try finds out whether the server will do.
func (s *Store) try(ctx context.Context, warn func(string)) error {
	if _, err := s.do(ctx, command("PING")); err != nil {
		return failed("connecting", err)
	}
	// Servers of hosting providers often do not tell of their settings.
	setting := func(name string) string {
		pairs, _ := redis.Strings(s.do(ctx, command("CONFIG", "GET", name)))
		if len(pairs) != 2 {
			return ""
		}
		return pairs[1]
	}
	if setting("cluster-enabled") == "yes" {
		return fmt.Errorf("store redis: the server at %s is part of a Redis Cluster, which cannot be a store: use a single server, with replicas if you like", s.at)
	}
	if policy := setting("maxmemory-policy"); policy != "" && policy != "noeviction" {
		return fmt.Errorf("store redis: the maxmemory-policy of the server at %s is %s: when its memory is full it would forget sessions, scores "+
			"and which launches were used. Set it to noeviction, or use another server", s.at, policy)
	}
	if setting("appendonly") == "no" {
		warn("Redis does not write down at once what it is told (appendonly no): sessions and scores that wait are lost when it stops unexpectedly")
	}
	// A value of full size, so that a server without memory is found.
	key := "probe/" + rand.Text()
	if _, err := s.PutIfAbsent(ctx, key, make([]byte, store.MaxValueLen), time.Minute); err != nil {
		return fmt.Errorf("trial write: %w", err)
	}
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("trial write: %w", err)
	}
	return nil
}
