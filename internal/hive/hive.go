package hive

import (
	"log/slog"
	"time"
)

// Config says where the hive is and what to run.
type Config struct {
	// Dir is the repository (DATA/hive); created when it is not there.
	Dir string
	// Source is what to clone when Dir is not there: a path or URL that git knows; "" = the embedded template.
	Source string
	// Nix is the command line of nix; nil = ["nix"].
	Nix []string
	// NixArgs are added to every eval and build, e.g. --override-input nixpkgs path:….
	NixArgs []string
	// Git is the git program; "" = "git".
	Git string
	// EvalTimeout bounds one evaluation, 0 = 5 min; BuildTimeout one build, 0 = 2 h.
	EvalTimeout  time.Duration
	BuildTimeout time.Duration
	// Log is nil for none; Now nil for time.Now.
	Log *slog.Logger
	Now func() time.Time
}
