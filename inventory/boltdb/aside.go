package boltdb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/staged-hive/hatchery/inventory/boltdb/journal"
)

// keptAside is how many damaged journal files are kept beside the database; later ones are only told of.
const keptAside = 8

// setAside keeps a copy of a journal file in which something was damaged, before its leases go into the database and
// it is overwritten, and says so; what it said is for the diary, "" when nothing was damaged.
func (d *DB) setAside(generation uint64, damage journal.Damage) string {
	if !damage.Found() {
		return ""
	}
	file := d.leases.journal.File(generation)
	text := fmt.Sprintf("The journal of leases %s was damaged on the disk. Flipped bits put right: %d; places where leases were lost: %d.", filepath.Base(file), damage.Repaired, damage.Lost)
	if damage.Lost > 0 {
		text += " A machine whose lease was lost asks anew, and an address that it still uses is noticed before it is given away."
	}
	name := file + ".damaged-" + d.cfg.Now().UTC().Format("20060102T150405")
	switch old, err := filepath.Glob(file + ".damaged-*"); {
	case err == nil && len(old) >= keptAside:
		text += " So many damaged ones are kept already that this one is not."
	default:
		if err := copyFile(file, name); err != nil {
			d.cfg.Log.Warn("a damaged journal of leases cannot be kept", "err", err)
			break
		}
		text += " The damaged file is kept as " + name + ". Look after the disk; `hatchery backup` copies what there is."
	}
	d.cfg.Log.Error(text)
	return text
}

// copyFile copies a file into a new one.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}
