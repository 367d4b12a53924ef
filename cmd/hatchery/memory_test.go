package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMemoryIsGivenBackOnceAfterEachBurst(t *testing.T) {
	t.Parallel()
	const kB, MB = 1 << 10, 1 << 20
	for _, c := range []struct {
		name string
		more []uint64 // allocated between two looks
		want []bool
	}{
		{"the start is one", []uint64{20 * MB, 10 * kB, 10 * kB, 0}, []bool{false, true, false, false}},
		{"a start that was over at the first look", []uint64{10 * kB, 10 * kB}, []bool{true, false}},
		{"a long one is given back at its end", []uint64{0, 90 * MB, 90 * MB, 90 * MB, 100 * kB, 0}, []bool{true, false, false, false, true, false}},
		{"what an idle appliance takes is none", []uint64{0, MB, 4 * MB, 8 * MB, MB}, []bool{true, false, false, false, false}},
		{"nothing is given back while it goes on", []uint64{20 * MB, 9 * MB, 9 * MB, 9 * MB}, []bool{false, false, false, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := burst{on: true}
			var all uint64
			var got []bool
			for _, n := range c.more {
				all += n
				got = append(got, b.ended(all))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("looks at which memory is given back (-want +got):\n%s", diff)
			}
		})
	}
	before := allocated()
	sink = make([]byte, 5*MB)
	if got := allocated() - before; got < 5*MB || got > 500*MB {
		t.Errorf("5 MB more were read as %d bytes", got)
	}
}

var sink []byte
