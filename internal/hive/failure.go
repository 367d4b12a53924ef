package hive

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Kind says what sort of failure it was, for callers that branch on it.
type Kind string

// The kinds of failure.
const (
	KindEval     Kind = "evaluation" // the hive's code is wrong
	KindBuild    Kind = "build"      // a package did not build
	KindTimeout  Kind = "timeout"
	KindSpace    Kind = "space"    // a disk of the appliance is full
	KindFetch    Kind = "fetch"    // an input or a substitute could not be downloaded
	KindMissing  Kind = "missing"  // git or nix is not there
	KindGit      Kind = "git"      // another failure of git
	KindConflict Kind = "conflict" // the remote and we changed the same lines
)

// Failure is a failure of git or nix told in three parts: what was attempted and on what, why it
// failed, what to do next.
type Failure struct {
	Kind  Kind
	What  string // "building host node1"
	Which string // "commit 1234…"
	Cause string // one sentence
	Next  string // one sentence
	// Output is the end of what the program said, at most 64 KiB, line by line as it came.
	Output string
	Err    error
}

// Error is the three parts in one line.
func (f *Failure) Error() string {
	s := f.What
	if f.Which != "" {
		s += " (" + f.Which + ")"
	}
	return fmt.Sprintf("%s: %s", s, f.Cause)
}

// Unwrap is the underlying error.
func (f *Failure) Unwrap() error { return f.Err }

// Hint is what to do next.
func (f *Failure) Hint() string { return f.Next }

var ansiRE = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// nixFailure says what nix's output means.
func nixFailure(what, which, output string, err error) *Failure {
	output = ansiRE.ReplaceAllString(output, "")
	f := &Failure{Kind: KindEval, What: what, Which: which, Output: output, Err: err,
		Cause: nixCause(output),
		Next:  "Correct the hive's code where the trace in the log points, commit, and retry."}
	low := strings.ToLower(output)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		f.Kind, f.Cause = KindMissing, "nix is not there"
		f.Next = "Install nix on the appliance, or say where it is with --nix."
	case strings.Contains(low, "no space left on device"):
		f.Kind, f.Cause = KindSpace, "a disk of the appliance is full"
		f.Next = "Free space on the appliance (nix-collect-garbage -d), then retry."
	case strings.Contains(low, "' is required to build '"), strings.Contains(low, "features {} is required to build"):
		f.Kind = KindBuild
		f.Next = "The appliance cannot build for that kind of machine: give its nix a remote builder, or boot.binfmt.emulatedSystems, then retry."
	case strings.Contains(low, "does not provide attribute"), strings.Contains(low, "attribute 'nixosconfigurations"):
		f.Next = "The hive's flake does not make a host of hosts/NAME: let nixosConfigurations come from hatchery's mkHosts as in the template, commit, and retry."
	case strings.Contains(low, "unable to download"), strings.Contains(low, "could not resolve host"), strings.Contains(low, "couldn't resolve host"):
		f.Kind = KindFetch
		f.Next = "Check the appliance's way to the internet (or its cache), then retry."
	case strings.Contains(low, "builder for '"), strings.Contains(low, "error: build of "), strings.Contains(low, "failed to build"),
		strings.Contains(low, "cannot build"), strings.Contains(low, "dependencies of derivation"):
		f.Kind = KindBuild
		f.Next = "Read the build's log, correct the hive, commit, and retry."
	}
	if f.Cause == "" {
		f.Cause = "nix failed: " + errText(err)
	}
	return f
}

func timeoutFailure(what, which string, limit time.Duration, output string, err error) *Failure {
	return &Failure{Kind: KindTimeout, What: what, Which: which, Output: output, Err: err,
		Cause: fmt.Sprintf("it took longer than %s and was stopped", limit),
		Next:  "Look at the log for what it waited for; retry continues from what is built already."}
}

func errText(err error) string {
	if err == nil {
		return "no reason given"
	}
	return err.Error()
}

// nixCause is the sentence of nix's output that names the cause: the text after the last "error:" that
// begins a line. Since 2.20 nix prints the root cause last, below its trace; older ones print it first and
// have no second. (Seen: 2.8.0 and 2.26.3.)
func nixCause(output string) string {
	cause := ""
	lines := strings.Split(output, "\n")
	for i, l := range lines {
		msg, ok := strings.CutPrefix(strings.TrimSpace(l), "error:")
		if !ok {
			continue
		}
		msg = strings.TrimSpace(msg)
		for j := i + 1; msg == "" && j < len(lines); j++ {
			msg = strings.TrimSpace(lines[j])
		}
		if msg == "" || strings.HasPrefix(msg, "… while") || strings.HasPrefix(msg, "dependencies of") ||
			strings.Contains(msg, "dependencies of derivation") {
			continue
		}
		cause = strings.TrimSuffix(msg, ";") + details(msg, lines[:i], lines[i+1:min(len(lines), i+30)])
	}
	if len(cause) > 400 {
		cause = cause[:400] + "…"
	}
	return cause
}

var drvRE = regexp.MustCompile(`/nix/store/[0-9a-z]{32}-([^' ]+)\.drv`)

// details is what a message of nix does not say by itself: the assertions below their heading, or the
// last line that a failed builder printed (as "NAME> LINE" before the message, or "> LINE" below it).
func details(msg string, above, below []string) string {
	list, last := "", ""
	if m := drvRE.FindStringSubmatch(msg); m != nil {
		for _, l := range above {
			if a, ok := strings.CutPrefix(strings.TrimSpace(l), m[1]+"> "); ok && strings.TrimSpace(a) != "" {
				last = strings.TrimSpace(a)
			}
		}
	}
	for _, l := range below {
		t := strings.TrimSpace(l)
		if a, ok := strings.CutPrefix(t, "- "); ok && strings.HasSuffix(msg, ":") {
			list += " " + a
		}
		if a, ok := strings.CutPrefix(t, "> "); ok && a != "" {
			last = a
		}
	}
	if list == "" && last != "" && strings.Contains(msg, "failed with exit code") {
		return ": " + last
	}
	return list
}
