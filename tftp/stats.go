package tftp

import "sync/atomic"

// Stats are the server's counts since its start, for /metrics.
type Stats struct {
	Files   uint64 // transferred to their end
	Bytes   uint64 // of these
	Probes  uint64 // size questions that were broken off, as UEFI firmware does (R7)
	Refused uint64 // unknown names and requests beyond the limit
	Failed  uint64 // transfers that ended early
}

type counters struct{ files, bytes, probes, refused, failed atomic.Uint64 }

// Stats reads the counts. Safe for concurrent use.
func (s *Server) Stats() Stats {
	c := &s.count
	return Stats{Files: c.files.Load(), Bytes: c.bytes.Load(), Probes: c.probes.Load(), Refused: c.refused.Load(), Failed: c.failed.Load()}
}
