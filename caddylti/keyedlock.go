package caddylti

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-lti/lti/store"
)

// keyedLock lets one at a time do something for each key. Its zero value is
// ready for use.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when it is free again
}

// lock waits until nobody else holds the key, or ctx ends.
func (l *keyedLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		busy, ok := l.held[key]
		if !ok {
			if l.held == nil {
				l.held = make(map[string]chan struct{})
			}
			free := make(chan struct{})
			l.held[key] = free
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(free)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// makingLock is a keyedLock that holds on all nodes of a store.
type makingLock struct {
	here   keyedLock
	shared store.Shared // nil if there is but this node
}

const (
	// makingTime is how long a lock holds whose node is gone, and longer than
	// what it is held for may take.
	makingTime = 45 * time.Second
	// makingPause is between looks at a lock that another node holds.
	makingPause = 200 * time.Millisecond
)

// lock waits until nobody else holds the key, or ctx ends.
func (l *makingLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	free, err := l.here.lock(ctx, key)
	if err != nil || l.shared == nil {
		return free, err
	}
	name, owner := "making:"+key, []byte(rand.Text())
	for {
		got, err := l.shared.PutIfAbsent(ctx, name, owner, makingTime)
		switch {
		case err != nil:
			free()
			return nil, fmt.Errorf("waiting for other nodes: %w", err)
		case got:
			return func() {
				// It may have passed to another node meanwhile. If this fails it ends
				// by itself.
				_, _ = l.shared.Swap(context.WithoutCancel(ctx), name, owner, nil, time.Millisecond)
				free()
			}, nil
		}
		select {
		case <-ctx.Done():
			free()
			return nil, ctx.Err()
		case <-time.After(makingPause):
		}
	}
}
