package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	// answerTimeout is how long the server may take to answer, and to let one in.
	answerTimeout = 2 * time.Second
	// callTimeout is how long a call may take, with all its attempts.
	callTimeout = 5 * time.Second
	// attempts of a call where connections fail, with a pause that grows.
	attempts  = 3
	firstWait = 20 * time.Millisecond

	// maxActive is how many connections there are at most, and maxIdle how many are
	// kept while nobody needs them.
	maxActive   = 128
	maxIdle     = 16
	idleTimeout = 4 * time.Minute
)

// ask is what is asked of the server on a connection.
type ask func(ctx context.Context, conn redis.Conn) (any, error)

func command(name string, args ...any) ask {
	return func(ctx context.Context, conn redis.Conn) (any, error) {
		return redis.DoContext(conn, ctx, name, args...)
	}
}

func script(s *redis.Script, keysAndArgs ...any) ask {
	return func(ctx context.Context, conn redis.Conn) (any, error) { return s.DoContext(ctx, conn, keysAndArgs...) }
}

// newPool makes the connections of the store.
func (s *Store) newPool() *redis.Pool {
	return &redis.Pool{
		DialContext: s.at.dial,
		MaxActive:   maxActive, MaxIdle: maxIdle, IdleTimeout: idleTimeout, Wait: true,
		// Where one connection has failed, those that are as old have, too.
		TestOnBorrow: func(_ redis.Conn, used time.Time) error {
			if used.UnixNano() <= s.failed.Load() {
				return errStale
			}
			return nil
		},
	}
}

var errStale = errors.New("a connection from before the last failure")

// do asks the server, and again where the connection failed: every call can be
// repeated.
func (s *Store) do(ctx context.Context, a ask) (any, error) {
	within, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for n := 1; ; n++ {
		answer, err := s.once(within, a)
		if err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if said, ok := errors.AsType[redis.Error](err); n == attempts || within.Err() != nil || ok && !passing(said) {
			return nil, fmt.Errorf("Redis at %s: %w", s.at, err) //nolint:staticcheck // a name
		}
		select {
		case <-within.Done():
		case <-time.After(firstWait << n):
		}
	}
}

func (s *Store) once(ctx context.Context, a ask) (any, error) {
	conn, err := s.pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := a(ctx, conn)
	if conn.Err() != nil && ctx.Err() == nil {
		s.failed.Store(time.Now().UnixNano())
	}
	return answer, err
}

// passing reports whether the server says something that will soon be otherwise:
// it is reading its file, or another one is about to take its place.
func passing(said redis.Error) bool {
	what, _, _ := strings.Cut(string(said), " ")
	return what == "LOADING" || what == "READONLY" || what == "MASTERDOWN"
}
