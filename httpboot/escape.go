package httpboot

import "strings"

// The one escaper for iPXE. Its line syntax (src/core/exec.c): a line is expanded (`${name}`),
// split at white space, and the words `||` and `&&` end a command; there is no quoting. So a
// value is made harmless by leaving out what means something, not by marking it.

// escapeText makes a sentence fit for echo and menu items: printable ASCII, no expansion, no operators.
func escapeText(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '—' || c == '–':
			b.WriteByte('-')
		case c == '…':
			b.WriteString("...")
		case c == '`' || c == '“' || c == '”':
			b.WriteByte('"')
		case c < ' ' || c > '~' || strings.ContainsRune("$|&\\{}", c):
			b.WriteByte('?')
		default:
			b.WriteRune(c)
		}
		if b.Len() > 300 {
			break
		}
	}
	return strings.TrimSpace(b.String())
}

// escapeWord makes one word for the kernel's command line or a URL's path: the alphabet that
// inventory.CheckKernelArgs lets through, without white space. A word with anything else is
// left out whole ("") rather than changed in meaning.
func escapeWord(s string) string {
	for _, c := range s {
		if c <= ' ' || c > '~' || strings.ContainsRune("\"'`$\\{}&|;<>#", c) {
			return ""
		}
	}
	return s
}
