{
  description = "One machine with a system disk and a data disk, installed by hand: nix run .#deploy";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.disko.url = "github:nix-community/disko/master";
  inputs.disko.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.url = "github:staged-hive/hatchery";
  inputs.hatchery.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.inputs.disko.follows = "disko";

  outputs = { nixpkgs, hatchery, ... }:
    let
      system = "x86_64-linux";
      bootDisk = {
        disk.os = {
          device = "/dev/disk/by-id/nvme-EXAMPLE_SSD_1234";
          content = {
            type = "gpt";
            partitions = {
              esp = { type = "EF00"; size = "512M"; content = { type = "filesystem"; format = "vfat"; mountpoint = "/boot"; }; };
              root = { size = "100%"; content = { type = "filesystem"; format = "ext4"; mountpoint = "/"; }; };
            };
          };
        };
      };
      dataDisk = {
        disk.data = {
          device = "/dev/disk/by-id/ata-EXAMPLE_HDD_5678";
          content = {
            type = "gpt";
            partitions.data = { size = "100%"; content = { type = "filesystem"; format = "ext4"; mountpoint = "/data"; }; };
          };
        };
      };
      node = nixpkgs.lib.nixosSystem {
        modules = [
          hatchery.nixosModules.default
          {
            nixpkgs.hostPlatform = system;
            networking.hostName = "node";
            boot.loader.systemd-boot.enable = true;
            boot.loader.grub.enable = false;
            services.openssh.enable = true;
            users.users.root.openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA… you@laptop" ];
            system.stateVersion = "26.05";

            # formatted at every install
            partitioning.ephemeral = (hatchery.lib.mergeDiskoDevices [ bootDisk ]).devices;
            # formatted only when blank
            partitioning.persistent = (hatchery.lib.mergeDiskoDevices [ dataDisk ]).devices;
          }
        ];
      };
    in
    {
      nixosConfigurations.node = node;
      packages.${system} = {
        # installs and keeps the data disk
        deploy = hatchery.lib.deploy { inherit (node) config; ip = "10.0.0.11"; };
        # installs and wipes the data disk too, after asking
        deploy-wipe = hatchery.lib.deploy { inherit (node) config; ip = "10.0.0.11"; wipePersistentStorage = true; };
      };
    };
}
