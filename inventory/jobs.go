package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
)

// PutJob writes a job whose Revision is the one that was read (0 = new). ErrConflict.
func (tx *Tx) PutJob(j Job) (Job, error) {
	old, err := tx.Job(j.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return j, err
	}
	if old.Revision != j.Revision {
		return j, fmt.Errorf("job %s was changed by somebody else: %w", j.ID, ErrConflict)
	}
	j.Revision++
	if j.Open() {
		err = tx.Put(BucketOpenJobs, string(j.ID), []byte(j.HostID))
	} else {
		err = tx.Delete(BucketOpenJobs, string(j.ID))
	}
	if err != nil {
		return j, err
	}
	if old.HostID != j.HostID || old.ID == "" {
		if err := errors.Join(tx.Delete(BucketHostJobs, hostJobKey(old.HostID, j.ID)), tx.Put(BucketHostJobs, hostJobKey(j.HostID, j.ID), []byte(j.ID))); err != nil {
			return j, err
		}
	}
	tx.changes = append(tx.changes, Change{Kind: JobChanged, Host: j.HostID, Job: j.ID})
	return j, tx.PutJSON(BucketJobs, string(j.ID), j)
}

// Job reads a job. ErrNotFound.
func (tx *Tx) Job(id JobID) (Job, error) {
	var j Job
	ok, err := tx.GetJSON(BucketJobs, string(id), &j)
	if err == nil && !ok {
		err = fmt.Errorf("job %s is %w", id, ErrNotFound)
	}
	return j, err
}

// OpenJobs reads all open jobs, in order of id.
func (tx *Tx) OpenJobs() ([]Job, error) {
	var ids []JobID
	if err := tx.Scan(BucketOpenJobs, "", "", func(k string, _ []byte) (bool, error) {
		ids = append(ids, JobID(k))
		return true, nil
	}); err != nil {
		return nil, err
	}
	jobs := make([]Job, 0, len(ids))
	for _, id := range ids {
		j, err := tx.Job(id)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// hostJobKey is where a job is found by its host: in order of when it was made, since job ids are.
func hostJobKey(h HostID, j JobID) string { return string(h) + "/" + string(j) }

// JobsBack calls fn for each job, newest first, until it returns false or an error: of one host, forgotten ones too, or
// of all ("" = all); those made before the job `before` ("" = from the newest). It costs the jobs that fn saw.
func (tx *Tx) JobsBack(host HostID, before JobID, fn func(Job) (bool, error)) error {
	if host == "" {
		return tx.ScanBack(BucketJobs, "", string(before), func(k string, v []byte) (bool, error) {
			var j Job
			if err := json.Unmarshal(v, &j); err != nil {
				return false, fmt.Errorf("job %s: %w", k, err)
			}
			return fn(j)
		})
	}
	from := ""
	if before != "" {
		from = hostJobKey(host, before)
	}
	return tx.ScanBack(BucketHostJobs, hostJobKey(host, ""), from, func(_ string, id []byte) (bool, error) {
		j, err := tx.Job(JobID(id))
		if err != nil {
			return false, err
		}
		return fn(j)
	})
}

// indexJobs adds all jobs to the index by host.
func (tx *Tx) indexJobs() error {
	return tx.Scan(BucketJobs, "", "", func(k string, v []byte) (bool, error) {
		var j Job
		if err := json.Unmarshal(v, &j); err != nil {
			return false, fmt.Errorf("job %s: %w", k, err)
		}
		return true, tx.Put(BucketHostJobs, hostJobKey(j.HostID, j.ID), []byte(j.ID))
	})
}
