# Stands for testers.runNixOSTest: evaluates every node, so that a wrong option or name shows, and gives the test's script. Nothing runs.
{ lib, system }:
{ name, nodes, testScript }:
let
  nixpkgs = (import ./flake.nix).outputs { self = null; };
  o = type: lib.mkOption { inherit type; default = null; };
  t = lib.types;
  framework = node: {
    options.virtualisation = lib.genAttrs [ "vlans" "memorySize" "diskSize" "writableStore" "additionalPaths" "emptyDiskImages" ] (_: o t.raw);
    options.networking.primaryIPAddress = lib.mkOption { type = t.str; default = "192.168.1.1"; };
    options.networking.interfaces = lib.mkOption { type = t.attrsOf t.anything; default = { }; };
    options.services.k3s.package = lib.mkOption { type = t.raw; default = { airgap-images = { type = "derivation"; name = "images"; outPath = "/usr"; }; }; };
    options.services.k3s.images = lib.mkOption { type = t.listOf t.package; default = [ ]; };
    config.networking.hostName = lib.mkDefault node;
    config.nixpkgs.hostPlatform = lib.mkDefault system;
    config.fileSystems."/".device = "/dev/vda";
    config.boot.loader.grub.enable = false;
  };
  configs = lib.mapAttrs (node: module: (nixpkgs.lib.nixosSystem { modules = [ module (framework node) ]; specialArgs = { nodes = configs; }; }).config) nodes;
  pkgs = import ./pkgs.nix { inherit lib system; };
in
pkgs.writeText "${name}.py" testScript // { nodes = lib.mapAttrs (_: c: c.system.build.toplevel) configs; script = testScript; }
