// Package agentapi is what stage-0's agent and the appliance say to each other over HTTP.
//
// The flow: an ISO's agent first exchanges its join token for a nonce ([Join]); a netbooted
// one has its nonce on the kernel command line. It then checks in ([CheckIn]) with the
// machine's facts and SSH host key, and reports ([Progress]) until told otherwise.
// Check-in and progress bodies are signed with the machine's SSH host key; the signature
// travels in [SignatureHeader] and covers the path and the exact bytes of the body.
// The appliance decodes with limits and refuses what it does not know; the agent decodes
// replies with limits and skips fields of a newer appliance.
//
// It opens no sockets and knows no rule about hosts.
package agentapi
