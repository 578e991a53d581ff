package devlms

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxServiceBody limits what is read of a call of a service.
const maxServiceBody = 64 << 10

// delay keeps a call waiting, and reports whether it is to go on: not when it
// hangs, the client has left, the fault was switched, or the server stops.
func delay(v *visit, f fault, changed, stopped <-chan struct{}) bool {
	// Until the body is read the server does not see that the client leaves.
	body, err := io.ReadAll(http.MaxBytesReader(v.under, v.r.Body, maxServiceBody))
	if err != nil {
		return false
	}
	v.r.Body = io.NopCloser(bytes.NewReader(body))

	var passed <-chan time.Time
	if f.kind == faultSlow {
		timer := time.NewTimer(f.wait)
		defer timer.Stop()
		passed = timer.C
	}
	select {
	case <-passed:
		return true
	case <-changed:
		return f.kind == faultSlow
	case <-v.r.Context().Done():
	case <-stopped:
	}
	return false
}

// stops tells calls that are kept waiting that their server stops: it would wait
// for them, and a reload of the configuration for it.
type stops struct {
	mu      sync.Mutex
	servers map[*http.Server]chan struct{}
}

func (s *stops) of(r *http.Request) <-chan struct{} {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil {
		s.servers = make(map[*http.Server]chan struct{})
	}
	stop, ok := s.servers[server]
	if !ok {
		stop = make(chan struct{})
		s.servers[server] = stop
		var once sync.Once
		server.RegisterOnShutdown(func() { once.Do(func() { close(stop) }) })
	}
	return stop
}

// breakOff does what was asked and spoils the answer: it loses all of it, or the
// second half.
func breakOff(v *visit, all bool, serve func() error) error {
	w := v.w
	kept := &keptResponse{header: make(http.Header), status: http.StatusOK}
	v.w = kept
	err := serve()
	v.w = w
	if err != nil {
		return err
	}
	if all {
		panic(http.ErrAbortHandler)
	}
	body := kept.body.Bytes()
	maps.Copy(w.Header(), kept.header)
	status := kept.status
	if status == http.StatusNoContent {
		status = http.StatusOK // nothing can be cut off otherwise
	}
	w.Header().Set("Content-Length", strconv.Itoa(max(len(body), 2)))
	w.WriteHeader(status)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// keptResponse is an answer that is not sent yet.
type keptResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *keptResponse) Header() http.Header         { return k.header }
func (k *keptResponse) WriteHeader(status int)      { k.status = status }
func (k *keptResponse) Write(p []byte) (int, error) { return k.body.Write(p) }
