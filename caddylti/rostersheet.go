package caddylti

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"iter"

	"github.com/caddy-lti/lti/nrps"
)

// sheet is what has been read of a roster: one line of JSON for each member.
type sheet struct {
	id      string
	context nrps.Context
	lines   []byte

	count   int               // of lines
	members int               // people, by status
	last    map[[2]string]int // the right line of who has several, by user_id and status
}

func (s *sheet) add(m *nrps.Member) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.lines = append(append(s.lines, line...), '\n')
	if !m.Again {
		s.members++
	} else {
		if s.last == nil {
			s.last = make(map[[2]string]int)
		}
		s.last[[2]string{m.UserID, m.Status}] = s.count
	}
	s.count++
	return nil
}

// standing yields those of the lines in r, which are the sheet's, that no later one
// replaces.
func (s *sheet) standing(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		for n := range s.count {
			line, err := in.ReadBytes('\n')
			if err == nil && len(s.last) > 0 {
				var m nrps.Member
				err = json.Unmarshal(line, &m)
				if at, several := s.last[[2]string{m.UserID, m.Status}]; several && at != n {
					continue
				}
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// head is the JSON of the roster up to its members.
func (s *sheet) head() ([]byte, error) {
	head, err := json.Marshal(struct {
		ID      string       `json:"id"`
		Context nrps.Context `json:"context"`
	}{s.id, s.context})
	if err != nil {
		return nil, err
	}
	return append(head[:len(head)-1], `,"members":[`...), nil
}

// begun is a roster of which the beginning has been read.
type begun struct {
	sheet
	next   func() (nrps.Member, error, bool)
	cancel context.CancelFunc
	unbind func() bool
	end    func()
}

// until has the reading end with ctx.
func (b *begun) until(ctx context.Context) { b.unbind = context.AfterFunc(ctx, b.cancel) }

func (b *begun) close() {
	if b.unbind != nil {
		b.unbind()
	}
	b.end()
}

// all yields the lines of all members, those that have been read first. It can be
// used once. An error is the last thing that it yields.
func (b *begun) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for line := range bytes.Lines(b.lines) {
			if !yield(line, nil) {
				return
			}
		}
		for b.lines = nil; ; {
			m, err, ok := b.next()
			if !ok {
				return
			}
			b.lines = b.lines[:0]
			if err == nil {
				err = b.add(&m)
			}
			if !yield(b.lines, err) || err != nil {
				return
			}
		}
	}
}

// whole is a complete roster, in which everybody is once for each status.
type whole struct {
	head  []byte // its JSON up to the members
	lines []byte
	tag   string // another one for other content
}

func (s *sheet) whole() (*whole, error) {
	head, err := s.head()
	if err != nil {
		return nil, err
	}
	w := &whole{head: head, lines: bytes.Clone(s.lines)}
	if len(s.last) > 0 {
		w.lines = w.lines[:0]
		for line, err := range s.standing(bytes.NewReader(s.lines)) {
			if err != nil {
				return nil, err
			}
			w.lines = append(w.lines, line...)
		}
	}
	sum := sha256.New()
	_, _ = sum.Write(w.head)
	_, _ = sum.Write(w.lines)
	w.tag = base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:16])
	return w, nil
}

func (w *whole) size() int { return len(w.head) + cap(w.lines) }

// all yields the lines of the members.
func (w *whole) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for line := range bytes.Lines(w.lines) {
			if !yield(line, nil) {
				return
			}
		}
	}
}
