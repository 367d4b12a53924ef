package main

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// contents reads what is on a disk: signatures, partitions, and whether firmware could start it. Where
// util-linux is there its word counts, so that the appliance, the install script and a
// person with a shell see the same names; else the own readers of this package do.
func (m machine) contents(ctx context.Context, d *inventory.Disk) {
	d.Signatures = []string{}
	sector := int64(m.number("sys/block/" + d.Name + "/queue/logical_block_size"))
	if sector < 512 {
		sector = 512
	}
	f, err := m.fsys.Open("dev/" + devName(d.Name))
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	r, ok := f.(io.ReaderAt)
	if !ok {
		return
	}
	size := int64(d.SizeBytes)
	t := readTable(r, size, sector)
	d.Bootable = t.bootable()
	d.Signatures, _ = probe(r, size)
	if t.Kind != "" {
		d.Signatures = append([]string{t.Kind}, d.Signatures...)
	}
	if sigs, ok := m.wipefs(ctx, "/dev/"+devName(d.Name)); ok {
		d.Signatures = sigs
	}
	slices.Sort(d.Signatures) // a set: plans compare it as text
	if len(d.Signatures) > inventory.MaxSignatures {
		d.Signatures = d.Signatures[:inventory.MaxSignatures]
	}
	for _, p := range t.Parts {
		if len(d.Partitions) == inventory.MaxPartitions {
			break
		}
		kinds, label := probe(io.NewSectionReader(r, p.start, int64(p.SizeBytes)), int64(p.SizeBytes))
		if len(kinds) > 0 {
			p.FS, p.FSLabel = kinds[0], label
		}
		if fs, label, ok := m.blkid(ctx, "/dev/"+devName(partName(d.Name, p.Number))); ok {
			p.FS, p.FSLabel = fs, label
		}
		d.Partitions = append(d.Partitions, p.Partition)
	}
}

// partName is the kernel's name of a partition: sda1, nvme0n1p1.
func partName(disk string, n int) string {
	sep := ""
	if c := disk[len(disk)-1]; c >= '0' && c <= '9' {
		sep = "p"
	}
	return disk + sep + strconv.Itoa(n)
}

// wipefs asks util-linux for all signatures on a disk; it changes nothing without -a.
func (m machine) wipefs(ctx context.Context, dev string) ([]string, bool) {
	if m.exec == nil {
		return nil, false
	}
	raw, err := m.exec(ctx, "wipefs", "--json", dev)
	if err != nil {
		return nil, false
	}
	return parseWipefs(raw)
}

// parseWipefs reads wipefs' JSON: each type once, without the protective MBR, which is part of GPT.
// No output means no signatures.
func parseWipefs(raw []byte) ([]string, bool) {
	var v struct {
		Signatures []struct{ Type string } `json:"signatures"`
	}
	if len(strings.TrimSpace(string(raw))) > 0 && json.Unmarshal(raw, &v) != nil {
		return nil, false
	}
	out := []string{}
	for _, s := range v.Signatures {
		if s.Type != "" && s.Type != "PMBR" && !slices.Contains(out, s.Type) {
			out = append(out, s.Type)
		}
	}
	return out, true
}

// blkid asks util-linux for a partition's file system.
func (m machine) blkid(ctx context.Context, dev string) (fs, label string, ok bool) {
	if m.exec == nil {
		return "", "", false
	}
	raw, err := m.exec(ctx, "blkid", "-p", "-o", "export", dev)
	if err != nil { // 2: nothing found or no such device; 8: ambivalent
		return "", "", false
	}
	for l := range strings.Lines(string(raw)) {
		switch k, v, _ := strings.Cut(strings.TrimSpace(l), "="); k {
		case "TYPE":
			fs = v
		case "LABEL":
			label = strings.ReplaceAll(v, `\ `, " ")
		}
	}
	return fs, label, fs != ""
}

// devName is a device's path below /dev: sysfs writes '!' for its slashes (cciss!c0d0).
func devName(name string) string { return strings.ReplaceAll(name, "!", "/") }
