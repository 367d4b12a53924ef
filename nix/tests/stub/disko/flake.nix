# Stands for disko in tests without internet: GPT with file systems and swap, the same option names, the same
# outputs. With the real disko in a folder real/ its library is used instead, behind the same small module.
{
  inputs.nixpkgs.url = "path:../nixpkgs";
  outputs = { self, nixpkgs }:
    let
      diskoLib = lib:
        if builtins.pathExists ./real
        then import ./real/lib { inherit lib; makeTest = null; eval-config = null; qemu-common = null; }
        else import ./lib.nix { inherit lib; };
    in
    {
      lib = diskoLib nixpkgs.lib;
      nixosModules.disko = { config, lib, pkgs, diskoLib, ... }: {
        _file = "disko";
        options.disko.devices = lib.mkOption {
          type = diskoLib.toplevel;
          default = { };
          description = "The devices to set up";
        };
        config = {
          _module.args.diskoLib = self.diskoLibFor lib;
          system.build = config.disko.devices._scripts { inherit pkgs; checked = false; };
          fileSystems = config.disko.devices._config.fileSystems or { };
          boot = config.disko.devices._config.boot or { };
          swapDevices = config.disko.devices._config.swapDevices or [ ];
        };
      };
      nixosModules.default = self.nixosModules.disko;
      diskoLibFor = diskoLib;
    };
}
