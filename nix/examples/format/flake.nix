{
  description = "Formatting disks of a machine that runs an installer, without installing: nix run .#format";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.disko.url = "github:nix-community/disko/master";
  inputs.disko.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.url = "github:staged-hive/hatchery";
  inputs.hatchery.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.inputs.disko.follows = "disko";

  outputs = { hatchery, ... }: {
    packages.x86_64-linux.format = hatchery.lib.formatScript { ip = "10.0.0.11"; sshArgs = [ "-p" "22" ]; } [
      {
        disk.backup = {
          device = "/dev/disk/by-id/usb-EXAMPLE_STICK_42";
          content = {
            type = "gpt";
            partitions.backup = { size = "100%"; content = { type = "filesystem"; format = "ext4"; }; };
          };
        };
      }
    ];
  };
}
