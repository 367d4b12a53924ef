package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConsole(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		feed  []string
		names []string
		lines []string
	}{
		{
			name:  "a banner that arrives in pieces without a line end counts once",
			feed:  []string{"\x1b[2J>>Start PX", "E over IPv4.", "..\r\n"},
			names: []string{EventNetboot},
			lines: []string{">>Start PXE over IPv4."},
		},
		{
			name:  "every iPXE that starts is an event and the kernel is one only once",
			feed:  []string{"iPXE 1.0.0+ -- Open Source Network\niPXE 1.21.1+ -- Open Source\nLinux version 6\nLinux version 6\n"},
			names: []string{EventIPXE, EventIPXE, EventKernel},
			lines: []string{"iPXE 1.0.0+ -- Open Source Network", "iPXE 1.21.1+ -- Open Source", "Linux version 6"},
		},
		{
			name:  "a machine that boots its own disk says from which firmware",
			feed:  []string{"LAB-DISK-BOOT ", "bios\r\n"},
			names: []string{EventDiskBoot},
			lines: []string{"LAB-DISK-BOOT bios"},
		},
		{
			name:  "colours and broken bytes are cleaned away",
			feed:  []string{"\x1b[1;37mSTAGE0-READY \xff\x1b[0m\n"},
			names: []string{EventUserland},
			lines: []string{"STAGE0-READY ?"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConsole()
			var names, lines []string
			for _, p := range tt.feed {
				for _, e := range c.feed([]byte(p)) {
					names, lines = append(names, e.Name), append(lines, e.Line)
				}
			}
			if d := cmp.Diff(tt.names, names); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.lines, lines); d != "" {
				t.Errorf("lines (-want +got):\n%s", d)
			}
		})
	}
}

func TestConsoleForgetsALineThatNeverEnds(t *testing.T) {
	t.Parallel()
	c := newConsole()
	for range 100 {
		c.feed(make([]byte, 1000))
	}
	if len(c.rest) > 8192 {
		t.Errorf("kept %d bytes of a line without an end", len(c.rest))
	}
	if got := c.feed([]byte("\nKernel panic - not syncing\n")); len(got) != 1 || got[0].Name != EventPanic {
		t.Errorf("events after it: got %v, want one panic", got)
	}
}
