package inventory

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Errors of the acts that callers branch on.
var (
	// ErrFull says that the appliance keeps as many unassigned hosts as it may (MaxStrangers).
	ErrFull = errors.New("too many unknown machines")
	// ErrNonce says that a nonce was never issued, is over, or is bound to another key.
	ErrNonce = errors.New("nonce refused")
	// ErrInvalid says that a value a person or program gave is not acceptable.
	ErrInvalid = errors.New("not valid")
)

// MaxStrangers bounds how many hosts that never checked in and nobody named are kept;
// beyond it the one heard longest ago is forgotten for a new one.
const MaxStrangers = 1000

const (
	bucketStrangers Bucket = "strangers" // host id → nothing: hosts only heard, never checked in
	bucketGraves    Bucket = "graves"    // "mac/…", "uuid/…", "serial/…" → Grave: forgotten hosts that were installed
)

// grave is what stays of a forgotten host that was ever installed: enough to never install over it by itself.
type grave struct {
	Name         string    `json:"name,omitempty"`
	InstalledKey string    `json:"installed_key,omitempty"`
	At           time.Time `json:"at"`
}

// Contact is what the network tells of a machine before it checks in.
type Contact struct {
	MAC          MAC
	UUID, Serial string // "" or filler = unknown
	IP           netip.Addr
	Arch         string // "x86_64", "aarch64", ""
	Firmware     string // "bios", "uefi", ""
	Relayed      bool   // by a DHCP relay; only meaningful from DHCP
	DHCP         bool   // heard by DHCP (else by HTTP)
}

// identify finds the host of a contact, or makes a new one that is not yet stored.
func identify(tx *Tx, c Contact, now time.Time) (Host, error) {
	h, err := tx.HostByMAC(c.MAC)
	if err == nil || !errors.Is(err, ErrNotFound) {
		return h, err
	}
	// A machine that was announced by UUID or serial shows its MAC for the first time.
	for _, find := range []func() (Host, error){
		func() (Host, error) { return tx.HostByUUID(c.UUID) },
		func() (Host, error) { return tx.HostBySerial(c.Serial) },
	} {
		if h, err = find(); err == nil && h.MAC.IsZero() {
			h.addMAC(c.MAC, true)
			return h, nil
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return h, err
		}
	}
	return newHost(tx, c, now)
}

func newHost(tx *Tx, c Contact, now time.Time) (Host, error) {
	if err := makeRoom(tx); err != nil {
		return Host{}, err
	}
	h := Host{ID: HostID(tx.NewID()), CreatedAt: now, UUID: strings.ToLower(c.UUID), Serial: c.Serial}
	h.addMAC(c.MAC, true)
	for _, k := range indexKeys(&h) {
		var g grave
		ok, err := tx.GetJSON(bucketGraves, k, &g)
		if err != nil {
			return h, err
		}
		if !ok {
			continue
		}
		h.EverFlipped, h.State, h.InstalledKey, h.Held = true, StateInstalled, g.InstalledKey, true
		if _, err := tx.HostByName(g.Name); errors.Is(err, ErrNotFound) {
			h.Name = g.Name
		}
		return h, nil
	}
	return h, tx.Put(bucketStrangers, string(h.ID), []byte(now.UTC().Format(time.RFC3339)))
}

// makeRoom forgets the stranger heard longest ago when there are MaxStrangers.
func makeRoom(tx *Tx) error {
	n, oldest, at := 0, "", ""
	if err := tx.Scan(bucketStrangers, "", "", func(k string, v []byte) (bool, error) {
		if n++; oldest == "" || string(v) < at {
			oldest, at = k, string(v)
		}
		return true, nil
	}); err != nil || n < MaxStrangers {
		return err
	}
	if err := tx.Delete(bucketStrangers, oldest); err != nil {
		return err
	}
	if err := tx.DeleteHost(HostID(oldest)); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

func (h *Host) meet(c Contact, now time.Time) {
	if h.FirstSeen.IsZero() {
		h.FirstSeen = now
	}
	h.LastSeen = now
	if c.IP.IsValid() {
		h.IP = c.IP
	}
	if c.Arch != "" {
		h.Arch = c.Arch
	}
	if c.Firmware != "" {
		h.Firmware = c.Firmware
	}
	if c.DHCP {
		h.Relayed = c.Relayed
	}
	if h.UUID == "" && !Filler(c.UUID) {
		h.UUID = strings.ToLower(c.UUID)
	}
	if h.Serial == "" && !Filler(c.Serial) {
		h.Serial = c.Serial
	}
}

// Discover records that a machine's firmware asked DHCP for a boot file.
func Discover(tx *Tx, c Contact, now time.Time) (Host, error) {
	h, err := identify(tx, c, now)
	if err != nil {
		return h, err
	}
	h.meet(c, now)
	h.addMAC(c.MAC, true)
	if h, err = Next(h, HeardDHCP{}); err != nil {
		return h, err
	}
	return tx.PutHost(h)
}

// FetchScript records that iPXE asks for its script and decides what it boots.
// When the target is stage-0, the nonce whose hash is given is issued to it.
func FetchScript(tx *Tx, c Contact, d Discovery, nonceHash string, now time.Time) (Host, Target, string, error) {
	h, err := identify(tx, c, now)
	if err != nil {
		return h, "", "", err
	}
	h.meet(c, now)
	h.addMAC(c.MAC, true)
	target, why := BootTarget(&h, d, now)
	if h.State == "" { // its DHCP went to another server
		h.State = StateSeen
	}
	if h, err = Next(h, ScriptFetched{Installer: target == TargetStage0}); err != nil {
		return h, target, why, err
	}
	if target == TargetStage0 {
		h.Fetches++
		if err := issueNonce(tx, nonceHash, Nonce{MAC: c.MAC, HostID: h.ID, Issued: now, To: c.IP}); err != nil {
			return h, target, why, err
		}
	}
	h, err = tx.PutHost(h)
	return h, target, why, err
}

// IssueJoinNonce issues the nonce of one boot of a USB ISO, whose join token the caller has checked.
func IssueJoinNonce(tx *Tx, c Contact, nonceHash string, now time.Time) (Host, error) {
	h, err := identify(tx, c, now)
	if err != nil {
		return h, err
	}
	h.meet(c, now)
	if h.State == "" {
		h.State = StateSeen
	}
	if err := issueNonce(tx, nonceHash, Nonce{MAC: c.MAC, HostID: h.ID, Issued: now, To: c.IP, Join: true}); err != nil {
		return h, err
	}
	return tx.PutHost(h)
}

// issueNonce stores a nonce and drops what the limits of its MAC no longer allow.
func issueNonce(tx *Tx, hash string, n Nonce) error {
	listKey := "mac/" + n.MAC.String()
	var hashes, keep []string
	if _, err := tx.GetJSON(BucketNonces, listKey, &hashes); err != nil {
		return err
	}
	unbound := 0
	for i := len(hashes) - 1; i >= 0; i-- { // newest first
		var old Nonce
		ok, err := tx.GetJSON(BucketNonces, hashes[i], &old)
		if err != nil {
			return err
		}
		bound := ok && old.HostKey != ""
		if !bound {
			unbound++
		}
		if !ok || !old.valid(n.Issued) || (!bound && unbound >= NoncesUnbound) || len(keep) >= 16 {
			if err := tx.Delete(BucketNonces, hashes[i]); err != nil {
				return err
			}
			continue
		}
		keep = append(keep, hashes[i])
	}
	slices.Reverse(keep)
	if err := tx.PutJSON(BucketNonces, listKey, append(keep, hash)); err != nil {
		return err
	}
	return tx.PutJSON(BucketNonces, hash, n)
}

func (n *Nonce) valid(now time.Time) bool {
	life := NonceLife
	if n.HostKey != "" {
		life = BoundNonceLife
	}
	return now.Sub(n.Issued) < life
}

// LookupNonce reads a nonce that was issued and is not over. ErrNonce.
func LookupNonce(tx *Tx, hash string, now time.Time) (Nonce, error) {
	var n Nonce
	ok, err := tx.GetJSON(BucketNonces, hash, &n)
	if err != nil {
		return n, err
	}
	if !ok || !n.valid(now) {
		return n, fmt.Errorf("this boot is not known here or is over; power the machine on again to netboot it: %w", ErrNonce)
	}
	return n, nil
}

// Report is what stage-0's agent says of itself at a check-in; checked, signature verified.
type Report struct {
	NonceHash string
	HostKey   string // authorized_keys form
	BootID    string
	Facts     Facts
	From      netip.Addr
	// SourceUnverified says that From could not be held against DHCP or ARP (a relay or router is between).
	SourceUnverified bool
}

// CheckIn binds the nonce to the key, takes the facts in, and makes the job of an earlier assignment.
// A repeat with the same key succeeds. ErrNonce, ErrBadEvent (ignored).
func CheckIn(tx *Tx, r Report, now time.Time) (Host, error) {
	n, err := LookupNonce(tx, r.NonceHash, now)
	if err != nil {
		return Host{}, err
	}
	if n.HostKey != "" && n.HostKey != r.HostKey {
		return Host{}, fmt.Errorf("another machine already checked in with this boot's nonce: %w", ErrNonce)
	}
	h, err := tx.Host(n.HostID)
	if err != nil {
		return h, err
	}
	if n.HostKey == "" {
		n.HostKey, n.BootID = r.HostKey, r.BootID
		if err := tx.PutJSON(BucketNonces, r.NonceHash, n); err != nil {
			return h, err
		}
	}
	if h, err = Next(h, CheckedIn{}); err != nil {
		return h, err
	}
	if why := suspicion(&h, &n, &r); why != "" && !(h.Approved && h.HostKey == r.HostKey) {
		h.Attention, h.Approved = why, false
	} else if h.HostKey != r.HostKey {
		h.Approved = false
		if why == "" {
			h.Attention = ""
		}
	}
	if err := takeFacts(tx, &h, &n, &r, now); err != nil {
		return h, err
	}
	if err := tx.Delete(bucketStrangers, string(h.ID)); err != nil {
		return h, err
	}
	if h.wantsJob() {
		h, _, err = makeJob(tx, h, Job{Kind: JobInstall, By: "earlier assignment", Auto: true}, now)
		return h, err
	}
	return tx.PutHost(h)
}

// wantsJob reports whether an earlier assignment is due: a role, ready, and nothing in the way.
func (h *Host) wantsJob() bool {
	return h.State == StateReady && h.Role != "" && !h.Held && !h.EverFlipped && h.Attention == ""
}

// suspicion is the sentence that stops automation, "" when nothing speaks against the report.
func suspicion(h *Host, n *Nonce, r *Report) string {
	assigned := h.Role != "" || h.State == StateQueued
	switch {
	case h.HostKey != "" && h.HostKey != r.HostKey && h.ReportedAt.After(n.Issued):
		return "A second machine checked in as this host while the first one is still running. Check which one it is, then approve it."
	case assigned && !Filler(h.UUID) && !Filler(r.Facts.UUID) && !strings.EqualFold(h.UUID, r.Facts.UUID):
		return fmt.Sprintf("It was announced with UUID %s but reports %s. Approve it if this is the machine you mean.", h.UUID, strings.ToLower(r.Facts.UUID))
	case assigned && !Filler(h.Serial) && !Filler(r.Facts.Serial) && h.Serial != r.Facts.Serial:
		return fmt.Sprintf("It was announced with serial %s but reports %s. Approve it if this is the machine you mean.", h.Serial, r.Facts.Serial)
	case assigned && r.SourceUnverified:
		return "It checked in through a router or relay, where its address proves nothing. Approve it if this is the machine you mean."
	}
	return ""
}

func takeFacts(tx *Tx, h *Host, n *Nonce, r *Report, now time.Time) error {
	f := r.Facts
	h.Facts, h.HostKey, h.BootID, h.Fetches, h.ReportedAt = &f, r.HostKey, r.BootID, 0, now
	h.meet(Contact{UUID: f.UUID, Serial: f.Serial, IP: r.From, Arch: f.Arch, Firmware: f.Firmware}, now)
	h.addMAC(n.MAC, true)
	for _, nic := range f.NICs { // a MAC never takes over another host's
		owner, err := tx.HostByMAC(nic.MAC)
		if errors.Is(err, ErrNotFound) {
			h.addMAC(nic.MAC, false)
			continue
		}
		if err != nil {
			return err
		}
		if owner.ID != h.ID {
			if err := tx.Note(Entry{Time: now, HostID: h.ID, Kind: "checkin", Level: "warn", By: "stage-0", From: r.From,
				Text: fmt.Sprintf("Its interface %s has MAC %s, which belongs to host %s: left there.", nic.Name, nic.MAC, owner.Label())}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Heard records a progress report of stage-0's agent that carries the pinned key and boot.
// ErrNonce when it is another key or boot than the last check-in's; a key that was replaced
// while it still reports raises Attention.
func Heard(tx *Tx, id HostID, hostKey, bootID string, from netip.Addr, now time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h.HostKey != hostKey || h.BootID != bootID {
		if h.Attention == "" && !h.Approved && h.HostKey != "" {
			h.Attention = "Two machines report as this host. Check which one it is, then approve it."
			if _, err := tx.PutHost(h); err != nil {
				return h, err
			}
		}
		return h, fmt.Errorf("this is not the boot that checked in last: %w", ErrNonce)
	}
	h.LastSeen, h.ReportedAt = now, now
	if from.IsValid() {
		h.IP = from
	}
	return tx.PutHost(h)
}

// makeJob stores an open job for h and h in the state it leads to.
func makeJob(tx *Tx, h Host, j Job, now time.Time) (Host, Job, error) {
	j.ID, j.HostID, j.State, j.Role, j.CreatedAt, j.Attempt = JobID(tx.NewID()), h.ID, JobQueued, h.Role, now, 1
	h, err := Next(h, JobMade{Job: j.ID, Kind: j.Kind})
	if err != nil {
		return h, j, err
	}
	if h.Facts == nil {
		h.BlockedOn = "Waits for the machine: power it on, it netboots by itself."
		j.BlockedOn = h.BlockedOn
	}
	h.Held = false
	if j, err = tx.PutJob(j); err != nil {
		return h, j, err
	}
	h, err = tx.PutHost(h)
	return h, j, err
}

// Announce is a host that is known before it exists.
type Announce struct {
	MAC                      MAC
	UUID, Serial, Name, Role string
}

// Expect stores a host that was announced. ErrInvalid, ErrConflict when it is known already.
func Expect(tx *Tx, a Announce, now time.Time) (Host, error) {
	if a.MAC.IsZero() && Filler(a.UUID) && Filler(a.Serial) {
		return Host{}, fmt.Errorf("a host needs a MAC, or a UUID or serial number that is its own: %w", ErrInvalid)
	}
	if err := errors.Join(CheckName(a.Name), CheckRole(a.Role)); err != nil {
		return Host{}, err
	}
	for _, find := range []func() (Host, error){
		func() (Host, error) { return tx.HostByMAC(a.MAC) },
		func() (Host, error) { return tx.HostByUUID(a.UUID) },
		func() (Host, error) { return tx.HostBySerial(a.Serial) },
	} {
		if h, err := find(); err == nil {
			return h, fmt.Errorf("host %s is known already: %w", h.Label(), ErrConflict)
		} else if !errors.Is(err, ErrNotFound) {
			return h, err
		}
	}
	h, err := newHost(tx, Contact{MAC: a.MAC, UUID: a.UUID, Serial: a.Serial}, now)
	if err != nil {
		return h, err
	}
	if h.State == "" {
		h.State = StateExpected
	}
	if a.Name != "" {
		h.Name = a.Name
	}
	h.Role = a.Role
	if err := tx.Delete(bucketStrangers, string(h.ID)); err != nil {
		return h, err
	}
	return tx.PutHost(h)
}

// Assignment is what a person sets of a host; nil fields stay as they are.
type Assignment struct {
	Name, Role, KernelArgs *string
	Pins                   map[string]string // nil = as it is
}

// Assign changes a host's settings; giving a role to a host that was never installed makes
// its job when it has no open one. The job is nil when none was made. ErrInvalid, ErrConflict, ErrBadEvent.
func Assign(tx *Tx, id HostID, a Assignment, by string, auto bool, now time.Time) (Host, *Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, nil, err
	}
	if a.Name != nil {
		if err := CheckName(*a.Name); err != nil {
			return h, nil, err
		}
		h.Name = *a.Name
	}
	if a.KernelArgs != nil {
		if err := CheckKernelArgs(*a.KernelArgs); err != nil {
			return h, nil, err
		}
		h.KernelArgs = *a.KernelArgs
	}
	if a.Pins != nil {
		h.Pins = a.Pins
	}
	if a.Role == nil || *a.Role == h.Role && !h.Held && h.State != StateExpected && h.State != StateReady {
		h, err = tx.PutHost(h)
		return h, nil, err
	}
	if err := CheckRole(*a.Role); err != nil {
		return h, nil, err
	}
	if h.State == StateInstalling || h.State == StateIgnored {
		return h, nil, fmt.Errorf("host %s is %s: its role cannot change now: %w", h.Label(), h.State, ErrBadEvent)
	}
	h.Role = *a.Role
	if err := tx.Delete(bucketStrangers, string(h.ID)); err != nil {
		return h, nil, err
	}
	if h.Role == "" || h.EverFlipped || h.in(StateQueued, StateFailed) {
		if h.State == StateQueued { // its open job takes the new role
			j, err := tx.Job(h.JobID)
			if err == nil && j.State == JobQueued {
				j.Role, j.PlanID, j.Confirm = h.Role, "", nil
				_, err = tx.PutJob(j)
			}
			if err != nil {
				return h, nil, err
			}
		}
		h, err = tx.PutHost(h)
		return h, nil, err
	}
	h, j, err := makeJob(tx, h, Job{Kind: JobInstall, By: by, Auto: auto}, now)
	return h, &j, err
}

// Confirmation is what a person agreed to when looking at a disk plan.
type Confirmation struct {
	PlanID         string
	Confirm        map[string]string // slot → serial
	WipePersistent []string
}

// Install confirms the plan of a queued host's job, or makes the job of a host that has a role and none.
func Install(tx *Tx, id HostID, c Confirmation, by string, now time.Time) (Host, Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, Job{}, err
	}
	if h.Role == "" {
		return h, Job{}, fmt.Errorf("host %s has no role: assign one first: %w", h.Label(), ErrBadEvent)
	}
	if h.State == StateQueued {
		j, err := tx.Job(h.JobID)
		if err != nil {
			return h, j, err
		}
		j.PlanID, j.Confirm, j.WipePersistent, j.Auto, j.By = c.PlanID, c.Confirm, c.WipePersistent, false, by
		j, err = tx.PutJob(j)
		return h, j, err
	}
	return makeJob(tx, h, Job{Kind: JobInstall, By: by, PlanID: c.PlanID, Confirm: c.Confirm, WipePersistent: c.WipePersistent}, now)
}

// Reinstall makes the job that writes to an installed host again. Only a person asks for it.
func Reinstall(tx *Tx, id HostID, c Confirmation, by string, now time.Time) (Host, Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, Job{}, err
	}
	if h.Role == "" {
		return h, Job{}, fmt.Errorf("host %s has no role: assign one first: %w", h.Label(), ErrBadEvent)
	}
	return makeJob(tx, h, Job{Kind: JobReinstall, By: by, PlanID: c.PlanID, Confirm: c.Confirm, WipePersistent: c.WipePersistent}, now)
}

// Retry queues a failed host's job again; after the flip it only verifies.
func Retry(tx *Tx, id HostID, by string, now time.Time) (Host, Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, Job{}, err
	}
	j, err := tx.Job(h.JobID)
	if err != nil {
		return h, j, err
	}
	if h, err = Next(h, RetryAsked{}); err != nil {
		return h, j, err
	}
	j.State, j.Error, j.Hint, j.BlockedOn, j.CancelAsked, j.EndedAt, j.Role = JobQueued, "", "", "", false, time.Time{}, h.Role
	j.By = by
	j.Attempt++
	if j, err = tx.PutJob(j); err != nil {
		return h, j, err
	}
	h, err = tx.PutHost(h)
	return h, j, err
}

// Cancel gives up a host's job: at once when it only waits or failed, else the runner is asked to stop.
func Cancel(tx *Tx, id HostID, now time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h.State == StateInstalling {
		j, err := tx.Job(h.JobID)
		if err != nil {
			return h, err
		}
		if j.State == JobRunning {
			j.CancelAsked = true
			_, err = tx.PutJob(j)
			return h, err
		}
	}
	return FinishCancel(tx, id, now)
}

// FinishCancel ends the job as cancelled; the runner calls it once nothing of the job runs any more.
func FinishCancel(tx *Tx, id HostID, now time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h, err = Next(h, Cancelled{}); err != nil {
		return h, err
	}
	h.Held = true
	if h.JobID != "" {
		j, err := tx.Job(h.JobID)
		if err != nil {
			return h, err
		}
		j.State, j.EndedAt, j.BlockedOn = JobCancelled, now, ""
		if _, err := tx.PutJob(j); err != nil {
			return h, err
		}
	}
	return tx.PutHost(h)
}

// Apply applies one event to a host and stores it: ignore, un-ignore and the runner's steps.
func Apply(tx *Tx, id HostID, e Event) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h, err = Next(h, e); err != nil {
		return h, err
	}
	return tx.PutHost(h)
}

// Rescue gives the host stage-0 once, until the given time; nothing is written and its state stays.
func Rescue(tx *Tx, id HostID, until time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h.State == StateIgnored {
		return h, fmt.Errorf("host %s is ignored: un-ignore it first: %w", h.Label(), ErrBadEvent)
	}
	h.StageZeroUntil = until
	return tx.PutHost(h)
}

// Approve says that a person looked at what stopped automation; an earlier assignment goes on.
func Approve(tx *Tx, id HostID, now time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h.Attention == "" {
		return h, fmt.Errorf("host %s has nothing to approve: %w", h.Label(), ErrBadEvent)
	}
	h.Attention, h.Approved = "", true
	if f := h.Facts; f != nil {
		if !Filler(f.UUID) {
			h.UUID = strings.ToLower(f.UUID)
		}
		if !Filler(f.Serial) {
			h.Serial = f.Serial
		}
	}
	if h.wantsJob() {
		h, _, err = makeJob(tx, h, Job{Kind: JobInstall, By: "earlier assignment", Auto: true}, now)
		return h, err
	}
	return tx.PutHost(h)
}

// Forget removes a host. One that was ever installed leaves a mark, so that it is never
// installed over by itself when it shows up again. ErrBadEvent while its job is open.
func Forget(tx *Tx, id HostID, now time.Time) error {
	h, err := tx.Host(id)
	if err != nil {
		return err
	}
	if h.in(StateQueued, StateInstalling) {
		return fmt.Errorf("host %s has an open job: cancel it first: %w", h.Label(), ErrBadEvent)
	}
	if h.EverFlipped {
		for _, k := range indexKeys(&h) {
			if strings.HasPrefix(k, "name/") || strings.HasPrefix(k, "ip/") {
				continue
			}
			if err := tx.PutJSON(bucketGraves, k, grave{Name: h.Name, InstalledKey: h.InstalledKey, At: now}); err != nil {
				return err
			}
		}
	}
	if err := tx.Delete(bucketStrangers, string(id)); err != nil {
		return err
	}
	return tx.DeleteHost(id)
}

// Noticed records that a known host was heard on the network without asking for anything of ours:
// its running system renewed its address. A machine that is not known stays so (ErrNotFound), and the
// MAC it boots with stays the same.
func Noticed(tx *Tx, c Contact, now time.Time) (Host, error) {
	h, err := tx.HostByMAC(c.MAC)
	if err != nil {
		return h, err
	}
	h.meet(Contact{IP: c.IP, Relayed: c.Relayed, DHCP: c.DHCP}, now)
	return tx.PutHost(h)
}
