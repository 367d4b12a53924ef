// Package dhcp decides, purely, what a DHCP message is answered with: as the
// segment's DHCP server, or as ProxyDHCP beside another one.
//
// The flow: [Parse] decodes the bytes and [Classify] says who is asking (PXE
// firmware, UEFI HTTP Boot, iPXE, a plain client; directly or through a relay);
// [Decide] reads the configuration, what is known of the asker and the segment's
// addresses, and returns a [Decision]: the reply, where it goes, the lease that
// has to be stored first, lines for the boot diary, and the reason, also when the
// answer is silence; [Reply.Encode] makes the bytes.
//
// It opens no socket, stores nothing and reads no clock; dhcp/server does that.
package dhcp
