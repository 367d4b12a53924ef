{
  description = "An installer ISO with a fixed address: nix build .#iso";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.disko.url = "github:nix-community/disko/master";
  inputs.disko.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.url = "github:staged-hive/hatchery";
  inputs.hatchery.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.inputs.disko.follows = "disko";

  outputs = { hatchery, ... }: {
    packages.x86_64-linux.iso = hatchery.lib.bootImage {
      ip = "10.0.0.11";
      prefixLength = 24;
      gateway = "10.0.0.1";
      dns = [ "10.0.0.1" ];
      rootSSHKeys = [ "ssh-ed25519 AAAA… you@laptop" ];
    };
  };
}
