{
  description = "Hosts that know each other by name without DNS";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.disko.url = "github:nix-community/disko/master";
  inputs.disko.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.url = "github:staged-hive/hatchery";
  inputs.hatchery.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.inputs.disko.follows = "disko";

  outputs = { nixpkgs, hatchery, ... }: {
    nixosConfigurations.node = nixpkgs.lib.nixosSystem {
      modules = [
        hatchery.nixosModules.staticHosts
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          networking.hostName = "node";
          networking.domain = "home.arpa";
          boot.loader.grub.enable = false;
          fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
          system.stateVersion = "26.05";
          hatchery.staticHosts = {
            # lib.mkFleet fills this from the appliance's host files
            hosts = { node = "10.0.0.11"; other = "10.0.0.12"; };
            customEntries."nas.home.arpa" = "10.0.0.5";
          };
        }
      ];
    };
  };
}
