// Package redistest runs Redis servers for tests.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a Redis server of its own, which keeps what it acknowledged.
type Server struct {
	// URL is where it is. It needs no password.
	URL string

	tb   testing.TB
	dir  string
	port string
	args []string
	cmd  *exec.Cmd
}

// Start runs a server until the test ends. Further arguments are settings, such as
// "--maxmemory", "1mb".
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		tb.Fatal("redis-server is missing, see scripts/setup.sh")
	}
	// Where a socket may be is short.
	dir, err := os.MkdirTemp("", "redis") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	_ = ln.Close()
	s := &Server{URL: "redis://127.0.0.1:" + port + "/0", tb: tb, dir: dir, port: port, args: settings}
	s.Run()
	tb.Cleanup(s.Kill)
	return s
}

// Run starts the server again, with what it had, and waits until it answers.
func (s *Server) Run() {
	s.tb.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer log.Close()
	args := append([]string{
		"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir, "--unixsocket", s.Socket(),
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--databases", "64",
	}, s.args...)
	cmd := exec.Command("redis-server", args...) //nolint:noctx // Kill ends it
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	s.cmd = cmd
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !s.answers(); <-tick.C {
		if time.Since(begin) > 20*time.Second {
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.tb.Fatalf("redis-server does not answer:\n%s", text)
		}
	}
}

// answers asks the server for a sign of life, once.
func (s *Server) answers() bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", "127.0.0.1:"+s.port)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		return false
	}
	answer := make([]byte, 64)
	n, _ := conn.Read(answer)
	// One that wants a password answers, too.
	return strings.HasPrefix(string(answer[:n]), "+PONG") || strings.HasPrefix(string(answer[:n]), "-NOAUTH")
}

// Kill ends the server as a power failure would.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Freeze has the server hang, until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw has the server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatal(err)
	}
}

// Socket is the server's Unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "socket") }

// Database is the URL of another database of the server.
func (s *Server) Database(n int) string { return strings.TrimSuffix(s.URL, "0") + fmt.Sprint(n) }
