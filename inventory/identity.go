package inventory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// fillers are serials and UUIDs that vendors print on every machine, in lower case without what is no letter or
// digit; they identify nothing. Seen in SMBIOS dumps of white-box boards, mini PCs and hypervisors.
var fillers = []string{"none", "null", "na", "nil", "default", "empty", "unknown", "unspecified", "undefined", "invalid", "notspecified",
	"notapplicable", "notavailable", "notpresent", "notset", "notdefined", "tbd", "oem", "serial", "systemserialnumb", "sn", "sn12345678",
	"987654321", "9876543210",
	"03000200040005000006000700080009", "00020003000400050006000700080009", // AMI's default, in both byte orders
	"030201000504070608090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f",
	"123456781234567890abcddeefaabbcc", "785634123412785690abcddeefaabbcc",
	"4c4c454400002010802080c04f202020"} // Dell's, of a board whose service tag is empty

// counted are what people type who must enter something: it is a filler from its start on.
var counted = []string{"0123456789abcdef0123456789abcdef", "1234567890abcdef1234567890abcdef", "12345678901234567890123456789012", "12345678123456781234567812345678"}

// fillerWords are in serials that are a form's text rather than a number.
var fillerWords = []string{"serialnumber", "filledbyoem", "tobefilled", "defaultstring", "assettag", "xxxx"}

// Filler reports whether a serial or UUID is one that vendors leave on every machine, so that it must not be used
// to tell machines apart: a form's text, one or two characters repeated, or counted up from the keyboard's left.
func Filler(s string) bool {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > '~' {
			return r
		}
		return -1
	}, strings.ToLower(s))
	if plain == "" || slices.Contains(fillers, plain) || len(plain) >= 4 && slices.ContainsFunc(counted, func(c string) bool { return strings.HasPrefix(c, plain) }) {
		return true
	}
	if first, _ := utf8.DecodeRuneInString(plain); strings.Trim(plain, string(first)) == "" || len(plain) >= 8 && plain[2:] == plain[:len(plain)-2] {
		return true
	}
	return slices.ContainsFunc(fillerWords, func(w string) bool { return strings.Contains(plain, w) })
}

// plainUUID is a UUID as it is kept: lower case with hyphens, also when it came without. Other text is only cleaned.
func plainUUID(s string) string {
	s = strings.ToLower(Clean(s, MaxFactLen))
	if len(s) == 32 && strings.Trim(s, "0123456789abcdef") == "" {
		return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	}
	return s
}

// checkUUID accepts a UUID that a person gave, or "". ErrInvalid.
func checkUUID(s string) error {
	if u := plainUUID(s); u != "" && (swapUUID(u) == "" || strings.Trim(u, "0123456789abcdef-") != "") {
		return fmt.Errorf("UUID %q: want one like 4c4c4544-0051-3610-8052-b4c04f303033: %w", cut(s), ErrInvalid)
	}
	return nil
}

// uuidLen is the length of a UUID's text; no name that people give looks like one ([CheckName]).
const uuidLen = 36

// swapUUID is the UUID with the bytes of its first three groups reversed, "" when u is not a UUID's text.
// SMBIOS keeps them little-endian since 2.6 (DMTF DSP0134 §7.2.1); older and careless firmware shows
// the same UUID in the other order by DHCP, by iPXE or on its label.
func swapUUID(u string) string {
	if len(u) != uuidLen || u[8] != '-' || u[13] != '-' {
		return ""
	}
	return u[6:8] + u[4:6] + u[2:4] + u[0:2] + "-" + u[11:13] + u[9:11] + "-" + u[16:18] + u[14:16] + u[18:]
}

// sameUUID reports whether two texts are the same UUID, in either byte order.
func sameUUID(a, b string) bool {
	swapped := swapUUID(a)
	return strings.EqualFold(a, b) || swapped != "" && strings.EqualFold(swapped, b)
}

// uuidKeys are the index keys under which a UUID's host may be, its own first.
func uuidKeys(u string) []string {
	u = plainUUID(u)
	keys := []string{"uuid/" + u}
	if swapped := swapUUID(u); swapped != "" {
		keys = append(keys, "uuid/"+swapped)
	}
	return keys
}

// serialKey is the index key of a serial number: people and firmware differ in capitals.
func serialKey(s string) string { return "serial/" + strings.ToLower(Clean(s, MaxFactLen)) }

// awaited reports whether a person announced the host and no machine was heard yet that could be it.
func (h *Host) awaited() bool { return h.Announced && h.Facts == nil && h.LastSeen.IsZero() }

// findAwaited is the announced host that a machine shows itself to be by its UUID, its serial number or one of
// its MACs; false when there is none, and when they lead to different ones.
func findAwaited(tx *Tx, uuid, serial string, macs ...MAC) (Host, bool, error) {
	var found Host
	finds := []func() (Host, error){
		func() (Host, error) { return tx.HostByUUID(uuid) },
		func() (Host, error) { return tx.HostBySerial(serial) },
	}
	for _, m := range macs {
		finds = append(finds, func() (Host, error) { return tx.HostByMAC(m) })
	}
	for _, find := range finds {
		h, err := find()
		switch {
		case errors.Is(err, ErrNotFound), err == nil && !h.awaited():
		case err != nil:
			return h, false, err
		case found.ID != "" && found.ID != h.ID:
			return Host{}, false, nil
		default:
			found = h
		}
	}
	return found, found.ID != "", nil
}

// unite puts an announced host in the place of the stranger h, which its machine was taken for until it said more
// of itself: firmware's DHCP mostly tells the MAC alone. The stranger's diary goes with it. Both are stored.
func unite(tx *Tx, h, announced Host) (Host, error) {
	var lines []Entry
	for after := uint64(0); ; {
		some, err := tx.Diary(h.ID, after, DiaryKeep)
		if err != nil {
			return h, err
		}
		if len(some) == 0 {
			break
		}
		lines, after = append(lines, some...), some[len(some)-1].Seq
	}
	if err := remove(tx, &h); err != nil {
		return h, err
	}
	for _, e := range lines {
		e.HostID = announced.ID
		if err := tx.PutJSON(BucketDiary, diaryKey(e.HostID, e.Seq), e); err != nil {
			return h, err
		}
	}
	announced.meet(Contact{IP: h.IP, Arch: h.Arch, Firmware: h.Firmware}, h.LastSeen)
	announced.FirstSeen, announced.Relayed = h.FirstSeen, h.Relayed
	announced.addMAC(h.MAC, true)
	var err error
	if announced, err = Next(announced, HeardDHCP{}); err != nil {
		return h, err
	}
	return tx.PutHost(announced)
}

// Reindex brings what finds a host by its UUID, serial number or rank up to what this program looks for; who has a
// key keeps it. Only stores call it, on data of an older program.
func (tx *Tx) Reindex() error {
	for _, b := range []Bucket{BucketIndex, bucketGraves} {
		for _, kind := range []string{"uuid/", "serial/"} {
			err := tx.Scan(b, kind, "", func(k string, v []byte) (bool, error) {
				now := kind + plainUUID(strings.TrimPrefix(k, kind))
				if kind == "serial/" {
					now = serialKey(strings.TrimPrefix(k, kind))
				}
				if now == k && !Filler(strings.TrimPrefix(k, kind)) {
					return true, nil
				}
				taken, err := tx.Get(b, now)
				if err == nil {
					err = tx.Delete(b, k)
				}
				if err == nil && taken == nil && !Filler(strings.TrimPrefix(now, kind)) {
					err = tx.Put(b, now, v)
				}
				return true, err
			})
			if err != nil {
				return err
			}
		}
	}
	return errors.Join(tx.rankAll(), tx.indexJobs())
}
