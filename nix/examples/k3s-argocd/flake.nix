{
  description = "A k3s server that deploys Argo CD, and an agent; tokens are files on the machines";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.disko.url = "github:nix-community/disko/master";
  inputs.disko.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.url = "github:staged-hive/hatchery";
  inputs.hatchery.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.inputs.disko.follows = "disko";

  outputs = { nixpkgs, hatchery, ... }:
    let
      machine = name: module: nixpkgs.lib.nixosSystem {
        modules = [
          hatchery.nixosModules.k3s
          {
            nixpkgs.hostPlatform = "x86_64-linux";
            networking.hostName = name;
            boot.loader.grub.enable = false;
            fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
            system.stateVersion = "26.05";
          }
          module
        ];
      };
    in
    {
      nixosConfigurations.server = machine "server" {
        hatchery.k3s = {
          role = "server-init";
          # /var/lib/hatchery/k3s-token and k3s-agent-token: planted by the appliance, or by you
          disable = [ "traefik" ];
          taints = [ "node-role.kubernetes.io/control-plane:NoSchedule" ];
          manifests = [ ./argocd.yaml ];
        };
      };
      nixosConfigurations.agent = machine "agent" {
        hatchery.k3s = {
          role = "agent";
          serverUrl = "https://10.0.0.11:6443";
          labels."hatchery/role" = "worker";
        };
      };
    };
}
