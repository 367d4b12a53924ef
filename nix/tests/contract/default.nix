# The nixpkgs options that our modules set, with the names and types that nixpkgs declares, and nothing behind them: a wrong name or type in
# our modules shows in the tests as it would there. Each file is a list of
#   { repo ? "NixOS/nixpkgs"; commit; file; options; }      read in that file at that commit
#   { repo = "nix-community/nixos-images"; commit; file; options; }   seen set there, by modules that are built on nixos-26.05
#   { inherit (fork) repo commit; file; options; }           read in the newest whole tree of nixpkgs that could be had
#   { unread = WHY; options; }                               typed from the manual
# ./README.md says how to add one.
{ lib }:
let
  files = [ "boot" "hosts" "images" "k3s" "network" "nix" "small" "users" ];
  # Of NixOS/nixpkgs itself single files could be read, of many commits; of this fork nearly all are there at one (it
  # has services.harmonia.cache and rancher/default.nix, so it is near 26.05 or after it).
  fork = { repo = "Swarsel/nixpkgs"; commit = "4aa6836a648ca76c68866decf0c8965e36ec2a3b"; };
in
rec {
  entries = lib.concatMap (f: import (./. + "/${f}.nix") { inherit lib fork; o = type: default: lib.mkOption { inherit type default; }; t = lib.types; }) files;
  modules = map (e: { _file = e.file or "contract"; inherit (e) options; }) entries;

  # [ path … ] of every option in a set of them
  paths = options:
    lib.concatMap (
      n:
      let v = options.${n}; in
      if v._type or "" == "option" then [ [ n ] ] else map (p: [ n ] ++ p) (paths v)
    ) (lib.attrNames options);
  allPaths = lib.concatMap (e: paths e.options) entries;
  # entries that say neither where they were read nor why not
  unsourced = lib.filter (e: !(e ? unread) && builtins.match "[0-9a-f]{40}" (e.commit or "") == null || !(e ? unread) && !(e ? file)) entries;
}
