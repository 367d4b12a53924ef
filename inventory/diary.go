package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Entry is one line of a host's boot diary or of the appliance's activity (HostID "").
type Entry struct {
	Seq    uint64    `json:"seq"` // over all hosts, rising
	Time   time.Time `json:"time"`
	HostID HostID    `json:"host_id,omitempty"`
	// About is the host that an entry of the appliance's own activity is about; "" = none, or written by an earlier release.
	About HostID `json:"about,omitempty"`
	// Kind is the milestone in a fixed word: "dhcp.discover", "dhcp.offer", "dhcp.ack", "dhcp.proxy-offer",
	// "tftp.file", "http.file", "http.script", "checkin", "progress", "state", "job.step", "job.log", "admin", "admin.access", …
	Kind string `json:"kind"`
	// Text is the sentence for people.
	Text string `json:"text"`
	// By is who did it: "firmware", "ipxe", "stage-0", "admin", "pipeline", …
	By   string     `json:"by,omitempty"`
	From netip.Addr `json:"from,omitzero"`
	// Bytes and Duration (nanoseconds in JSON) where the milestone moved something.
	Bytes    int64         `json:"bytes,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"`
	// Level is "" (information), "warn" or "error".
	Level string `json:"level,omitempty"`
}

// NoteFrom appends an entry to the diary of the host at e.From: the one last heard there, else the one
// whose MAC neighbor shows for the address. A stranger has no diary, and costs no commit: the host is
// looked up before anything is written.
func NoteFrom(s Store, neighbor func(netip.Addr) (MAC, bool), e Entry) error {
	var h Host
	err := s.View(func(tx *Tx) (err error) {
		h, err = tx.HostByIP(e.From)
		if errors.Is(err, ErrNotFound) {
			if mac, ok := neighbor(e.From); ok {
				h, err = tx.HostByMAC(mac)
			}
		}
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	e.HostID = h.ID
	return s.Update(func(tx *Tx) error { return tx.Note(e) })
}

// DiaryBack reads up to limit entries of one host ("" = the appliance's own) before seq (0 = from the end), newest first.
func (tx *Tx) DiaryBack(id HostID, before uint64, limit int) ([]Entry, error) {
	return tx.DiaryFind(id, before, limit, func(*Entry) bool { return true })
}

// DiaryFind is DiaryBack for those entries that keep says true to.
func (tx *Tx) DiaryFind(id HostID, before uint64, limit int, keep func(*Entry) bool) (out []Entry, err error) {
	from := ""
	if before > 0 {
		from = diaryKey(id, before)
	}
	err = tx.ScanBack(BucketDiary, string(id)+"/", from, func(k string, v []byte) (bool, error) {
		if len(out) >= limit {
			return false, nil
		}
		var e Entry
		if err := json.Unmarshal(v, &e); err != nil {
			return false, fmt.Errorf("diary %s: %w", k, err)
		}
		if keep(&e) {
			out = append(out, e)
		}
		return true, nil
	})
	return out, err
}
