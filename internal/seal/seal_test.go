package seal

import (
	"bytes"
	"errors"
	"testing"
)

func newSealer(t *testing.T, keys ...[]byte) *Sealer {
	t.Helper()
	s, err := New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpen(t *testing.T) {
	oldKey, newKey := NewKey(), NewKey()
	s := newSealer(t, newKey, oldKey)
	sealed := s.Seal("state", []byte("what the login knew"))
	if got, err := s.Open("state", sealed); err != nil || !bytes.Equal(got, []byte("what the login knew")) {
		t.Fatalf("Open: %q, %v", got, err)
	}
	if s.Seal("state", []byte("x")) == s.Seal("state", []byte("x")) {
		t.Error("the same value sealed twice looks the same")
	}
	if _, err := s.Open("ticket", sealed); !errors.Is(err, ErrInvalid) {
		t.Errorf("opened for another purpose: %v", err)
	}
	if _, err := newSealer(t, oldKey).Open("state", sealed); !errors.Is(err, ErrInvalid) {
		t.Errorf("opened with another key: %v", err)
	}
	if _, err := s.Open("state", newSealer(t, oldKey).Seal("state", []byte("x"))); err != nil {
		t.Errorf("a value sealed with the older key: %v", err)
	}
	for i := range len(sealed) {
		b := []byte(sealed)
		b[i] ^= 1
		if _, err := s.Open("state", string(b)); err == nil {
			t.Fatalf("opened with byte %d changed", i)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(); err == nil {
		t.Error("a sealer without keys")
	}
	if _, err := New(make([]byte, 16)); err == nil {
		t.Error("a short key was taken")
	}
}

func FuzzOpen(f *testing.F) {
	s, err := New(NewKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, sealed string) {
		if _, err := s.Open("state", sealed); err == nil {
			t.Fatalf("opened %q", sealed)
		}
	})
}
