package pipeline

import "testing"

func TestTheLevelOfALineIsReadFromItsWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"error: attribute 'services.k3z' does not exist":                  "error",
		"       error: builder for '/nix/store/x.drv' failed":             "error",
		"[  12.3] blk_update_request: I/O error, dev sda, sector 0":       "error",
		"root@10.0.0.3: Permission denied (publickey).":                   "error",
		"mkfs.ext4: No space left on device":                              "error",
		"warning: Git tree is dirty":                                      "warn",
		"ssh: connect to host 10.0.0.3 port 22: Connection refused":       "warn",
		"evaluation warning: option x is renamed":                         "warn",
		"copying path '/nix/store/abc-error-handling-1.0' to 'ssh-ng://'": "",
		"copying path '/nix/store/abc-perl-Error-0.17' to 'ssh-ng://'":    "",
		"0 errors, 0 warnings":                                            "",
		"### Formatting hard drive with disko ###":                        "",
	} {
		if got := (Line{Text: text}).Level(); got != want {
			t.Errorf("%q: got level %q, want %q", text, got, want)
		}
	}
}
