# What the flake gives; ../flake.nix only names the inputs.
{ self, nixpkgs, disko, nixos-anywhere, ... }:
let
  inherit (nixpkgs) lib;
  systems = [ "x86_64-linux" "aarch64-linux" ];
  eachSystem = f: lib.genAttrs systems (system: f system nixpkgs.legacyPackages.${system});
  hatcheryLib = import ./lib { inherit self nixpkgs disko nixos-anywhere; };
in
{
  lib = hatcheryLib;

  nixosModules = {
    # all that an installed host needs
    default = { imports = [ disko.nixosModules.disko ./modules ]; };
    # each part by itself
    partitioning = { imports = [ disko.nixosModules.disko ./modules/partitioning ]; };
    k3s = ./modules/k3s.nix;
    staticHosts = ./modules/static-hosts.nix;
    host = ./modules/host.nix;
    # the installer that machines netboot
    stage0 = import ./stage0/module.nix { inherit self; };
    # the box that this program runs on
    appliance = import ./appliance.nix { inherit self nixos-anywhere; };
  };

  packages = eachSystem (system: pkgs: rec {
    hatchery = pkgs.callPackage ./package.nix { src = self; };
    stage0 = (hatcheryLib.stage0 { inherit system; }).directory;
    stage0-split = (hatcheryLib.stage0 { inherit system; splitStore = true; }).directory;
    stage0-iso = (hatcheryLib.stage0 { inherit system; }).iso;
    default = hatchery;
  });

  templates = rec {
    fleet = {
      path = ../internal/hive/template;
      description = "Three roles (k3s server, k3s agent with a data disk, plain host) for Hatchery";
    };
    default = fleet;
  };

  # need KVM and a substituter: nix build .#checks.x86_64-linux.NAME
  checks.x86_64-linux = lib.genAttrs [ "closure" "netboot" "split" "reinstall" "appliance" "k3s" ] (
    name: import (./tests/nixos + "/${name}.nix") { inherit self nixpkgs; system = "x86_64-linux"; }
  );

  formatter = eachSystem (_: pkgs: pkgs.nixfmt);
}
