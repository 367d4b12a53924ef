# What hives and people call: `hatchery.lib.…`.
{ self, nixpkgs, disko, nixos-anywhere }:
let
  inherit (nixpkgs) lib;
  hosts = import ./hosts.nix { inherit self nixpkgs; };
  deploy = import ./deploy.nix { inherit lib nixpkgs disko nixos-anywhere mergeDiskoDevices; };
  images = import ./images.nix { inherit self nixpkgs; };
  mergeDiskoDevices = import ./merge.nix { inherit lib; };
in
{
  inherit mergeDiskoDevices;
  inherit (hosts) mkHosts mkFleet colmenaHive readHosts;
  inherit (deploy) deploy formatScript;
  inherit (images) bootImage stage0;
  # host files → { text, json }
  summary = dir: import ./summary.nix { inherit lib; } (hosts.readHosts dir);
}
