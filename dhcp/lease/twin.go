package lease

// maxTwins bounds the clients that are told apart by their client identifier: a forger could invent any number.
const maxTwins = 1024

// Key is what the pool knows a client by: its hardware address, whatever client identifier it sends, for firmware,
// iPXE, stage-0 and the installed system of one machine send different ones; only of machines that Split told apart
// the two together.
func (p *Pool) Key(hw HW, clientID []byte) HW {
	if len(p.twins) == 0 {
		return hw
	}
	if k := twin(hw, clientID); p.twins[k] {
		return k
	}
	return hw
}

// Split gives the client with that identifier addresses of its own from now on: another machine with the same
// hardware address runs at the same time. It reports whether that is new; beyond 1024 such clients nothing changes.
func (p *Pool) Split(hw HW, clientID []byte) bool {
	k := twin(hw, clientID)
	return !p.twins[k] && p.split(k)
}

func (p *Pool) split(k HW) bool {
	if len(p.twins) >= maxTwins {
		return false
	}
	p.twins[k] = true
	return true
}

// twin is a key that no card has: a multicast address.
func twin(hw HW, clientID []byte) HW {
	h := hash(hw)
	for _, b := range clientID {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return HW{byte(h>>40) | 1, byte(h >> 32), byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}
}
