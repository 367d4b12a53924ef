# services.hatchery: the box that this program runs on.
{ self, nixos-anywhere }:
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption mkEnableOption mkIf types;
  cfg = config.services.hatchery;
  system = pkgs.stdenv.hostPlatform.system;
  toml = pkgs.formats.toml { };
  port = address: lib.toInt (lib.last (lib.splitString ":" address));
  # what firmware loads first; the names are those that Debian's ipxe package has too
  ipxeFiles = pkgs.runCommand "hatchery-ipxe" { } ''
    mkdir $out
    cp ${pkgs.ipxe}/undionly.kpxe ${pkgs.ipxe}/snponly.efi $out/
    cp ${pkgs.ipxe}/ipxe.efi $out/ipxe-amd64.efi
    ${lib.optionalString cfg.arm64 "cp ${pkgs.pkgsCross.aarch64-multiplatform.ipxe}/snponly.efi $out/ipxe-arm64.efi"}
  '';
  stage0 = pkgs.symlinkJoin {
    name = "hatchery-stage0";
    paths = [ self.packages.x86_64-linux.stage0 ] ++ lib.optional cfg.arm64 self.packages.aarch64-linux.stage0;
  };
  str = default: description: mkOption { type = types.str; inherit default description; };
in
{
  options.services.hatchery = {
    enable = mkEnableOption "Hatchery, which netboots bare machines into NixOS";
    package = mkOption {
      type = types.package;
      default = self.packages.${system}.hatchery;
      defaultText = "this flake's hatchery";
      description = "The program.";
    };
    arm64 = mkOption {
      type = types.bool;
      default = false;
      description = "Whether arm64 machines are served too. Building their stage-0 needs an arm64 builder or emulation (boot.binfmt.emulatedSystems).";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to open UDP 67, 69 and 4011 and the TCP ports of the boot listener and the page.";
    };
    settings = mkOption {
      default = { };
      description = "hatchery's configuration file; the keys are those of `hatchery serve --help` with underscores.";
      type = types.submodule {
        freeformType = toml.type;
        options = {
          interfaces = mkOption {
            type = types.listOf types.str;
            default = [ ];
            example = [ "eno1" ];
            description = "Interfaces to serve; none: every one with a private IPv4 address.";
          };
          dhcp = mkOption {
            type = types.enum [ "auto" "proxy" "server" "off" ];
            default = "auto";
            description = "auto: beside another DHCP server only the boot answers; a server by itself only with dhcp_range and where nobody else answers.";
          };
          dhcp_range = mkOption {
            type = types.nullOr types.str;
            default = null;
            example = "10.0.0.100-10.0.0.199";
            description = "Addresses to lease in server mode.";
          };
          discovery = mkOption {
            type = types.enum [ "once" "always" "off" ];
            default = "once";
            description = "Who gets stage-0 unasked.";
          };
          boot_addr = str ":8080" "Where boot files are served (plain HTTP).";
          web_addr = str ":8443" "Where the page and the API are (HTTPS).";
          ssh_keys = mkOption {
            type = types.listOf types.str;
            default = [ ];
            description = "Further SSH keys that may log in to stage-0 and to every installed host.";
          };
        };
      };
    };
  };

  config = mkIf cfg.enable {
    services.hatchery.settings = {
      data = lib.mkDefault "/var/lib/hatchery";
      ipxe = lib.mkDefault "${ipxeFiles}";
      stage0 = lib.mkDefault "${stage0}";
      # hives are evaluated with the modules of this very version
      nix_args = lib.mkDefault [ "--override-input" "hatchery" "path:${self}" ];
      nixos_anywhere = lib.mkDefault "${nixos-anywhere.packages.${system}.default}/bin/nixos-anywhere";
    };

    users.users.hatchery = {
      isSystemUser = true;
      group = "hatchery";
      home = "/var/lib/hatchery";
    };
    users.groups.hatchery = { };

    # builds go through the daemon; buildMachines and substituters of this machine apply
    nix.settings = {
      experimental-features = [ "nix-command" "flakes" ];
      allowed-users = [ "hatchery" ];
    };

    environment.systemPackages = [ cfg.package ];

    networking.firewall = mkIf cfg.openFirewall {
      allowedUDPPorts = [ 67 69 4011 ];
      allowedTCPPorts = [ (port cfg.settings.boot_addr) (port cfg.settings.web_addr) ];
    };

    systemd.services.hatchery = {
      description = "Hatchery: bare machines become NixOS hosts";
      wantedBy = [ "multi-user.target" ];
      after = [ "network-online.target" "nix-daemon.socket" ];
      wants = [ "network-online.target" ];
      path = [ config.nix.package pkgs.git pkgs.openssh pkgs.gnutar pkgs.gzip ];
      environment.HOME = "/var/lib/hatchery";
      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/bin/hatchery serve --config ${toml.generate "hatchery.toml" (lib.filterAttrs (_: v: v != null) cfg.settings)}";
        Restart = "on-failure";
        RestartSec = 2;
        User = "hatchery";
        Group = "hatchery";
        StateDirectory = "hatchery";
        StateDirectoryMode = "0700";
        # ports 67, 69 and 4011, and DHCP replies to machines without an address
        AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" "CAP_NET_RAW" ];
        CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" "CAP_NET_RAW" ];
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectHostname = true;
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_NETLINK" "AF_PACKET" "AF_UNIX" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        LockPersonality = true;
        MemoryDenyWriteExecute = false; # nix evaluates in this unit
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" ];
        UMask = "0077";
      };
    };
  };
}
