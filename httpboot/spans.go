package httpboot

import "slices"

// span is the bytes of a file from one offset up to, not including, another.
type span struct{ from, to int64 }

// spans are the bytes of a file that are there: rising, none touches the next.
type spans []span

// maxSpans bounds how many pieces of a file are told apart; a machine makes one, or one for each of its few connections.
const maxSpans = 32

// add notes that n's bytes are there, once however often they come. A piece beyond maxSpans that touches no other is not noted.
func (s spans) add(n span) spans {
	if n.from >= n.to {
		return s
	}
	first := slices.IndexFunc(s, func(o span) bool { return o.to >= n.from })
	if first < 0 {
		first = len(s)
	}
	last := first
	for last < len(s) && s[last].from <= n.to {
		n.from, n.to = min(n.from, s[last].from), max(n.to, s[last].to)
		last++
	}
	if first == last && len(s) >= maxSpans {
		return s
	}
	return slices.Replace(s, first, last, n)
}

// bytes is how many bytes are there.
func (s spans) bytes() (n int64) {
	for _, o := range s {
		n += o.to - o.from
	}
	return n
}

// begun reports whether the file's first byte is there.
func (s spans) begun() bool { return len(s) > 0 && s[0].from == 0 }
