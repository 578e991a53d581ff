package nrps

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-lti/lti/internal/loosejson"
)

const (
	maxMember      = 64 << 10 // bytes
	maxOther       = 1 << 20  // of what a page has beside its members
	maxMemberRoles = 200
)

// errNotRoster and the like say what is wrong with an answer, and quote nothing of
// it.
var (
	errNotRoster = errors.New("it is not a roster")
	errNotJSON   = errors.New("it is not JSON")
	errTrailing  = errors.New("something follows the roster")
)

// page reads one answer, of which one member is in memory at a
// time.
type page struct {
	in     *meter
	dec    *json.Decoder
	listed bool // there was a list of members
	inList bool

	id      string
	context Context
}

func newPage(r io.Reader) *page {
	in := &meter{r: r}
	return &page{in: in, dec: json.NewDecoder(in)}
}

// begin reads up to the first member. It returns io.EOF where none can follow.
func (p *page) begin() error {
	switch tok, err := p.token(); {
	case err != nil:
		return err
	case tok != json.Delim('{'):
		return errNotRoster
	}
	return p.scan()
}

// next returns the next member, or io.EOF when the answer is complete.
func (p *page) next() (*Member, error) {
	for p.inList {
		if !p.more(maxMember) {
			if err := p.end(']'); err != nil {
				return nil, err
			}
			p.inList = false
			if err := p.scan(); err != nil {
				return nil, err
			}
			continue
		}
		raw, err := p.value(maxMember)
		if err != nil {
			return nil, err
		}
		m := new(Member)
		if err := m.UnmarshalJSON(raw); err != nil {
			return nil, err
		}
		if len(m.Roles) > maxMemberRoles {
			return nil, fmt.Errorf("a member has more than %d roles", maxMemberRoles)
		}
		return m, nil
	}
	return nil, io.EOF
}

// scan reads what stands beside the members, until a list of them begins or the
// answer is complete: io.EOF.
func (p *page) scan() error {
	for p.more(maxOther) {
		name, err := p.token()
		if err != nil {
			return err
		}
		if name == "members" {
			switch tok, err := p.token(); {
			case err != nil:
				return err
			case tok == json.Delim('['):
				p.listed, p.inList = true, true
				return nil
			case tok == nil: // none, in some languages
				p.listed = true
				continue
			default:
				return errNotRoster
			}
		}
		raw, err := p.value(maxOther)
		if err != nil {
			return err
		}
		var obj loosejson.Members
		switch name {
		case "id":
			p.id = loosejson.Members{"id": raw}.Text("id")
		case "context":
			if json.Unmarshal(raw, &obj) == nil {
				p.context = Context{ID: obj.Text("id"), Label: obj.Text("label"), Title: obj.Text("title")}
			}
		}
	}
	if err := p.end('}'); err != nil {
		return err
	}
	if !p.listed {
		return errNotRoster
	}
	// The rest of the body must be read, to see that none of it is missing.
	p.in.allow(maxOther)
	switch _, err := p.dec.Token(); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case p.in.broken():
		return p.in.err
	default:
		return errTrailing
	}
}

// more tells whether an element follows, within that many bytes.
func (p *page) more(limit int) bool {
	p.in.allow(limit)
	return p.dec.More()
}

// end reads the end of a list or an object in which nothing follows.
func (p *page) end(want json.Delim) error {
	switch tok, err := p.token(); {
	case err != nil:
		return err
	case tok != want: // behind more blanks than are looked through
		return errNotJSON
	}
	return nil
}

func (p *page) token() (json.Token, error) {
	p.in.allow(maxOther)
	tok, err := p.dec.Token()
	return tok, p.judge(err)
}

func (p *page) value(limit int) (json.RawMessage, error) {
	p.in.allow(limit)
	var raw json.RawMessage
	if err := p.dec.Decode(&raw); err != nil {
		return nil, p.judge(err)
	}
	if len(raw) > limit { // what had been read before was not counted
		return nil, tooLongError(limit)
	}
	return raw, nil
}

// judge finds out why the JSON cannot be read.
func (p *page) judge(err error) error {
	_, long := errors.AsType[tooLongError](err)
	switch {
	case err == nil, long:
		return err
	case p.in.err == nil:
		return errNotJSON
	case p.in.broken():
		return p.in.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	default:
		return errNotJSON
	}
}

// tooLongError is the error for a value of more than that many bytes.
type tooLongError int

func (n tooLongError) Error() string {
	return fmt.Sprintf("a part of it is larger than %d KiB", int(n)>>10)
}

// meter lets a decoder, which holds whole values in memory, read so many bytes
// only until more are allowed.
type meter struct {
	r     io.Reader
	limit int
	left  int
	err   error // of the body
}

func (m *meter) allow(n int) { m.limit, m.left = n, n }

// broken tells whether the body ended otherwise than well.
func (m *meter) broken() bool { return m.err != nil && !errors.Is(m.err, io.EOF) }

func (m *meter) Read(p []byte) (int, error) {
	if m.left == 0 {
		return 0, tooLongError(m.limit)
	}
	n, err := m.r.Read(p[:min(len(p), m.left)])
	m.left -= n
	if m.err == nil {
		m.err = err
	}
	return n, err
}
