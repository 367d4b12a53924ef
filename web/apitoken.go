package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

const (
	bucketTokens inventory.Bucket = "web_tokens" // id → tokenRecord
	// tokenPrefix begins every API token, so that one that leaked is recognised for what it is.
	tokenPrefix = "hatchery_"
	maxTokens   = 200
	maxTokenLen = 63 // of a name, in bytes
)

// tokenRecord is an API token as it is stored: its secret is not in it.
type tokenRecord struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Scope   Scope     `json:"scope"`
	Hash    string    `json:"hash"` // SHA-256 of the whole token, hex; 130 random bits need no slow hash
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero = never
	By      string    `json:"by,omitempty"`
}

// Ended reports whether the token is over.
func (t tokenRecord) Ended(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// newToken is what a person asks for.
type newToken struct {
	Name    string
	Scope   Scope
	Expires time.Time // zero = never
}

func (n *newToken) check(now time.Time) error {
	n.Name = strings.TrimSpace(n.Name)
	switch {
	case n.Name == "" || len(n.Name) > maxTokenLen || inventory.Clean(n.Name, maxTokenLen) != n.Name:
		return fmt.Errorf("token name %q: want 1 to %d printable characters that say who uses it: %w", clip(n.Name, 40), maxTokenLen, inventory.ErrInvalid)
	case n.Scope.rank() == 0:
		return fmt.Errorf("token scope %q: want read, operate or admin: %w", clip(string(n.Scope), 20), inventory.ErrInvalid)
	case !n.Expires.IsZero() && !n.Expires.After(now):
		return fmt.Errorf("token %q would end on %s, which is past: %w", n.Name, n.Expires.UTC().Format(time.RFC3339), inventory.ErrInvalid)
	}
	return nil
}

// issueToken makes a token and returns its secret, which is stored nowhere.
func (s *Server) issueToken(ctx context.Context, n newToken) (t tokenRecord, token string, err error) {
	now := s.cfg.Now()
	if err := n.check(now); err != nil {
		return t, "", err
	}
	err = s.cfg.Store.Update(func(tx *inventory.Tx) error {
		all, err := tokens(tx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(o tokenRecord) bool { return o.Name == n.Name }) {
			return fmt.Errorf("a token named %q is there already; revoke it first or choose another name: %w", n.Name, inventory.ErrConflict)
		}
		if len(all) >= maxTokens {
			return fmt.Errorf("there are %d tokens already; revoke those that nobody uses: %w", len(all), inventory.ErrConflict)
		}
		t = tokenRecord{ID: tx.NewID(), Name: n.Name, Scope: n.Scope, Created: now, Expires: n.Expires, By: caller(ctx).By}
		token = tokenPrefix + t.ID + "_" + rand.Text()
		t.Hash = tokenHash(token)
		if err := tx.PutJSON(bucketTokens, t.ID, t); err != nil {
			return err
		}
		until := "without an end"
		if !t.Expires.IsZero() {
			until = "until " + t.Expires.UTC().Format(time.DateOnly)
		}
		return noteAccess(tx, ctx, now, fmt.Sprintf("API token %q of scope %s was made, %s.", t.Name, t.Scope, until))
	})
	return t, token, err
}

// tokens are all API tokens, newest first.
func tokens(tx *inventory.Tx) (out []tokenRecord, err error) {
	err = tx.Scan(bucketTokens, "", "", func(k string, v []byte) (bool, error) {
		var t tokenRecord
		if err := json.Unmarshal(v, &t); err != nil {
			return false, fmt.Errorf("API token %s: %w", k, err)
		}
		out = append(out, t)
		return true, nil
	})
	slices.SortFunc(out, func(a, b tokenRecord) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Name, b.Name))
	})
	return out, err
}

// findToken looks a presented token up; ok is false when it is none of ours, revoked, or over.
func (s *Server) findToken(token string) (t tokenRecord, ok bool, err error) {
	id, _, found := strings.Cut(strings.TrimPrefix(token, tokenPrefix), "_")
	if !found || !strings.HasPrefix(token, tokenPrefix) || len(id) > 64 {
		return t, false, nil
	}
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		_, err := tx.GetJSON(bucketTokens, id, &t)
		return err
	})
	same := subtle.ConstantTimeCompare([]byte(t.Hash), []byte(tokenHash(token))) == 1
	return t, err == nil && same && !t.Ended(s.cfg.Now()), err
}

// revokeToken ends a token at once, its open streams too. ErrNotFound.
func (s *Server) revokeToken(ctx context.Context, id string) (t tokenRecord, err error) {
	now := s.cfg.Now()
	err = s.cfg.Store.Update(func(tx *inventory.Tx) error {
		found, err := tx.GetJSON(bucketTokens, id, &t)
		if err == nil && !found {
			err = fmt.Errorf("API token %q is %w", clip(id, 40), inventory.ErrNotFound)
		}
		if err != nil {
			return err
		}
		if err := tx.Delete(bucketTokens, id); err != nil {
			return err
		}
		return noteAccess(tx, ctx, now, fmt.Sprintf("API token %q was revoked.", t.Name))
	})
	if err == nil {
		s.endStreams()
	}
	return t, err
}

// noteAccess writes into the appliance's activity what the caller did to who may use it.
func noteAccess(tx *inventory.Tx, ctx context.Context, now time.Time, text string) error {
	w := caller(ctx)
	return tx.Note(inventory.Entry{Time: now, Kind: "admin." + topicAccess, Text: text, By: w.By, From: w.From})
}
