package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// trialDir is where a machine keeps its trial of a new system: gone with its power, like the trial itself.
const trialDir = "/run/hatchery-deploy"

// Exit codes of the scripts below.
const (
	exitBusy  = 41 // another trial runs on the machine
	exitLate  = 42 // the machine went back before the word came
	exitOther = 43 // it runs another system than the one on trial
	exitBoot  = 44 // it could not be made the system that boots; the earlier one still does
)

// profile is what NixOS boots and rolls back by (nixos-rebuild's own).
const profile = "/nix/var/nix/profiles/system"

// switchScript starts the trial of a system. What it leaves running activates the system without touching what boots,
// then waits for the word (confirmScript). Without it, when the activation fails, when it is told to (undoScript) or
// when it hears nothing for `quiet`, it activates the earlier system again. A machine that loses its power boots the
// earlier system: nothing was made default. The trial runs apart from the SSH session, which the activation may cut off.
func switchScript(system string, quiet time.Duration) string {
	return fmt.Sprintf(`# hatchery: switch
new=%s quiet=%d d=%s
[ -x "$new/bin/switch-to-configuration" ] || { echo "$new is not a system" >&2; exit 1; }
runs() { [ -e $d/pid ] && kill -0 "$(cat $d/pid)" 2>/dev/null; }
for i in 1 2 3 4 5; do # one that has ended needs a moment to notice
	runs && [ ! -e $d/pending ] || break
	sleep 1
done
if runs; then echo "another deploy is on trial" >&2; exit %d; fi
old=$(readlink -f /run/current-system)
rm -rf $d
mkdir -p -m 700 $d
readlink -f `+profile+` >$d/boots
: >$d/pending
: >$d/heard
cat >$d/run <<END
#!/bin/sh
new=$new old=$old quiet=$quiet d=$d
END
cat >>$d/run <<'END'
echo $$ >$d/pid
export PATH="$old/sw/bin:$PATH"
"$new/bin/switch-to-configuration" test >$d/log 2>&1 </dev/null
rc=$?
echo $rc >$d/exit.new; mv $d/exit.new $d/exit
n=0
while [ $rc = 0 ] && [ ! -e $d/undo ]; do
	[ -e $d/confirmed ] && exit 0
	if [ -e $d/heard ]; then rm -f $d/heard; n=0; else n=$((n + 1)); fi
	[ $n -lt $quiet ] || { echo "nothing was heard of the appliance for $quiet s" >>$d/log; break; }
	sleep 1
done
mv $d/pending $d/undoing 2>/dev/null || exit 0
"$old/bin/switch-to-configuration" test >>$d/log 2>&1 </dev/null
echo $? >$d/undone.new; mv $d/undone.new $d/undone
END
s=; command -v setsid >/dev/null 2>&1 && s=setsid
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
	systemctl reset-failed hatchery-deploy.service 2>/dev/null
	systemd-run --quiet --collect --unit=hatchery-deploy /bin/sh $d/run
else
	$s sh $d/run >/dev/null 2>&1 </dev/null &
fi
`, quote(system), int(max(quiet/time.Second, 5)), trialDir, exitBusy)
}

// trialScript tells how the trial goes, and that the appliance is still there. from is the first line of the
// activation's output that is wanted.
func trialScript(from int) string {
	return fmt.Sprintf(`# hatchery: trial
d=%s
[ -d $d ] && : >$d/heard
for f in pending confirmed undoing; do [ -e $d/$f ] && echo "$f"; done
for f in exit undone; do [ -e $d/$f ] && echo "$f $(cat $d/$f)"; done
echo "system $(readlink -f /run/current-system)"
[ -e $d/log ] && sed -n '%d,$s/^/log /p' $d/log
%s`, trialDir, from, healthScript)
}

// healthScript tells what systemd says of the machine.
const healthScript = `if command -v systemctl >/dev/null 2>&1; then
	echo "state $(systemctl is-system-running 2>/dev/null)"
	systemctl list-units --failed --plain --no-legend --no-pager --full 2>/dev/null | while read -r u rest; do echo "failed $u"; done
fi
echo end
`

// reachScript looks at a running machine before it is deployed to.
const reachScript = `# hatchery: reach
echo "system $(readlink -f /run/current-system)"
echo "boots $(readlink -f ` + profile + `)"
` + healthScript

// confirmScript ends the trial well: only then is the system what boots. The rename is the word: whoever makes it
// first, the machine going back or this script, has decided. It may run again when its answer was lost.
func confirmScript(system string) string {
	return fmt.Sprintf(`# hatchery: confirm
new=%s d=%s p=%s
[ "$(readlink -f /run/current-system)" = "$new" ] || exit %d
mv $d/pending $d/confirmed 2>/dev/null
if [ ! -e $d/confirmed ]; then
	[ "$(readlink -f $p)" = "$new" ] || exit %d
	exit 0 # it was made so, and the machine has booted it since
fi
old=$(cat $d/boots)
if nix-env -p $p --set "$new" && "$new/bin/switch-to-configuration" boot; then exit 0; fi >&2
nix-env -p $p --set "$old" >&2
"$old/bin/switch-to-configuration" switch >&2
exit %d
`, quote(system), trialDir, profile, exitOther, exitLate, exitBoot)
}

// undoScript tells the machine to go back to its earlier system.
const undoScript = "# hatchery: undo\n[ -d " + trialDir + " ] && : >" + trialDir + "/undo\n"

// trial is what trialScript or reachScript found.
type trial struct {
	system    string   // that runs
	boots     string   // that the profile names; only of reachScript
	state     string   // systemd's word: "running", "degraded", …; "" = nothing to ask
	failed    []string // units, sorted
	pending   bool     // the trial waits for the word
	confirmed bool
	undoing   bool
	exit      string // of the activation; "" = it still runs, or there is no trial
	undone    string // exit code of going back; "" = not done
	log       []string
	whole     bool
}

func parseTrial(out string) trial {
	var t trial
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(clean(line), " ")
		switch word {
		case "system":
			t.system = rest
		case "boots":
			t.boots = rest
		case "state":
			t.state = rest
		case "failed":
			t.failed = append(t.failed, rest)
		case "pending":
			t.pending = true
		case "confirmed":
			t.confirmed = true
		case "undoing":
			t.undoing = true
		case "exit":
			t.exit = rest
		case "undone":
			t.undone = rest
		case "log":
			t.log = append(t.log, rest)
		case "end":
			t.whole = true
		}
	}
	slices.Sort(t.failed)
	return t
}

// settled says whether systemd has finished starting things, or cannot say.
func (t *trial) settled() bool { return t.state != "starting" && t.state != "initializing" }

// newlyFailed lists the units that failed and had not failed before.
func (t *trial) newlyFailed(before []string) []string {
	return slices.DeleteFunc(slices.Clone(t.failed), func(u string) bool { return slices.Contains(before, u) })
}

// wentBack says whether the machine is going back, or is there already.
func (t *trial) wentBack() bool { return t.undoing || t.undone != "" }

// lastLog is the line of an activation's output that says best why it failed: what NixOS says of units that failed, else
// the last one.
func lastLog(lines []string) string {
	said := "it said nothing"
	for _, l := range slices.Backward(lines) {
		if strings.HasPrefix(l, "warning: the following units failed") {
			return l
		}
		if l != "" && said == "it said nothing" {
			said = l
		}
	}
	return said
}

// exitCode reads an exit code of a trial; -1 when it is none.
func exitCode(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}
