package pipeline

import "regexp"

// How programs begin or phrase a line that tells of trouble: nix ("error: …", "warning: …"), disko and shells ("sgdisk: … failed"),
// the kernel ("I/O error, dev sda"), ssh and rsync ("Permission denied").
var (
	errorLine = regexp.MustCompile(`(?i)(^|[^\w-])(error|fatal|panic|fatal error)(\[[^\]]*\])?:|\bi/o error\b|permission denied|no space left on device|host key verification failed|command not found|^failed\b`)
	warnLine  = regexp.MustCompile(`(?i)(^|[^\w-])(warning|warn)(\[[^\]]*\])?:|^warning\b|\bretrying\b|\btimed out\b|\bconnection (refused|reset|closed)\b`)
)

// Level is how serious a line is, by its words: "error", "warn", or "" for all others.
func (l Line) Level() string {
	switch {
	case errorLine.MatchString(l.Text):
		return "error"
	case warnLine.MatchString(l.Text):
		return "warn"
	}
	return ""
}
