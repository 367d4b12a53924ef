package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// qmp sends one command to QEMU's control socket and waits for its answer; arguments may be nil.
func qmp(socket, command string, arguments map[string]string) error {
	c, err := net.DialTimeout("unix", socket, 2*time.Second)
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second)) // a net.Conn of ours takes deadlines
	r := bufio.NewReader(c)
	if _, err := r.ReadBytes('\n'); err != nil { // the greeting
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	type call struct {
		Execute   string            `json:"execute"`
		Arguments map[string]string `json:"arguments,omitempty"`
	}
	for _, send := range []call{{Execute: "qmp_capabilities"}, {command, arguments}} {
		if err := json.NewEncoder(c).Encode(send); err != nil {
			return fmt.Errorf("qmp %s: %w", send.Execute, err)
		}
		if err := qmpAnswer(r); err != nil {
			return fmt.Errorf("qmp %s: %w", send.Execute, err)
		}
	}
	return nil
}

// qmpAnswer skips events until the answer comes.
func qmpAnswer(r *bufio.Reader) error {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return err
		}
		var m struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return err
		}
		if m.Error != nil {
			return fmt.Errorf("QEMU: %s", m.Error.Desc)
		}
		if m.Return != nil {
			return nil
		}
	}
}
