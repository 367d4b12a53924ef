package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestExplainNamesThePortAndItsHolder(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = net.Listen("tcp", ln.Addr().String())
	got := explain(fmt.Errorf("boot listener: %w", err)).Error()
	for _, want := range []string{fmt.Sprintf("TCP port %d", portOf(ln.Addr())), fmt.Sprintf("(pid %d)", os.Getpid()), "--boot-addr"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want it to contain %q", got, want)
		}
	}
}

func TestExplainLeavesOtherErrorsAlone(t *testing.T) {
	t.Parallel()
	err := errors.New("something else")
	if got := explain(err); got != err {
		t.Errorf("got %v, want the same error", got)
	}
}
