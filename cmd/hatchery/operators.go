package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/web"
)

// bucketOperators holds the SSH keys that people added on the page: id → authorized_keys line.
const bucketOperators inventory.Bucket = "operator_keys"

// operators are the people's SSH keys: those of the configuration, and those added while the appliance runs.
type operators struct {
	store inventory.Store
	fixed []string
	// changed is told after a change, so that the hive knows the keys too.
	changed func(context.Context) error
}

// keyOf describes a checked line of authorized_keys.
func keyOf(line string, fixed bool) web.OperatorKey {
	k := web.OperatorKey{Key: line, Fixed: fixed}
	key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return k
	}
	sum := sha256.Sum256(key.Marshal())
	k.ID, k.Comment, k.Fingerprint = hex.EncodeToString(sum[:8]), inventory.Clean(comment, 64), ssh.FingerprintSHA256(key)
	return k
}

// Keys implements web.Operators: those of the configuration first.
func (o *operators) Keys() (out []web.OperatorKey, err error) {
	err = o.store.View(func(tx *inventory.Tx) error {
		out, err = o.keys(tx)
		return err
	})
	return out, err
}

func (o *operators) keys(tx *inventory.Tx) ([]web.OperatorKey, error) {
	var out []web.OperatorKey
	for _, line := range o.fixed {
		out = append(out, keyOf(line, true))
	}
	err := tx.Scan(bucketOperators, "", "", func(_ string, v []byte) (bool, error) {
		k := keyOf(string(v), false)
		if !slices.ContainsFunc(out, func(x web.OperatorKey) bool { return x.ID == k.ID }) {
			out = append(out, k)
		}
		return true, nil
	})
	return out, err
}

// authorized are the lines that are let in; those of the configuration alone while the others cannot be read.
func (o *operators) authorized() (lines []string) {
	all, err := o.Keys()
	if err != nil {
		return o.fixed
	}
	for _, k := range all {
		lines = append(lines, k.Key)
	}
	return lines
}

// AddKeys implements web.Operators.
func (o *operators) AddKeys(ctx context.Context, text string) (added []web.OperatorKey, err error) {
	if strings.Contains(text, "PRIVATE KEY") {
		return nil, fmt.Errorf("that is a private key, which nobody but you may have: paste the public one, from the file that ends in .pub: %w", inventory.ErrInvalid)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") { // sshKeys would read a file
			return nil, fmt.Errorf("%.40q is no public key: %w", line, inventory.ErrInvalid)
		}
	}
	lines, err := sshKeys([]string{text})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.TrimPrefix(err.Error(), "ssh_keys: "), inventory.ErrInvalid)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("paste at least one public key: %w", inventory.ErrInvalid)
	}
	err = o.store.Update(func(tx *inventory.Tx) error {
		added = nil
		have, err := o.keys(tx)
		if err != nil {
			return err
		}
		for _, line := range lines {
			k := keyOf(line, false)
			if slices.ContainsFunc(have, func(x web.OperatorKey) bool { return x.ID == k.ID }) {
				continue
			}
			have, added = append(have, k), append(added, k)
			if err := tx.Put(bucketOperators, k.ID, []byte(line)); err != nil {
				return err
			}
		}
		all := hive.ApplianceFile{}
		for _, k := range have {
			all.SSHKeys = append(all.SSHKeys, k.Key)
		}
		if err := all.Check(); err != nil {
			return fmt.Errorf("%w: %w", err, inventory.ErrInvalid)
		}
		return nil
	})
	if err != nil || len(added) == 0 {
		return nil, err
	}
	return added, o.told(ctx)
}

// RemoveKey implements web.Operators.
func (o *operators) RemoveKey(ctx context.Context, id string) (k web.OperatorKey, err error) {
	err = o.store.Update(func(tx *inventory.Tx) error {
		all, err := o.keys(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(x web.OperatorKey) bool { return x.ID == id })
		if i < 0 {
			return fmt.Errorf("SSH key %q is %w", inventory.Clean(id, 40), inventory.ErrNotFound)
		}
		if k = all[i]; k.Fixed {
			return fmt.Errorf("SSH key %s is set in the configuration file; take it out there: %w", k.Fingerprint, inventory.ErrConflict)
		}
		return tx.Delete(bucketOperators, id)
	})
	if err != nil {
		return k, err
	}
	return k, o.told(ctx)
}

func (o *operators) told(ctx context.Context) error {
	if o.changed == nil {
		return nil
	}
	if err := o.changed(ctx); err != nil {
		return fmt.Errorf("the keys are saved and let in on stage-0, but could not be written into the hive, so installed machines do not get them: %w", err)
	}
	return nil
}

var _ web.Operators = (*operators)(nil)
