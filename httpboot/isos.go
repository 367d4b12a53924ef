package httpboot

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
)

// Records of personalised USB images. The text holds the join token, so the records are as
// secret as the database they are in.
const (
	bucketISOs   inventory.Bucket = "isos"       // id → isoRecord
	bucketTokens inventory.Bucket = "iso_tokens" // token hash → id
)

// Ends of join tokens.
const (
	isoLife    = 7 * 24 * time.Hour
	isoMaxLife = 365 * 24 * time.Hour
	maxISOs    = 200
)

// Errors of ISOs that callers branch on.
var (
	// ErrISOGone says that the stage-0 image that a USB image was made from was replaced.
	ErrISOGone = errors.New("the stage-0 image that this USB image was made from was replaced: make a new one")
	// ErrNoPin says that the appliance shows no certificate that a USB image could know it by.
	ErrNoPin = errors.New("a USB image needs HTTPS pages, whose certificate it knows the appliance by: start the appliance without --web-tls off")
	errToken = errors.New("this USB image was not made by this appliance, or was revoked: make a new one on the appliance's page")
)

// ISOConfig is what ISOs needs.
type ISOConfig struct {
	Store  inventory.Store
	Stage0 *stage0.Store
	// URLs are where machines may reach the web listener (https://ADDRESS:PORT), most likely first.
	URLs func() []string
	// Fingerprint is the pin of the web listener's certificate (tlspin.Of), "" over plain HTTP.
	Fingerprint    func() string
	AuthorizedKeys func() []string
}

// ISOs makes and serves USB images of stage-0 that know this appliance. Safe for concurrent use.
type ISOs struct{ cfg ISOConfig }

// NewISOs checks the configuration.
func NewISOs(c ISOConfig) (*ISOs, error) {
	if c.Store == nil || c.Stage0 == nil || c.URLs == nil || c.Fingerprint == nil || c.AuthorizedKeys == nil {
		return nil, errors.New("USB images: store, stage-0 store, URLs, fingerprint and keys are all needed")
	}
	return &ISOs{c}, nil
}

// ISORequest is what a person wants on a USB stick.
type ISORequest struct {
	Arch    string           // "x86_64", "aarch64"
	Static  *agentapi.Static // nil = by DHCP
	Expires time.Time        // of its join token; zero = in a week
	By      string
	From    netip.Addr // of the person's browser or program
}

// ISOInfo describes a personalised image.
type ISOInfo struct {
	ID      string    `json:"id"`
	Arch    string    `json:"arch"`
	Size    int64     `json:"size"`
	SHA256  string    `json:"sha256"` // of the personalised bytes
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	By      string    `json:"by,omitempty"`
	// Static is its fixed address; nil = by DHCP.
	Static *agentapi.Static `json:"static,omitempty"`
}

// isoRecord is what is stored: the same bytes are streamed as long as the base image stays.
type isoRecord struct {
	ISOInfo
	Base string `json:"base"` // the built image's SHA-256
	Text []byte `json:"text"`
	Hash string `json:"token_hash"`
}

// Create personalises an image and records it. It reads the whole image once, for its digest.
func (i *ISOs) Create(ctx context.Context, r ISORequest, now time.Time) (ISOInfo, error) {
	if r.Expires.IsZero() {
		r.Expires = now.Add(isoLife)
	}
	if !r.Expires.After(now) || r.Expires.After(now.Add(isoMaxLife)) {
		return ISOInfo{}, fmt.Errorf("end date %s: want one within a year from now: %w", r.Expires.Format(time.DateOnly), inventory.ErrInvalid)
	}
	if i.cfg.Fingerprint() == "" {
		return ISOInfo{}, ErrNoPin
	}
	if r.Static != nil {
		if err := r.Static.Check(); err != nil {
			return ISOInfo{}, err
		}
	}
	base, err := i.cfg.Stage0.ISO(r.Arch)
	if err != nil {
		return ISOInfo{}, err
	}
	rec, err := i.record(base, r, now)
	if err != nil {
		return ISOInfo{}, err
	}
	body, err := base.Personal(rec.Text)
	if err != nil {
		return ISOInfo{}, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, ctxReader{ctx, body}); err != nil {
		return ISOInfo{}, fmt.Errorf("USB image: %w", err)
	}
	rec.SHA256 = hex.EncodeToString(h.Sum(nil))
	return rec.ISOInfo, i.cfg.Store.Update(func(tx *inventory.Tx) error {
		if err := dropOldISOs(tx, now); err != nil {
			return err
		}
		if err := tx.PutJSON(bucketISOs, rec.ID, rec); err != nil {
			return err
		}
		if err := tx.Put(bucketTokens, rec.Hash, []byte(rec.ID)); err != nil {
			return err
		}
		return tx.Note(inventory.Entry{Time: now, Kind: "admin.media", By: r.By, From: r.From, Text: fmt.Sprintf("Made a USB image for %s whose token ends on %s.", r.Arch, r.Expires.Format(time.DateOnly))})
	})
}

func (i *ISOs) record(base *stage0.ISO, r ISORequest, now time.Time) (isoRecord, error) {
	var random [40]byte
	if _, err := rand.Read(random[:]); err != nil {
		return isoRecord{}, fmt.Errorf("random bytes for a token: %w", err)
	}
	token := base64.RawURLEncoding.EncodeToString(random[:32])
	p := agentapi.Personal{Version: 1, URLs: i.cfg.URLs(), Fingerprint: i.cfg.Fingerprint(), AuthorizedKeys: i.cfg.AuthorizedKeys(), Token: token, Expires: r.Expires.UTC(), Static: r.Static}
	text, err := json.Marshal(p)
	if err != nil {
		return isoRecord{}, fmt.Errorf("USB image: %w", err)
	}
	if _, err := agentapi.ParsePersonal(bytes.Clone(text)); err != nil {
		return isoRecord{}, err
	}
	info := ISOInfo{ID: hex.EncodeToString(random[32:]), Arch: r.Arch, Size: base.Size, Created: now.UTC(), Expires: r.Expires.UTC(), By: r.By, Static: r.Static}
	return isoRecord{ISOInfo: info, Base: base.Digest, Text: text, Hash: agentapi.TokenHash(token)}, nil
}

// dropOldISOs deletes the records whose token is over, and the oldest beyond maxISOs.
func dropOldISOs(tx *inventory.Tx, now time.Time) error {
	all, err := scanISOs(tx)
	for n, r := range all { // newest first
		// One whose token is over is kept a while, so that the machine can be told what is wrong.
		if n+1 >= maxISOs || now.After(r.Expires.Add(isoLife)) {
			err = errors.Join(err, dropISO(tx, r))
		}
	}
	return err
}

func dropISO(tx *inventory.Tx, r isoRecord) error {
	return errors.Join(tx.Delete(bucketISOs, r.ID), tx.Delete(bucketTokens, r.Hash))
}

// scanISOs reads all records, newest first.
func scanISOs(tx *inventory.Tx) (out []isoRecord, err error) {
	err = tx.Scan(bucketISOs, "", "", func(_ string, v []byte) (bool, error) {
		var r isoRecord
		err := json.Unmarshal(v, &r)
		out = append(out, r)
		return err == nil, err
	})
	slices.SortFunc(out, func(a, b isoRecord) int { return b.Created.Compare(a.Created) })
	return out, err
}

// List are the images whose records are kept, newest first.
func (i *ISOs) List() (out []ISOInfo, err error) {
	err = i.cfg.Store.View(func(tx *inventory.Tx) error {
		all, err := scanISOs(tx)
		for _, r := range all {
			out = append(out, r.ISOInfo)
		}
		return err
	})
	return out, err
}

// Revoke deletes an image's record: sticks made of it join no more. inventory.ErrNotFound.
func (i *ISOs) Revoke(id, by string, from netip.Addr, now time.Time) error {
	return i.cfg.Store.Update(func(tx *inventory.Tx) error {
		rec, err := readISO(tx, id)
		if err != nil {
			return err
		}
		if err := dropISO(tx, rec); err != nil {
			return err
		}
		return tx.Note(inventory.Entry{Time: now, Kind: "admin.media", By: by, From: from,
			Text: fmt.Sprintf("Revoked the USB image for %s that was made on %s.", rec.Arch, rec.Created.Format(time.DateOnly))})
	})
}

func readISO(tx *inventory.Tx, id string) (rec isoRecord, err error) {
	ok, err := tx.GetJSON(bucketISOs, id, &rec)
	if err == nil && !ok {
		err = fmt.Errorf("USB image %q is %w", inventory.Clean(id, 40), inventory.ErrNotFound)
	}
	return rec, err
}

// Open is the personalised image's bytes, the same at every call, with Range by seeking. ErrISOGone, inventory.ErrNotFound.
func (i *ISOs) Open(id string) (ISOInfo, io.ReadSeeker, error) {
	var rec isoRecord
	err := i.cfg.Store.View(func(tx *inventory.Tx) (err error) {
		rec, err = readISO(tx, id)
		return err
	})
	if err != nil {
		return ISOInfo{}, nil, err
	}
	base, err := i.cfg.Stage0.ISO(rec.Arch)
	if err != nil {
		return rec.ISOInfo, nil, err
	}
	if base.Digest != rec.Base {
		return rec.ISOInfo, nil, ErrISOGone
	}
	body, err := base.Personal(rec.Text)
	return rec.ISOInfo, body, err
}

// CheckToken accepts the hash of a join token that is not over; the error is a sentence for
// the machine's screen. It is Config.JoinToken.
func (i *ISOs) CheckToken(hash string, now time.Time) error {
	var rec isoRecord
	err := i.cfg.Store.View(func(tx *inventory.Tx) error {
		id, err := tx.Get(bucketTokens, hash)
		if err != nil {
			return err
		}
		if ok, err := tx.GetJSON(bucketISOs, string(id), &rec); err != nil || !ok {
			return errors.Join(err, errToken)
		}
		return nil
	})
	if err == nil && now.After(rec.Expires) {
		return fmt.Errorf("this USB image ended on %s: make a new one on the appliance's page", rec.Expires.Format(time.DateOnly))
	}
	return err
}

// ctxReader stops reading when the context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
