package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// pageLines are a page's command lines in blocks, in order.
func pageLines(t *testing.T, page string) (out []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		line, is := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if is && (strings.HasPrefix(line, "hatchery ") || strings.HasPrefix(line, "systemctl ")) {
			out = append(out, line)
		}
	}
	return out
}

// reader is a person on the appliance who types what a page says.
type reader struct {
	*appliance
	dir string
}

// types runs one line in a shell that sees the appliance's data at its usual place, and folders of the test's
// own where a line writes to.
func (r *reader) types(line string) (int, string) {
	r.t.Helper()
	script := "mount -t tmpfs none /var/lib && mkdir /var/lib/hatchery && mount --bind " + r.data + " /var/lib/hatchery\n" +
		"mount --bind " + r.dir + "/mnt /mnt\nmount -t tmpfs none /usr/local/share && mkdir -p /usr/local/share/man/man1\n" +
		"mkdir -p ~/.ssh; cd ~\nset -e\n" + strings.ReplaceAll(line, "/etc/bash_completion.d/", r.dir+"/")
	cmd := r.lan.Command(within(r.t, 60*time.Second), lab.Appliance, "unshare", "-m", "bash", "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(built(r.t, "hatchery"))+":"+os.Getenv("PATH"), "HOME="+r.dir)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestCommandsOfThePages types the command lines of the pages, in order, on an appliance that knows one machine. A line
// either does what it says or is refused by the appliance, with a sentence, because there is no such machine here.
func TestCommandsOfThePages(t *testing.T) {
	// Lines that need what a test of commands has not: an installed machine, a plan.
	refused := []string{"hatchery hosts deploy", "hatchery hosts format", "hatchery hosts plan"}
	l := newLAN(t)
	a := startAppliance(t, l, "--dhcp", "proxy")
	r := &reader{a, t.TempDir()}
	if err := os.MkdirAll(filepath.Join(r.dir, "mnt", "usb"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := a.call(http.MethodPost, "/hosts", map[string]string{"mac": "52:54:00:fd:0c:01", "name": "node1"}, nil); err != nil {
		t.Fatal(err)
	}
	ran, typed := 0, map[string]bool{}
	for _, page := range []string{"day-two.md", "api.md", "cli.md"} {
		for _, line := range pageLines(t, page) {
			switch {
			case strings.HasPrefix(line, "systemctl stop hatchery"):
				if err := a.proc.Stop(); err != nil {
					t.Fatal(err)
				}
				a.proc = nil
				continue
			case strings.HasPrefix(line, "systemctl start hatchery"):
				a.start()
				continue
			case strings.HasPrefix(line, "systemctl"):
				t.Errorf("%s: %s: the test knows no such line", page, line)
				continue
			case typed[line]: // on another page
				continue
			}
			typed[line] = true
			code, out := r.types(line)
			ran++
			switch may := slices.ContainsFunc(refused, func(p string) bool { return strings.HasPrefix(line, p) }); {
			case code == 0, may && (code == 3 || code == 4) && strings.Contains(out, "hatchery: "):
			default:
				t.Errorf("%s: %s\n%s", page, line, fmt.Sprintf("exit code %d: %s", code, tail(out, 5)))
			}
		}
	}
	if ran < 12 {
		t.Errorf("only %d lines were found", ran)
	}
	if h, err := a.host("52:54:00:fd:0c:01"); err != nil || h == nil {
		t.Errorf("after backup, restore and start the machine is gone: %v", err)
	}
}
