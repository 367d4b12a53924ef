package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/tftp"
)

// bootMetrics are the counts of TFTP and of the boot listener since their start.
func bootMetrics(t func() tftp.Stats, h func() httpboot.Stats) []prometheus.Collector {
	counter := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "hatchery", Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	return []prometheus.Collector{
		counter("tftp_files_total", "Files sent by TFTP to their end.", func() uint64 { return t().Files }),
		counter("tftp_bytes_total", "Bytes of the files sent by TFTP to their end.", func() uint64 { return t().Bytes }),
		counter("tftp_size_probes_total", "TFTP requests that were broken off once the size was known, as UEFI firmware does.", func() uint64 { return t().Probes }),
		counter("tftp_refused_total", "TFTP requests for unknown names or beyond the limit.", func() uint64 { return t().Refused }),
		counter("tftp_failed_total", "TFTP transfers that ended early.", func() uint64 { return t().Failed }),
		counter("boot_scripts_total", "Boot scripts answered.", func() uint64 { return h().Scripts }),
		counter("boot_downloads_total", "Boot files and images that went out by HTTP to their end.", func() uint64 { return h().Downloads }),
		counter("boot_download_bytes_total", "Bytes of boot files and images by HTTP, of broken-off downloads too.", func() uint64 { return h().DownloadBytes }),
		counter("agent_reports_total", "Check-ins and reports of agents that were taken.", func() uint64 { return h().CheckIns }),
		counter("agent_refused_total", "Check-ins, reports and joins of agents that were refused.", func() uint64 { return h().Refused }),
	}
}
