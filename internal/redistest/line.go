package redistest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Line is a way to a server on which something goes wrong.
type Line struct {
	URL string

	port  string
	lose  atomic.Int32
	conns sync.Map
}

// Line makes a way to the server that lasts as long as the test.
func (s *Server) Line() *Line {
	s.tb.Helper()
	ln, err := new(net.ListenConfig).Listen(s.tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.tb.Fatal(err)
	}
	l := &Line{URL: "redis://" + ln.Addr().String() + "/0", port: s.port}
	s.tb.Cleanup(func() {
		_ = ln.Close()
		l.Cut()
	})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go l.serve(conn)
		}
	}()
	return l
}

// Cut ends all connections.
func (l *Line) Cut() {
	l.conns.Range(func(conn, _ any) bool {
		_ = conn.(net.Conn).Close()
		return true
	})
}

// Lose has the next n answers lost, and with each its connection.
func (l *Line) Lose(n int32) { l.lose.Store(n) }

// Losing reports whether not all of them have been lost yet.
func (l *Line) Losing() bool { return l.lose.Load() > 0 }

func (l *Line) serve(conn net.Conn) {
	defer conn.Close()
	l.conns.Store(conn, nil)
	defer l.conns.Delete(conn)
	server, err := net.Dial("tcp", "127.0.0.1:"+l.port) //nolint:noctx // it lasts as long as the other one
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, conn)
		_ = server.Close()
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if l.Losing() {
			l.lose.Add(-1)
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}
