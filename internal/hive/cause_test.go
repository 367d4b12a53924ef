package hive

import (
	"errors"
	"testing"
)

// What nix printed is shortened from runs of 2.8.0 and 2.26.3 on broken hives.
func TestNixFailure(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, output, cause string
		kind                Kind
	}{
		{"assertions, 2.26", `error:
       … while calling the 'throw' builtin
         at /nix/store/x-source/system.nix:8:27:
            8|     if failed != [ ] then throw "\nFailed assertions: error: here"
       error:
       Failed assertions:
       - host node1 has role nosuch.
       - host node1 is odd.
`, "Failed assertions: host node1 has role nosuch. host node1 is odd.", KindEval},
		{"assertions, 2.8", "error: \nFailed assertions:\n- host node1 has role nosuch.\n\n       … while evaluating 'checked'\n", "Failed assertions: host node1 has role nosuch.", KindEval},
		{"a name that is not there, 2.26", `error:
       … while calling the 'import' builtin
       error: undefined variable 'undefinedVar'
       at /nix/store/x-source/common.nix:1:18:
            1| { ... }: { foo = undefinedVar; }
`, "undefined variable 'undefinedVar'", KindEval},
		{"a failed builder", `broken> doing things
broken> the reason
error: builder for '/nix/store/wqd0g6x1fmh7hgmcjzlh1xm12av1ycq8-broken.drv' failed with exit code 3;
       last 1 log lines:
       > the reason
error: 1 dependencies of derivation '/nix/store/fbxa297xav927qlb0w8rshhmjxm14cqy-hatchery-node1.drv' failed to build
`, "builder for '/nix/store/wqd0g6x1fmh7hgmcjzlh1xm12av1ycq8-broken.drv' failed with exit code 3: the reason", KindBuild},
		{"colours", "\x1b[31;1merror:\x1b[0m something", "something", KindEval},
		{"a full disk", "error: writing to file: No space left on device", "a disk of the appliance is full", KindSpace},
		{"no way out", "error: unable to download 'https://example.org/x': Couldn't resolve host name (6)", "unable to download 'https://example.org/x': Couldn't resolve host name (6)", KindFetch},
		{"another system", "error: a 'aarch64-linux' with features {} is required to build '/nix/store/x-linux.drv', but I am a 'x86_64-linux' with features {benchmark, kvm}",
			"a 'aarch64-linux' with features {} is required to build '/nix/store/x-linux.drv', but I am a 'x86_64-linux' with features {benchmark, kvm}", KindBuild},
		{"a host that the flake does not make", "error: flake 'git+file:///data/hive?rev=0' does not provide attribute 'packages.x86_64-linux.nixosConfigurations.\"node1\"'",
			"flake 'git+file:///data/hive?rev=0' does not provide attribute 'packages.x86_64-linux.nixosConfigurations.\"node1\"'", KindEval},
		{"nothing at all", "", "nix failed: exit status 1", KindEval},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := nixFailure("building host node1", "", tc.output, errors.New("exit status 1"))
			if f.Cause != tc.cause || f.Kind != tc.kind || f.Next == "" {
				t.Errorf("got kind %s, cause %q; want %s, %q", f.Kind, f.Cause, tc.kind, tc.cause)
			}
		})
	}
}

func TestParseClosureBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, out string
		want      uint64
	}{
		{"nix 2.8", `[{"path":"/nix/store/x-a","narSize":79352,"references":[],"closureSize":34964016}]`, 34964016},
		{"nix 2.26", `{"/nix/store/x-a":{"narSize":79352,"references":[],"closureSize":34964016}}`, 34964016},
		{"a path that is not there", `{"/nix/store/x-a":null}`, 0},
		{"something else", `nothing`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := parseClosureBytes([]byte(c.out)); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
