package pipeline

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

func TestParseJournal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, line, text, cursor string }{
		{"journalctl", `{"__CURSOR":"s=ab;i=1f;b=00;m=1;t=2;x=3","SYSLOG_IDENTIFIER":"sshd","MESSAGE":"Accepted publickey"}`, "sshd: Accepted publickey", "s=ab;i=1f;b=00;m=1;t=2;x=3"},
		{"bytes that are no UTF-8", `{"__CURSOR":"s=a;i=1","MESSAGE":[104,105,255]}`, "hi?", "s=a;i=1"},
		{"no message", `{"__CURSOR":"s=a;i=1"}`, "", "s=a;i=1"},
		{"a cursor that is a shell's", `{"__CURSOR":"$(reboot)","MESSAGE":"x"}`, "", ""},
		{"the kernel", "6,1032,5140900,-;EXT4-fs (vda2): mounted filesystem", "kernel: EXT4-fs (vda2): mounted filesystem", "1032"},
		{"the kernel's further fields", " SUBSYSTEM=block", "", ""},
		{"half a line", `{"__CURSOR":"s=a`, "", ""},
		{"a number that is none", "6,x,1,-;text", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text, cursor := parseJournal(c.line)
			if text != c.text || cursor != c.cursor {
				t.Errorf("got %q, %q; want %q, %q", text, cursor, c.text, c.cursor)
			}
		})
	}
}

// TestStage0sJournalIsInTheJobsLog: from the boot's first line, each once, over a cut of the connection and a second attempt.
func TestStage0sJournalIsInTheJobsLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.mu.Lock()
	m.kmsg = []string{"6,1,10,-;Linux version 6.12", "6,2,20,-;vda: vda1 vda2"}
	m.exit = 1
	m.mu.Unlock()
	m.powerOn()
	journal := func() (texts []string) {
		lines, err := r.Tail(r.host(m).ID, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			if l.Step == JournalStep {
				texts = append(texts, l.Text)
			}
		}
		return texts
	}
	m.mu.Lock()
	m.hang = make(chan struct{})
	hang := m.hang
	m.mu.Unlock()
	r.assign(m, "node1", "plain")
	r.until(m, "copied the journal and formats", func(inventory.Host) bool {
		return len(journal()) == 2 && slices.Contains(m.did(), "stage-0 install")
	})
	m.mu.Lock()
	again := make(chan struct{}) // the second attempt waits, too, until its journal was read
	m.hang, m.kmsg, m.exit = again, append(m.kmsg, "3,3,30,-;mce: hardware error"), 0
	m.mu.Unlock()
	close(hang)
	r.untilState(m, inventory.StateFailed)
	r.retry(m)
	want := []string{"kernel: Linux version 6.12", "kernel: vda: vda1 vda2", "kernel: mce: hardware error"}
	r.until(m, "has all", func(inventory.Host) bool { return len(journal()) >= len(want) })
	m.mu.Lock()
	m.hang = nil
	m.mu.Unlock()
	close(again)
	r.untilState(m, inventory.StateInstalled)
	got := journal()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the journal in the log (-want +got):\n%s\n%s", diff, r.logText(m))
	}
	if text := r.logText(m); !strings.Contains(text, JournalStep+": kernel: mce") {
		t.Errorf("the log does not say whose lines they are:\n%s", text)
	}
}
