# A host as the appliance describes it: hosts/NAME/host.json, facter.json and appliance.json.
# lib.mkHosts sets hatchery.{host,appliance,facterReport}; nothing here reads a file by itself.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkIf mkDefault;
  cfg = config.hatchery;
  host = cfg.host;
  address = host.address or null;
  static = address != null && address.static or false;
  k3s = host.k3s or null;
  caches = cfg.appliance.caches or [ ];
  known = schema: schema == 1;
in
{
  imports = [ ./facts.nix ];

  config = mkIf (host != { }) {
    assertions = [
      {
        assertion = known (host.schema or 0);
        message = "host.json of ${host.name or "?"} has schema ${toString (host.schema or 0)}: this Hatchery knows 1. Update the hive's hatchery input.";
      }
      {
        assertion = cfg.appliance == { } || known (cfg.appliance.schema or 0);
        message = "appliance.json has schema ${toString (cfg.appliance.schema or 0)}: this Hatchery knows 1. Update the hive's hatchery input.";
      }
    ];

    networking.hostName = mkDefault host.name;
    nixpkgs.hostPlatform = mkDefault host.system;
    hardware.facter.reportPath = mkIf (cfg.facterReport != null) cfg.facterReport;

    # Enough to find the disk whatever the machine is; nixpkgs' own list lacks virtual machines and USB.
    boot.initrd.availableKernelModules = [ "virtio_pci" "virtio_blk" "virtio_scsi" "xhci_pci" "usb_storage" "uas" ];
    hardware.enableRedistributableFirmware = mkDefault true;

    # Which boot loader: what firmware stage-0 found itself on.
    boot.loader.systemd-boot.enable = mkDefault (host.firmware == "uefi");
    # No boot entry of ours: the firmware keeps asking the network first, and the appliance sends it to
    # its own disk. Turn it on for machines that are to forget the appliance.
    boot.loader.efi.canTouchEfiVariables = mkDefault false;
    boot.loader.grub.enable = mkDefault (host.firmware == "bios");
    boot.loader.timeout = mkDefault 1;

    # The appliance plants the host key at every install, so that a host keeps its identity.
    services.openssh = {
      enable = true;
      hostKeys = mkDefault [ { type = "ed25519"; path = "/etc/ssh/ssh_host_ed25519_key"; } ];
      settings = {
        PasswordAuthentication = mkDefault false;
        KbdInteractiveAuthentication = mkDefault false;
        PermitRootLogin = mkDefault "prohibit-password";
      };
    };
    users.users.root.openssh.authorizedKeys.keys = cfg.appliance.sshKeys or [ ];

    # What the appliance has in its store need not be downloaded again; when it is away nix goes on without it.
    nix.settings = mkIf (caches != [ ]) {
      substituters = map (c: c.url) caches;
      trusted-public-keys = map (c: c.publicKey) caches;
      connect-timeout = mkDefault 5;
    };

    # Addresses: by MAC, so that no interface name matters.
    networking.useNetworkd = mkDefault true;
    networking.useDHCP = mkDefault (!static);
    systemd.network.networks = mkIf static {
      "10-hatchery" = {
        matchConfig.MACAddress = host.mac;
        address = [ "${address.ip}/${toString address.prefix}" ];
        routes = lib.optional (address ? gateway) { Gateway = address.gateway; };
        dns = address.dns or [ ];
        linkConfig.RequiredForOnline = "routable";
      };
    };

    hatchery.k3s = mkIf (k3s != null) {
      role = mkDefault (if k3s.init or false then "server-init" else k3s.role);
      serverUrl = mkDefault (k3s.serverUrl or null);
      nodeIP = mkIf (address != null) (mkDefault address.ip);
    };

    system.build.hatchery = pkgs.linkFarm "hatchery-${host.name}" (
      [
        { name = "toplevel"; path = config.system.build.toplevel; }
        { name = "layout.json"; path = config.system.build.hatcheryLayout; }
      ]
      ++ lib.optional (host.plan or null != null) { name = "install"; path = config.system.build.hatcheryInstall; }
    );
  };
}
