package inventory

import "fmt"

// The parts of stage-0 that a machine loads, in their order.
const (
	PartKernel = "kernel"
	PartImage  = "image" // all initrd together
)

// Loading is how far a machine is with loading stage-0 over the network. It changes by the second, so it is told as it goes and never
// stored. Within one Try neither Part nor Bytes goes back.
type Loading struct {
	Part  string // PartKernel, PartImage
	Bytes int64  // of the part, those that the machine has confirmed
	Total int64  // bytes of the part
	Try   int    // 1 = the first since it fetched its script; more when it began again because a download broke off
}

// Percent is how much of the part is there, rounded down: 100 means all of it.
func (l Loading) Percent() int {
	if l.Total <= 0 {
		return 0
	}
	return int(l.Bytes * 100 / l.Total)
}

// Complete reports whether nothing is left to load.
func (l Loading) Complete() bool { return l.Part == PartImage && l.Bytes >= l.Total }

// String is the boot path so far: "iPXE → kernel → image 61 %".
func (l Loading) String() string {
	path := "iPXE → kernel"
	if l.Part == PartImage {
		path += " → image"
	}
	again := ""
	if l.Try > 1 {
		again = fmt.Sprintf(" (try %d: the download broke off before)", l.Try)
	}
	if l.Complete() {
		return path + " → stage-0 starts" + again
	}
	return fmt.Sprintf("%s %d %%%s", path, l.Percent(), again)
}
