# Kernel and initrd: system.build.{kernel,netbootRamdisk}, the store inside. With `hatchery.stage0.splitStore` the store is a file
# of its own (system.build.squashfsStore): iPXE carries only a small initrd, and Linux fetches the rest, which it does faster, with
# retries, and compares it with the digest on the kernel command line. The price: the machine's network driver must be in the initrd.
{ config, lib, pkgs, modulesPath, ... }:
let
  inherit (lib) mkOption mkIf mkDefault types;
  split = config.hatchery.stage0.splitStore;
  arch = lib.removeSuffix "-linux" pkgs.stdenv.hostPlatform.system;
in
{
  imports = [ (modulesPath + "/installer/netboot/netboot.nix") ];

  options.hatchery.stage0.splitStore = mkOption {
    type = types.bool;
    default = false;
    description = "Whether the Nix store is a file of its own beside the initrd, fetched by Linux. Needs the network driver in the initrd: see netDrivers.";
  };
  options.hatchery.stage0.netDrivers = mkOption {
    type = types.listOf types.str;
    default = [ "virtio_net" "e1000" "e1000e" "igb" "igc" "ixgbe" "i40e" "ice" "r8169" "tg3" "bnxt_en" "mlx4_en" "mlx5_core" "atlantic" ];
    description = "Network drivers that a split image has in its initrd.";
  };

  config = lib.mkMerge [
    {
      # fast to unpack on small machines; level 19 costs build time only
      netboot.squashfsCompression = mkDefault "zstd -Xcompression-level 19";
    }
    (mkIf split {
      boot.initrd.availableKernelModules = config.hatchery.stage0.netDrivers;
      boot.initrd.systemd = {
        enable = true;
        network = {
          enable = true;
          networks."10-wired" = {
            matchConfig.Type = "ether";
            networkConfig.DHCP = "ipv4";
          };
        };
        extraBin.curl = "${pkgs.curl}/bin/curl";
        services.hatchery-store = {
          description = "Fetch the Nix store of stage-0 from the appliance";
          requiredBy = [ "sysroot-nix-.ro\\x2dstore.mount" ];
          before = [ "sysroot-nix-.ro\\x2dstore.mount" ];
          wants = [ "network-online.target" ];
          after = [ "network-online.target" ];
          unitConfig.DefaultDependencies = false;
          serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
          # where netboot.nix looks for the store
          script = ''
            for w in $(cat /proc/cmdline); do
              case $w in
                hatchery.url=*) url=''${w#*=} ;;
                hatchery.store=*) want=''${w#*=} ;;
              esac
            done
            until curl -fsS --retry 5 -o /nix-store.squashfs "$url/stage0/${arch}/store.squashfs"; do
              echo "stage-0: the Nix store does not come from $url; trying again" >/dev/console
              sleep 3
            done
            if ! echo "$want  /nix-store.squashfs" | sha256sum -c -; then
              # the appliance got another image since it named this kernel
              echo "stage-0: the Nix store at $url is another version; booting again" >/dev/console
              sleep 3
              systemctl reboot --force --force
            fi
          '';
        };
      };
    })
  ];
}
