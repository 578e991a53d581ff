package store_test

import (
	"testing"
	"time"

	"github.com/caddy-lti/lti/store"
)

func TestExpiry(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	for _, tt := range []struct {
		name string
		now  time.Time
		ttl  time.Duration
		want int64
	}{
		{"never", at, 0, 0},
		{"whole milliseconds", at, 5 * time.Millisecond, 1_700_000_000_005},
		{"a nanosecond rounds up", at, 1, 1_700_000_000_001},
		{"fractions add up", at.Add(600 * time.Microsecond), 600 * time.Microsecond, 1_700_000_000_002},
		{"longest lifetime", at, 1<<63 - 1, 1_700_000_000_000 + (1<<63-1)/1_000_000 + 1},
		{"before 1970 is not never", time.UnixMilli(-10), 10 * time.Millisecond, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := store.Expiry(tt.now, tt.ttl); got != tt.want {
				t.Errorf("Expiry = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestExpired(t *testing.T) {
	at := time.UnixMilli(1000)
	for expiry, want := range map[int64]bool{0: false, 999: true, 1000: true, 1001: false} {
		if got := store.Expired(at, expiry); got != want {
			t.Errorf("Expired(1000, %d) = %t, want %t", expiry, got, want)
		}
	}
}
