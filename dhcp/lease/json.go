package lease

import (
	"encoding/base64"
	"encoding/json"
	"time"
)

// AppendJSON appends the lease as encoding/json writes it, in a fraction of the time: every ACK waits for it.
func (l *Lease) AppendJSON(b []byte) []byte {
	b = append(b, `{"ip":"`...)
	b = l.IP.AppendTo(b)
	b = append(b, `","hw":"`...)
	b = l.HW.append(b)
	b = append(b, '"')
	if len(l.ClientID) > 0 {
		b = append(b, `,"client_id":"`...)
		b = base64.StdEncoding.AppendEncode(b, l.ClientID)
		b = append(b, '"')
	}
	b = appendText(b, `,"hostname":`, l.Hostname)
	b = appendText(b, `,"state":`, string(l.State))
	b = appendTime(b, `,"granted":"`, l.Granted)
	b = appendTime(b, `,"renewed":"`, l.Renewed)
	b = appendTime(b, `,"expires":"`, l.Expires)
	if l.Reserved {
		b = append(b, `,"reserved":true`...)
	}
	if l.ByRenewal {
		b = append(b, `,"by_renewal":true`...)
	}
	if l.Twin != (HW{}) {
		b = append(b, `,"twin":"`...)
		b = l.Twin.append(b)
		b = append(b, '"')
	}
	if l.Relay.IsValid() {
		b = append(b, `,"relay":"`...)
		b = l.Relay.AppendTo(b)
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	quoted, err := json.Marshal(text)
	if err != nil { // of a string: never
		return b
	}
	return append(append(b, name...), quoted...)
}

func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = t.AppendFormat(append(b, name...), time.RFC3339Nano)
	return append(b, '"')
}
