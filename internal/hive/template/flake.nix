{
  description = "Machines that Hatchery installs";

  # flake.lock pins nixpkgs and disko to what nixos-anywhere's own public lock file has at its commit 006875f7549e
  # (20 Aug 2026; inputs nixos-stable and disko). `nix flake update` moves on.
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    disko = {
      url = "github:nix-community/disko/master";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    hatchery = {
      url = "github:staged-hive/hatchery";
      inputs.nixpkgs.follows = "nixpkgs";
      inputs.disko.follows = "disko";
    };
  };

  outputs = { self, hatchery, ... }:
    let
      fleet = hatchery.lib.mkFleet {
        # where hosts/NAME/host.json and appliance.json are; the appliance writes them
        dir = ./.;
        # what a host may become, as plain data for the appliance
        roles = import ./roles.nix;
        # the same names again: what carries the role out
        modules = {
          server = ./roles/server.nix;
          worker = ./roles/worker.nix;
          plain = ./roles/plain.nix;
        };
        # for every host
        common = [ ./common.nix ];
      };
    in
    {
      # read by the appliance: nix eval --json .#hatchery.roles
      hatchery = { inherit (fleet) roles summary; };

      # one per hosts/NAME: nixos-rebuild switch --flake .#NAME --target-host root@ADDRESS
      inherit (fleet) nixosConfigurations;

      # the same for colmena 0.4: colmena apply. Later ones want colmena as a further input above, and its own evaluator:
      #   colmenaHive = colmena.lib.makeHive self.outputs.colmena;
      colmena = fleet.colmenaHive;
    };
}
