package redis

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/caddy-lti/lti/store"
)

const (
	// listenPing is between questions whether the server is still there, where one
	// listens, and listenTimeout how long it may be silent.
	listenPing    = 500 * time.Millisecond
	listenTimeout = 2 * time.Second
	// listenPause is between attempts to listen.
	listenPause = 100 * time.Millisecond
)

func channel(topic string) string { return namespace + "topic:" + topic }

// Tell implements [store.Shared].
func (s *Store) Tell(ctx context.Context, topic, msg string) error {
	done, err := s.call(ctx)
	if err != nil {
		return err
	}
	defer done()
	if _, err := s.do(ctx, command("PUBLISH", channel(topic), msg)); err != nil {
		return failed("telling other nodes", err)
	}
	return nil
}

// Listen implements [store.Shared].
func (s *Store) Listen(topic string, l store.Listener) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.ErrClosed
	}
	s.wg.Go(func() {
		for s.ctx.Err() == nil {
			s.listen(topic, l)
			l.Deaf()
			select {
			case <-s.ctx.Done():
			case <-time.After(listenPause):
			}
		}
	})
	return nil
}

// listen listens on a connection of its own, until that is lost.
func (s *Store) listen(topic string, l store.Listener) {
	raw, err := s.at.dial(s.ctx)
	if err != nil {
		return
	}
	conn := redis.PubSubConn{Conn: raw}
	defer conn.Close()
	if conn.Subscribe(channel(topic)) != nil {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.wg.Go(func() {
		tick := time.NewTicker(listenPing)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				_ = conn.Close() // or the other one waits for its timeout
				return
			case <-tick.C:
				_ = conn.Ping("") // that it failed is seen by the silence
			}
		}
	})
	for {
		switch msg := conn.ReceiveWithTimeout(listenTimeout).(type) {
		case error:
			return
		case redis.Subscription:
			if l.Hears(ctx) != nil {
				return
			}
		case redis.Message:
			l.Heard(string(msg.Data))
		}
	}
}
