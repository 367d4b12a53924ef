# services.hatchery: the box that this program runs on. The settings are in appliance-settings.nix.
{ self, nixos-anywhere }:
{ config, options, lib, pkgs, ... }:
let
  inherit (lib) mkOption mkEnableOption mkIf mkDefault types;
  cfg = config.services.hatchery;
  system = pkgs.stdenv.hostPlatform.system;
  toml = pkgs.formats.toml { };
  port = address: lib.toInt (lib.last (lib.splitString ":" address));
  cacheKeys = "/var/lib/hatchery-cache";

  # What firmware loads first, under the names that Debian's ipxe package has too. nixpkgs builds neither snponly.efi nor our script
  # into its iPXE by itself.
  ipxe = p: p.ipxe.override {
    embedScript = ./fallback.ipxe;
    additionalTargets."bin-${if p.stdenv.hostPlatform.isAarch64 then "arm64" else "x86_64"}-efi/snponly.efi" = null;
  };
  ipxeX86 = ipxe (if pkgs.stdenv.hostPlatform.isx86_64 then pkgs else pkgs.pkgsCross.gnu64);
  ipxeArm = ipxe (if pkgs.stdenv.hostPlatform.isAarch64 then pkgs else pkgs.pkgsCross.aarch64-multiplatform);
  ipxeFiles = pkgs.runCommand "hatchery-ipxe" { } ''
    mkdir $out
    cp ${ipxeX86}/undionly.kpxe ${ipxeX86}/snponly.efi $out/
    cp ${ipxeX86}/ipxe.efi $out/ipxe-amd64.efi
    ${lib.optionalString cfg.arm64 "cp ${ipxeArm}/snponly.efi $out/ipxe-arm64.efi"}
  '';
  stage0 = pkgs.symlinkJoin {
    name = "hatchery-stage0";
    paths = [ self.packages.x86_64-linux.stage0 ] ++ lib.optional cfg.arm64 self.packages.aarch64-linux.stage0;
  };
  harmonia = {
    enable = true;
    signKeyPaths = [ "${cacheKeys}/secret" ];
    settings = {
      bind = "[::]:${toString cfg.binaryCache.port}";
      priority = 30; # before cache.nixos.org, which says 40
    };
  };
  # what a key leaves to the program's own default is not written
  written = lib.filterAttrs (_: v: v != null && v != [ ]) cfg.settings;
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
      description = "Whether to open UDP 67, 69 and 4011 and the TCP ports of the boot listener, the page and the binary cache.";
    };
    settings = mkOption {
      default = { };
      description = "hatchery's configuration file. A key that is not known is an error when the system is built.";
      type = types.submodule { options = import ./appliance-settings.nix { inherit lib; }; };
    };
    configFile = mkOption {
      type = types.package;
      readOnly = true;
      default = toml.generate "hatchery.toml" written;
      defaultText = "the settings as TOML";
      description = "The rendered settings. They are in the Nix store, so no key holds a secret.";
    };
    binaryCache = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = ''
          Whether to serve this machine's Nix store to the installed hosts (harmonia), so that what one of them needs is downloaded once.
          Installs themselves copy from here anyway. Anybody in the LAN who knows a store path's hash can read it; the paths are signed with a key
          made on this machine, which the hosts learn by appliance.json.
        '';
      };
      port = mkOption {
        type = types.port;
        default = 5000;
        description = "TCP port of the binary cache.";
      };
    };
    builders = mkOption {
      type = types.listOf types.attrs;
      default = [ ];
      example = [ { hostName = "big.lan"; systems = [ "x86_64-linux" "aarch64-linux" ]; sshUser = "builder"; sshKey = "/root/.ssh/builder"; maxJobs = 8; } ];
      description = "Remote builders, handed to nix.buildMachines as they are: builds go through the daemon, which logs in there as root of this machine.";
    };
  };

  config = mkIf cfg.enable {
    services.hatchery.settings = {
      ipxe = mkDefault "${ipxeFiles}";
      stage0 = mkDefault "${stage0}";
      # hives are evaluated with the modules of this very version
      nix_args = mkDefault [ "--override-input" "hatchery" "path:${self}" ];
      nixos_anywhere = mkDefault "${nixos-anywhere.packages.${system}.default}/bin/nixos-anywhere";
      cache_key_file = mkIf cfg.binaryCache.enable (mkDefault "${cacheKeys}/public");
      cache_port = mkIf cfg.binaryCache.enable (mkDefault cfg.binaryCache.port);
    };

    users.users.hatchery = {
      isSystemUser = true;
      group = "hatchery";
      home = "/var/lib/hatchery";
    };
    users.groups.hatchery = { };

    # Builds go through the daemon: substituters and builders of this machine apply, and no trust is needed.
    nix.settings.experimental-features = [ "nix-command" "flakes" ];
    nix.settings.extra-allowed-users = [ "hatchery" ];
    nix.distributedBuilds = mkIf (cfg.builders != [ ]) true;
    nix.buildMachines = cfg.builders;

    environment.systemPackages = [ cfg.package ];

    networking.firewall = mkIf cfg.openFirewall {
      allowedUDPPorts = [ 67 69 4011 ];
      allowedTCPPorts = map port [ cfg.settings.boot_addr cfg.settings.web_addr ] ++ lib.optional cfg.binaryCache.enable cfg.binaryCache.port;
    };

    # nixpkgs moved harmonia's options into services.harmonia.cache
    services.harmonia = mkIf cfg.binaryCache.enable (if options.services.harmonia ? cache then { cache = harmonia; } else harmonia);
    systemd.services.hatchery-cache-key = mkIf cfg.binaryCache.enable {
      description = "Make the key that the LAN's binary cache signs with";
      before = [ "harmonia.service" "hatchery.service" ];
      requiredBy = [ "harmonia.service" ];
      wantedBy = [ "hatchery.service" ]; # harmonia may be started by the first download only (harmonia.socket)
      unitConfig.ConditionPathExists = "!${cacheKeys}/public";
      path = [ config.nix.package ];
      serviceConfig = {
        Type = "oneshot";
        StateDirectory = "hatchery-cache";
        StateDirectoryMode = "0755";
        UMask = "0077";
      };
      script = ''
        cd ${cacheKeys}
        nix-store --generate-binary-cache-key "$(cat /proc/sys/kernel/hostname)-hatchery-1" secret public.new
        chmod 444 public.new
        mv public.new public
      '';
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
        WatchdogSec = "60s";
        ExecStart = "${cfg.package}/bin/hatchery serve --config ${cfg.configFile}";
        Restart = "always";
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
        ProtectProc = "invisible";
        PrivateMounts = true;
        RemoveIPC = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        LockPersonality = true;
        MemoryDenyWriteExecute = false; # nix evaluates in this unit
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "landlock_create_ruleset" "landlock_add_rule" "landlock_restrict_self" ];
        SystemCallErrorNumber = "EPERM";
        UMask = "0077";
        LimitNOFILE = 65536;
      };
    };
  };
}
