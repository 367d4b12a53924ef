# What hives and people call: `hatchery.lib.…`.
{ self, nixpkgs, disko, nixos-anywhere }:
let
  inherit (nixpkgs) lib;
  hosts = import ./hosts.nix { inherit self nixpkgs; };
in
{
  inherit (hosts) mkHosts mkFleet colmenaHive readHosts;
  mergeDiskoDevices = import ./merge.nix { inherit lib; };
}
