package capture

import "golang.org/x/net/bpf"

// udpHead are the filters' first seven instructions: X is the length of the IP header of UDP over IPv4. Anything else, later
// fragments too, goes to the instruction after the next `drop` ones.
func udpHead(drop uint8) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x0800, SkipFalse: drop + 5},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 17, SkipFalse: drop + 3},
		bpf.LoadAbsolute{Off: 20, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: drop + 1},
		bpf.LoadMemShift{Off: 14},
	}
}

// dhcpFilter lets DHCP and the boot server's port through, whole.
var dhcpFilter = append(udpHead(8),
	bpf.LoadIndirect{Off: 14, Size: 2}, // source port
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67, SkipTrue: 5},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4011, SkipTrue: 4},
	bpf.LoadIndirect{Off: 16, Size: 2}, // destination port
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67, SkipTrue: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 68, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4011, SkipFalse: 1},
	bpf.RetConstant{Val: dhcpSnap},
	bpf.RetConstant{Val: 0},
)

// tftpFilter lets requests to port 69 through, and between two high ports the beginning of what looks like TFTP's
// DATA, ACK, ERROR and OACK (RFC 1350 §5, RFC 2347); the Recorder then keeps those of transfers it saw begin.
var tftpFilter = append(udpHead(10),
	bpf.LoadIndirect{Off: 16, Size: 2}, // destination port
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 69, SkipTrue: 7},
	bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 1024, SkipTrue: 7},
	bpf.LoadIndirect{Off: 14, Size: 2}, // source port
	bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 1024, SkipTrue: 5},
	bpf.LoadIndirect{Off: 22, Size: 2}, // opcode
	bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 3, SkipTrue: 3},
	bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 6, SkipTrue: 2},
	bpf.RetConstant{Val: 64},
	bpf.RetConstant{Val: tftpSnap},
	bpf.RetConstant{Val: 0},
)
