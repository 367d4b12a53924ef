package web

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// look is how a state is shown: a word for people, a glyph (hidden from screen readers) and a colour class.
type look struct {
	Word, Glyph, Class string
}

// lookOf is how a state is shown.
func lookOf(s inventory.State) look {
	switch s {
	case inventory.StateExpected:
		return look{"Expected", "○", "idle"}
	case inventory.StateSeen:
		return look{"Seen", "○", "idle"}
	case inventory.StateBooting:
		return look{"Booting", "◐", "busy"}
	case inventory.StateReady:
		return look{"Needs a role", "!", "warn"}
	case inventory.StateQueued:
		return look{"Queued", "○", "idle"}
	case inventory.StateInstalling:
		return look{"Installing", "◐", "busy"}
	case inventory.StateInstalled:
		return look{"Installed", "✓", "ok"}
	case inventory.StateFailed:
		return look{"Failed", "✕", "fail"}
	}
	return look{"Ignored", "–", "idle"}
}

// stuckAfter is how long firmware that asked for an address may take to ask for its script before it counts as stuck.
const stuckAfter = time.Minute

// waitsForTurn is said of an open job that nothing keeps from beginning.
const waitsForTurn = "Waits for its turn."

// below is the line under the state's word: what is going on, and what to do.
func below(h *inventory.Host, now time.Time) string {
	if h.Attention != "" {
		return h.Attention
	}
	if loop := h.Looping(now); loop != "" {
		return loop
	}
	if h.Upkeep != "" {
		return upkeepText(h)
	}
	switch h.State {
	case inventory.StateExpected:
		known := "Known" + sinceText(h.CreatedAt, now) + ", never seen. "
		if h.Role != "" {
			return known + "It becomes " + h.Role + " at its first netboot."
		}
		return known + "Power it on with network boot."
	case inventory.StateSeen:
		if now.Sub(h.LastSeen) >= stuckAfter {
			return "Asked for an address and did not go on. See how to netboot."
		}
		return "Asked for an address; its firmware loads iPXE now."
	case inventory.StateBooting:
		return "iPXE → kernel → image → stage-0. This takes about a minute."
	case inventory.StateReady:
		return "In stage-0, waits for you. Nothing on its disks was touched."
	case inventory.StateQueued:
		if h.BlockedOn != "" {
			return h.BlockedOn
		}
		return waitsForTurn
	case inventory.StateInstalling:
		if h.StepOf > 0 {
			return fmt.Sprintf("Step %d of %d · %s", h.StepNo, h.StepOf, h.Step)
		}
		return h.Step
	case inventory.StateFailed:
		return strings.TrimSpace(h.Error + " " + h.Hint)
	case inventory.StateIgnored:
		return "Its netboot is met with silence."
	}
	return strings.TrimSpace(h.Error + " " + h.Hint)
}

// sinceText is " since" a day, as people say it of a day less than a week ago; "" when it is not known.
func sinceText(t, now time.Time) string {
	day := func(t time.Time) time.Time { y, m, d := t.Date(); return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	switch days := day(now).Sub(day(t)).Hours() / 24; {
	case t.IsZero():
		return ""
	case days == 0:
		return " since today"
	case days == 1:
		return " since yesterday"
	case days > 1 && days < 7:
		return " since " + t.Weekday().String()
	}
	return " since " + t.Format("2 Jan 2006")
}

// upkeepText says how far a deploy or format is.
func upkeepText(h *inventory.Host) string {
	switch {
	case h.BlockedOn != "":
		return h.BlockedOn
	case h.StepOf > 0:
		return fmt.Sprintf("Step %d of %d · %s", h.StepNo, h.StepOf, h.Step)
	}
	return waitsForTurn
}

// What a browser is told of an error that nobody there can mend: its own words, with the paths in them, are for the log alone.
const (
	faultText = "The appliance met a fault of its own, so this may not be done, or only half. Look again before you repeat it. " +
		"The reason is in the appliance's log (journalctl -u hatchery); a support bundle has it too, under Settings."
	fullText = "Nothing was saved: the appliance's disk is full. Free some space there, old stage-0 images and logs for example, then repeat it."
)

// sentence is an error for people: it begins with a capital, ends with a stop, and leaves out the
// fixed word at its end that only programs need.
func sentence(err error) string {
	switch status(err) {
	case http.StatusInternalServerError:
		return faultText
	case http.StatusInsufficientStorage:
		return fullText
	}
	return words(err)
}

// words is [sentence] for an error whose own words are fit for anybody.
func words(err error) string {
	t := strings.TrimSpace(err.Error())
	for _, word := range []error{inventory.ErrInvalid, inventory.ErrBadEvent, inventory.ErrConflict, diskplan.ErrBlocked, diskplan.ErrChanged, ErrNotHere, errStale, errMachine} {
		t = strings.TrimSuffix(t, ": "+word.Error())
	}
	r, n := utf8.DecodeRuneInString(t)
	t = string(unicode.ToUpper(r)) + t[n:]
	if !strings.HasSuffix(t, ".") {
		t += "."
	}
	return t
}

// prose is a sentence as HTML, with what stands between backticks as code.
func prose(t string) template.HTML {
	parts := strings.Split(t, "`")
	for i, p := range parts {
		if parts[i] = template.HTMLEscapeString(p); i%2 == 1 && i < len(parts)-1 {
			parts[i] = "<code>" + parts[i] + "</code>"
		} else if i%2 == 1 {
			parts[i] = "`" + parts[i]
		}
	}
	return template.HTML(strings.Join(parts, "")) // every part is escaped
}

// clip makes foreign text fit into a sentence of ours.
func clip(t string, limit int) string { return inventory.Clean(t, limit) }

func firstLine(t string) string {
	t, _, _ = strings.Cut(strings.TrimSpace(t), "\n")
	return clip(t, 300)
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func queryEscape(t string) string { return url.QueryEscape(t) }

// bytesText is a size as people say it: binary for memory, decimal for disks (as printed on them).
func bytesText(n uint64, unit uint64, names ...string) string {
	v, i := float64(n), 0
	for v >= float64(unit) && i < len(names)-1 {
		v /= float64(unit)
		i++
	}
	if v < 10 && i > 0 && v != float64(int(v)) {
		return fmt.Sprintf("%.1f %s", v, names[i])
	}
	return fmt.Sprintf("%.0f %s", v, names[i])
}

func memoryText(n uint64) string { return bytesText(n, 1024, "B", "KiB", "MiB", "GiB", "TiB") }

func diskText(n uint64) string { return bytesText(n, 1000, "B", "kB", "MB", "GB", "TB", "PB") }

// agoText is how long ago t was, in words.
func agoText(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 2*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// durationText is a span as people say it.
func durationText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour && d%time.Minute < time.Second:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// plural is "1 disk", "2 disks".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
