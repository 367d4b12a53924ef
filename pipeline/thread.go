package pipeline

import "runtime"

// thread is the one thread of the system that starts a runner's programs and reads their places below /proc. Landlock is set for
// each thread by itself (landlock(7): threads started earlier make domains of their own), and lets a process's environment and
// counters be read only from the domain it was started in: from any other thread the programs of a job are not to be seen.
// The zero value is whichever thread calls.
type thread struct{ work chan func() }

// startThread starts one; it ends when work is closed.
func startThread() thread {
	t := thread{make(chan func())}
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		for fn := range t.work {
			fn()
		}
	}()
	return t
}

// do runs fn there and waits for it. It must not wait for anything itself.
func (t thread) do(fn func()) {
	if t.work == nil {
		fn()
		return
	}
	done := make(chan struct{})
	t.work <- func() {
		defer close(done)
		fn()
	}
	<-done
}
