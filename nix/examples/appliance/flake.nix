{
  description = "The box that Hatchery runs on, as a NixOS host";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.disko.url = "github:nix-community/disko/master";
  inputs.disko.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.url = "github:staged-hive/hatchery";
  inputs.hatchery.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.inputs.disko.follows = "disko";

  outputs = { nixpkgs, hatchery, ... }: {
    nixosConfigurations.box = nixpkgs.lib.nixosSystem {
      modules = [
        hatchery.nixosModules.appliance
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          networking.hostName = "box";
          boot.loader.grub.enable = false;
          fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
          system.stateVersion = "26.05";

          services.hatchery = {
            enable = true;
            settings = {
              interfaces = [ "eno1" ];
              # beside the router's DHCP server only boot answers are given; a range makes it a server where nobody else is one
              dhcp_range = "192.168.1.100-192.168.1.150";
              # a hive of your own; without it one is begun from the template
              # hive = "git@git.example.org:me/hive.git";
              ssh_keys = [ "ssh-ed25519 AAAA… you@laptop" ];
            };
            # a faster machine builds
            builders = [ { hostName = "big.lan"; systems = [ "x86_64-linux" ]; sshUser = "builder"; sshKey = "/root/.ssh/builder"; maxJobs = 8; } ];
          };
        }
      ];
    };
  };
}
