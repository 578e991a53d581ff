package caddylti

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Where no Caddy answers, the message says what to do.
func TestCommandWithoutCaddy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cmd  *cobra.Command
		args []string
		says string
	}{
		{platformsCommand(), []string{"list", "--address", nobody}, "is Caddy running, and is its admin endpoint at " + nobody},
		{doctorCommand(), []string{"--address", nobody}, "is Caddy running"},
	} {
		t.Run(tt.cmd.Name()+" "+strings.Join(tt.args, " "), func(t *testing.T) {
			var out bytes.Buffer
			root := &cobra.Command{Use: "lti"}
			root.AddCommand(tt.cmd)
			root.SetOut(&out)
			root.SetErr(&out)
			root.SetArgs(append([]string{tt.cmd.Name()}, tt.args...))
			if err := root.Execute(); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}
