package pipeline

import "strings"

// mark reads one line of nixos-anywhere's output. Its progress marks stand on standard output as
// `### TEXT ###` (nixos-anywhere 1.13.0+98, nix-facts section 2); all other lines report false.
func mark(line string) (string, bool) {
	line = strings.TrimSpace(line)
	t, ok := strings.CutPrefix(line, "### ")
	if !ok {
		return "", false
	}
	t, ok = strings.CutSuffix(t, " ###")
	if t = strings.TrimSpace(t); !ok || t == "" || len(t) > 200 {
		return "", false
	}
	return t, true
}

// phase is where nixos-anywhere is, from its marks.
type phase struct {
	// Title says it in our words, "" for a mark that is not known.
	Title string
	// Formatted says that the install script ended well: the disks carry the plan's layout.
	Formatted bool
	// Done says that nixos-anywhere says it is done; its exit code decides.
	Done bool
}

// phaseOf says what a mark means.
func phaseOf(text string) phase {
	switch {
	case text == "Uploading install SSH keys":
		return phase{Title: "putting the appliance's key on stage-0"}
	case text == "Gathering machine facts":
		return phase{Title: "asking stage-0 what it is"}
	case strings.HasPrefix(text, "Uploading the disko"), strings.HasPrefix(text, "Building disko"):
		return phase{Title: "copying the install script"}
	case text == "Formatting hard drive with disko":
		return phase{Title: phaseFormat}
	case text == "Uploading the system closure", text == "Building the system closure":
		return phase{Title: phaseCopy, Formatted: true}
	case text == "Copying extra files":
		return phase{Title: phasePlant, Formatted: true}
	case text == "Installing NixOS":
		return phase{Title: phaseInstall, Formatted: true}
	case text == "Done!":
		return phase{Title: "done", Formatted: true, Done: true}
	}
	return phase{}
}

// trouble is what a line of ssh says about a target that cannot be used; nixos-anywhere itself
// would try again for ever (nix-facts section 2).
type trouble int

const (
	fine    trouble = iota
	wrong           // another host key than the pinned one
	refused         // our key is not let in
	silent          // no connection
)

// sshTrouble classifies one output line.
func sshTrouble(line string) trouble {
	switch {
	case strings.Contains(line, "Host key verification failed"), strings.Contains(line, "REMOTE HOST IDENTIFICATION HAS CHANGED"):
		return wrong
	case strings.Contains(line, "Permission denied (publickey"):
		return refused
	case strings.Contains(line, "Connection refused"), strings.Contains(line, "Connection timed out"),
		strings.Contains(line, "No route to host"), strings.Contains(line, "Connection closed by"),
		strings.Contains(line, "Network is unreachable"), strings.Contains(line, "banner exchange"):
		return silent
	}
	return fine
}
