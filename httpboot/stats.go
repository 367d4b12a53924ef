package httpboot

import "sync/atomic"

// Stats are the listener's counts since its start, for /metrics.
type Stats struct {
	Scripts       uint64 // boot scripts answered
	Downloads     uint64 // files that went out to their end
	DownloadBytes uint64 // of all downloads, complete or not
	CheckIns      uint64 // check-ins and reports taken
	Refused       uint64 // check-ins, reports and joins refused
}

type counters struct{ scripts, downloads, bytes, checkIns, refused atomic.Uint64 }

// Stats reads the counts. Safe for concurrent use.
func (s *Server) Stats() Stats {
	c := &s.count
	return Stats{Scripts: c.scripts.Load(), Downloads: c.downloads.Load(), DownloadBytes: c.bytes.Load(), CheckIns: c.checkIns.Load(), Refused: c.refused.Load()}
}
