package caddylti

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener for connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error {
	close(p)
	return nil
}

func (pipes) Addr() net.Addr { return new(net.UnixAddr) }

// Whoever trickles a body is cut off.
func TestBodyHasToComeSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := make(pipes)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := readSoon(w, r, 1000)
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("reading: %v", err)
				}
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_, _ = w.Write(body)
		})}
		go func() { _ = srv.Serve(listener) }()
		defer srv.Close()
		send := func(pause time.Duration) (status int, took time.Duration) {
			var sender sync.WaitGroup
			defer sender.Wait()
			client, server := net.Pipe()
			defer client.Close()
			listener <- server
			begin := time.Now()
			sender.Go(func() {
				_, _ = fmt.Fprint(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
				for range 10 {
					time.Sleep(pause)
					if _, err := io.WriteString(client, "x"); err != nil {
						return
					}
				}
			})
			res, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			return res.StatusCode, time.Since(begin)
		}
		if status, took := send(bodyTimeout / 4); status != http.StatusBadRequest || took != bodyTimeout {
			t.Errorf("one that trickles: %d after %s", status, took)
		}
		if status, _ := send(bodyTimeout / 100); status != http.StatusOK {
			t.Errorf("one that comes: %d", status)
		}
	})
}
