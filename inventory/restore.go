package inventory

import (
	"errors"
	"time"
)

// Restored ends every open job after a backup was put back: nobody knows how far it came since the
// backup was made. Call it before anything else works with the store.
func Restored(tx *Tx, made, now time.Time) error {
	jobs, err := tx.OpenJobs()
	if err != nil {
		return err
	}
	const cause = "The appliance was restored from a backup while the job was open."
	const hint = "Look at the host's disks and system, then retry the job or cancel it."
	for _, j := range jobs {
		j.State, j.Error, j.Hint, j.BlockedOn, j.EndedAt = JobFailed, cause, hint, "", now
		if _, err := tx.PutJob(j); err != nil {
			return err
		}
		h, err := tx.Host(j.HostID)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if h, err = Next(h, StepFailed{Step: j.Step, Cause: cause, Hint: hint}); err != nil {
			return err
		}
		if _, err := tx.PutHost(h); err != nil {
			return err
		}
		if err := tx.Note(Entry{Time: now, HostID: h.ID, Kind: "job.step", By: "restore", Level: "error", Text: cause + " " + hint}); err != nil {
			return err
		}
	}
	return tx.Note(Entry{Time: now, Kind: "admin", By: "restore", Level: "warn",
		Text: "Restored from a backup of " + made.UTC().Format(time.DateTime) + " UTC."})
}
