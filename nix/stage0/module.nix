# The installer that machines netboot: small, key-only SSH, the agent, disko's tools. What makes it a netboot image or
# an ISO is in netboot.nix and iso.nix.
{ self }:
{ config, lib, pkgs, modulesPath, ... }:
let
  inherit (lib) mkOption mkIf mkForce mkDefault types;
  cfg = config.hatchery.stage0;
  system = pkgs.stdenv.hostPlatform.system;
in
{
  imports = [
    (modulesPath + "/profiles/minimal.nix")
    (modulesPath + "/installer/scan/not-detected.nix")
    ./small.nix
  ];

  options.hatchery.stage0 = {
    agent = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to run hatchery-agent, which checks in at the appliance.";
    };
    package = mkOption {
      type = types.package;
      default = self.packages.${system}.hatchery;
      defaultText = "this flake's hatchery";
      description = "Where hatchery-agent comes from.";
    };
    serialConsole = mkOption {
      type = types.str;
      default = if pkgs.stdenv.hostPlatform.isAarch64 then "ttyAMA0,115200" else "ttyS0,115200n8";
      defaultText = "ttyS0,115200n8 (aarch64: ttyAMA0,115200)";
      description = "The serial line that is a console beside the screen, as the kernel names it.";
    };
  };

  config = {
    networking.hostName = mkDefault "stage0";
    # what nixos-anywhere looks for to know an installer
    system.nixos.variant_id = "installer";
    system.stateVersion = mkDefault lib.trivial.release;

    # --- access: keys only, and nobody has an empty password
    services.openssh = {
      enable = true;
      hostKeys = [ { type = "ed25519"; path = "/etc/ssh/ssh_host_ed25519_key"; } ];
      settings = {
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        PermitRootLogin = "prohibit-password";
      };
    };
    users.users.root.initialHashedPassword = mkForce "!";
    users.allowNoPasswordLogin = true;

    # --- network: every wired interface by DHCP
    networking.useNetworkd = true;
    networking.useDHCP = mkDefault true;
    networking.firewall.enable = false;
    systemd.network.wait-online.anyInterface = true;
    # a personalised ISO's agent may set a fixed address itself
    systemd.network.config.networkConfig.ManageForeignRoutes = false;

    # --- what an install needs on the machine; nixos-install and nixos-enter are there by system.tools
    environment.systemPackages = with pkgs; [
      nixos-facter
      jq
      util-linux
      gptfdisk
      parted
      dosfstools
      e2fsprogs
      btrfs-progs
      xfsprogs
      lvm2
      mdadm
      cryptsetup
      efibootmgr
      cpio
      rsync
    ];
    boot.supportedFilesystems = [ "ext4" "vfat" "btrfs" "xfs" ];
    boot.swraid.enable = true;
    boot.swraid.mdadmConf = "PROGRAM ${pkgs.coreutils}/bin/true";
    # not loaded by itself when an array is made
    boot.kernelModules = [ "dm-raid" ];
    boot.kernel.sysctl."vm.overcommit_memory" = "1";
    nix.settings.experimental-features = [ "nix-command" "flakes" ];
    hardware.enableRedistributableFirmware = mkDefault true;

    # both consoles, the screen last: there the agent shows name, address, state and the QR code
    boot.kernelParams = [ "console=${cfg.serialConsole}" "console=tty0" "panic=30" ];

    # --- the agent: never gives up, whatever the network does
    systemd.services.hatchery-agent = mkIf cfg.agent {
      description = "Hatchery agent: tells the appliance what this machine is";
      wantedBy = [ "multi-user.target" ];
      after = [ "sshd.service" "network.target" ];
      wants = [ "sshd.service" ];
      path = [ pkgs.util-linux pkgs.iproute2 ];
      startLimitIntervalSec = 0;
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/hatchery-agent";
        Restart = "always";
        RestartSec = 2;
        StandardOutput = "journal+console";
        StandardError = "journal+console";
      };
    };
  };
}
