package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// image makes a file of the given size and runs a program on it.
func image(t *testing.T, size int64, stdin string, prog ...string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p, size); err != nil {
		t.Fatal(err)
	}
	if len(prog) == 0 {
		return p
	}
	full := "/usr/sbin/" + prog[0]
	if _, err := os.Stat(full); err != nil {
		if full, err = exec.LookPath(prog[0]); err != nil {
			t.Skipf("%s is not installed here", prog[0])
		}
	}
	cmd := exec.Command(full, append(prog[1:], p)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", prog, err, out)
	}
	return p
}

// TestOwnReadersAgreeWithUtilLinux holds the fallback readers against wipefs on what real tools made.
func TestOwnReadersAgreeWithUtilLinux(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, c := range []struct {
		name  string
		size  int64
		stdin string
		prog  []string
		parts int
		boots bool
	}{
		{name: "nothing", size: 64 * mib},
		{name: "ext4", size: 64 * mib, prog: []string{"mkfs.ext4", "-q", "-F", "-L", "a b"}},
		{name: "ext3", size: 64 * mib, prog: []string{"mke2fs", "-q", "-F", "-t", "ext3"}},
		{name: "ext2", size: 64 * mib, prog: []string{"mke2fs", "-q", "-F", "-t", "ext2"}},
		{name: "FAT32 without a partition table", size: 64 * mib, prog: []string{"mkfs.vfat", "-F", "32", "-n", "STICK"}, boots: true},
		{name: "FAT16 without a partition table", size: 32 * mib, prog: []string{"mkfs.vfat", "-F", "16"}, boots: true},
		{name: "swap", size: 64 * mib, prog: []string{"mkswap", "-q", "-L", "sw"}},
		{name: "xfs", size: 512 * mib, prog: []string{"mkfs.xfs", "-q"}},
		{name: "btrfs", size: 256 * mib, prog: []string{"mkfs.btrfs", "-q"}},
		{name: "a GPT with an ESP", size: 64 * mib, prog: []string{"sfdisk", "-q"}, stdin: "label: gpt\nsize=16M, type=U, name=ESP\nsize=16M, type=L\n", parts: 2, boots: true},
		{name: "a GPT for data", size: 64 * mib, prog: []string{"sfdisk", "-q"}, stdin: "label: gpt\nsize=16M, type=L\n", parts: 1},
		{name: "an empty GPT", size: 64 * mib, prog: []string{"sfdisk", "-q"}, stdin: "label: gpt\n"},
		{name: "an MBR with an active partition", size: 64 * mib, prog: []string{"sfdisk", "-q"}, stdin: "label: dos\nsize=16M, type=83, bootable\n", parts: 1, boots: true},
		{name: "an MBR with logical partitions", size: 64 * mib, prog: []string{"sfdisk", "-q"}, stdin: "label: dos\n1 : start=2048, size=16384, type=83\n2 : start=20480, size=98304, type=5\n5 : start=22528, size=16384, type=83\n6 : start=43008, size=16384, type=83\n", parts: 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := image(t, c.size, c.stdin, c.prog...)
			raw, err := exec.Command("/usr/sbin/wipefs", "--json", p).Output()
			if err != nil {
				t.Skip("wipefs is not installed here")
			}
			want, ok := parseWipefs(raw)
			if !ok {
				t.Fatalf("wipefs said %q", raw)
			}
			r := tree{t, t.TempDir()}
			r.file("sys/block/sdx/size", "0")
			r.link(p, "dev/sdx")
			d := inventory.Disk{Name: "sdx", SizeBytes: uint64(c.size)}
			newMachine(r.root).contents(context.Background(), &d)
			slices.Sort(want)
			if diff := cmp.Diff(want, d.Signatures); diff != "" {
				t.Errorf("-wipefs +own:\n%s", diff)
			}
			if len(d.Partitions) != c.parts || d.Bootable != c.boots {
				t.Errorf("%d partitions, bootable %v; want %d, %v: %+v", len(d.Partitions), d.Bootable, c.parts, c.boots, d.Partitions)
			}
			checkPartUUIDs(t, p, d.Partitions)
		})
	}
}

// checkPartUUIDs holds numbers and PARTUUIDs against sfdisk's.
func checkPartUUIDs(t *testing.T, image string, parts []inventory.Partition) {
	t.Helper()
	for _, p := range parts {
		out, err := exec.Command("/usr/sbin/sfdisk", "--part-uuid", image, itoa(p.Number)).Output()
		if err != nil || strings.Count(p.UUID, "-") == 1 { // sfdisk has no PARTUUIDs of MBR partitions
			continue
		}
		if got := strings.ToLower(strings.TrimSpace(string(out))); got != p.UUID {
			t.Errorf("partition %d: PARTUUID %s, sfdisk says %s", p.Number, p.UUID, got)
		}
	}
}

func TestHostilePartitionTables(t *testing.T) {
	t.Parallel()
	circle := make([]byte, 1<<20)
	circle[510], circle[511] = 0x55, 0xaa
	copy(circle[446:], []byte{0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0xff, 0, 0, 0}) // an extended partition
	ebr := circle[512:]
	ebr[510], ebr[511] = 0x55, 0xaa
	copy(ebr[446:], []byte{0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0})
	copy(ebr[462:], []byte{0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}) // whose chain leads to itself
	ebr[470] = 0
	gpt := gptDisk(t)
	for i := 72; i < 96; i++ {
		gpt[512+i] = 0xff // entries far outside, of absurd size and number
	}
	for name, d := range map[string][]byte{"a circle of logical partitions": circle, "a GPT of nonsense": gpt, "one sector": circle[:512], "nothing": nil} {
		p := filepath.Join(t.TempDir(), "d")
		if err := os.WriteFile(p, d, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		tab := readTable(f, int64(len(d)), 512)
		if len(tab.Parts) > inventory.MaxPartitions {
			t.Errorf("%s: %d partitions", name, len(tab.Parts))
		}
		probe(f, int64(len(d)))
		_ = f.Close()
	}
}

func FuzzDiskContents(f *testing.F) {
	f.Add(gptDisk(f)[:4<<10])
	f.Add(make([]byte, 512))
	f.Fuzz(func(t *testing.T, d []byte) {
		r := strings.NewReader(string(d))
		readTable(r, int64(len(d)), 512)
		probe(r, int64(len(d)))
	})
}
