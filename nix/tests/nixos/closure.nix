# Stage-0 stays small: no perl, documentation, channel or compiler in the closure that machines load. Needs a substituter, no KVM.
{ self, nixpkgs, system }:
let
  pkgs = nixpkgs.legacyPackages.${system};
  toplevel = (self.lib.stage0 { inherit system; }).netboot.toplevel;
  closure = pkgs.closureInfo { rootPaths = [ toplevel ]; };
in
pkgs.runCommand "hatchery-stage0-closure" { } ''
  bad() { # WHAT PATTERN
    if grep -E -- "$2" ${closure}/store-paths; then
      echo "the paths above are $1: stage0/small.nix keeps it out of stage-0. Who needs it: nix why-depends ${toplevel} PATH" >&2
      failed=1
    fi
  }
  failed=
  bad perl '-perl(5[.0-9]*)?-[0-9]|-perl[0-9.]*-'
  bad documentation '-(man|doc|info|devdoc)$|-nixos-(manual|help|configuration-reference)'
  bad 'the channel or nixpkgs itself' '-nixos-channel|-nixpkgs-|-source$'
  bad 'the compiler' '-(stdenv-linux|gcc-wrapper-[0-9.]+|gcc-[0-9.]+|binutils-[0-9.]+|clang-[0-9.]+)$'
  [ -z "$failed" ]
  echo "$(wc -l <${closure}/store-paths) paths, $(cat ${closure}/total-nar-size) bytes" | tee $out
''
