# The nixpkgs options that our modules set, with the names and types that they have there (nixos-26.05), and nothing
# behind them. A wrong name or type in our modules shows here as it would there.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  o = type: default: mkOption { inherit type default; };
  t = types;
  user = { name, ... }: {
    options = {
      openssh.authorizedKeys.keys = o (t.listOf t.singleLineStr) [ ];
      initialHashedPassword = o (t.nullOr t.str) null;
      hashedPassword = o (t.nullOr t.str) null;
      isSystemUser = o t.bool false;
      isNormalUser = o t.bool false;
      group = o t.str "";
      extraGroups = o (t.listOf t.str) [ ];
      home = o t.str "/var/empty";
    };
  };
  fileSystem = { name, ... }: {
    options = {
      device = o (t.nullOr t.nonEmptyStr) null;
      fsType = o t.nonEmptyStr "auto";
      options = o (t.listOf t.nonEmptyStr) [ "defaults" ];
      neededForBoot = o t.bool false;
      mountPoint = o t.nonEmptyStr name;
    };
  };
  etc = { name, ... }: {
    options = {
      text = o (t.nullOr t.lines) null;
      source = mkOption { type = t.path; };
      mode = o t.str "symlink";
      enable = o t.bool true;
    };
  };
  network = {
    options = {
      matchConfig = o (t.attrsOf t.anything) { };
      linkConfig = o (t.attrsOf t.anything) { };
      networkConfig = o (t.attrsOf t.anything) { };
      address = o (t.listOf t.str) [ ];
      gateway = o (t.listOf t.str) [ ];
      dns = o (t.listOf t.str) [ ];
      routes = o (t.listOf (t.attrsOf t.anything)) [ ];
    };
  };
in
{
  options = {
    assertions = o (t.listOf t.unspecified) [ ];
    warnings = o (t.listOf t.str) [ ];
    system.build = o (t.lazyAttrsOf t.unspecified) { };
    system.stateVersion = o t.str "26.05";
    system.nixos.variant_id = o (t.nullOr t.str) null;
    nixpkgs.hostPlatform = mkOption { type = t.either t.str t.attrs; };
    hardware.facter.reportPath = o (t.nullOr t.path) null;
    time.timeZone = o (t.nullOr t.str) null;
    nix.settings = o (t.attrsOf t.anything) { };
    environment.etc = o (t.attrsOf (t.submodule etc)) { };
    environment.systemPackages = o (t.listOf t.package) [ ];
    fileSystems = o (t.attrsOf (t.submodule fileSystem)) { };
    swapDevices = o (t.listOf t.attrs) [ ];
    boot = {
      kernelParams = o (t.listOf t.str) [ ];
      kernelModules = o (t.listOf t.str) [ ];
      supportedFilesystems = o (t.either (t.listOf t.str) (t.attrsOf t.bool)) [ ];
      initrd.availableKernelModules = o (t.listOf t.str) [ ];
      initrd.kernelModules = o (t.listOf t.str) [ ];
      initrd.luks.devices = o (t.attrsOf t.anything) { };
      initrd.services.lvm.enable = o t.bool false;
      swraid.enable = o t.bool false;
      swraid.mdadmConf = o t.lines "";
      kernel.sysctl = o (t.attrsOf t.anything) { };
      zfs = o (t.attrsOf t.anything) { };
      loader = {
        timeout = o (t.nullOr t.int) 5;
        systemd-boot.enable = o t.bool false;
        efi.canTouchEfiVariables = o t.bool false;
        grub.enable = o t.bool true;
        grub.devices = o (t.listOf t.str) [ ];
      };
    };
    networking = {
      hostName = o t.str "nixos";
      domain = o (t.nullOr t.str) null;
      hosts = o (t.attrsOf (t.listOf t.str)) { };
      useNetworkd = o t.bool false;
      useDHCP = o t.bool true;
      firewall.enable = o t.bool true;
      firewall.allowedTCPPorts = o (t.listOf t.port) [ ];
      firewall.allowedUDPPorts = o (t.listOf t.port) [ ];
    };
    systemd.network.networks = o (t.attrsOf (t.submodule network)) { };
    systemd.services = o (t.attrsOf t.anything) { };
    systemd.tmpfiles.rules = o (t.listOf t.str) [ ];
    services.openssh = {
      enable = o t.bool false;
      hostKeys = o (t.listOf t.attrs) [ ];
      settings = o (t.attrsOf t.anything) { };
    };
    systemd.network.wait-online.anyInterface = o t.bool false;
    systemd.network.config.networkConfig = o (t.attrsOf t.anything) { };
    systemd.network.enable = o t.bool false;
    users.mutableUsers = o t.bool true;
    users.allowNoPasswordLogin = o t.bool false;
    documentation.enable = o t.bool true;
    documentation.nixos.enable = o t.bool true;
    nix.package = o t.package { type = "derivation"; name = "nix"; outPath = "/usr"; };
    nix.registry = o (t.attrsOf t.attrs) { };
    nix.channel.enable = o t.bool true;
    system.extraDependencies = o (t.listOf t.path) [ ];
    system.nixos.label = o t.str "26.05.stub";
    system.boot.loader.kernelFile = o t.str "bzImage";
    environment.defaultPackages = o (t.listOf t.package) [ ];
    programs.nano.enable = o t.bool true;
    programs.command-not-found.enable = o t.bool true;
    services.udisks2.enable = o t.bool false;
    fonts.fontconfig.enable = o t.bool true;
    xdg.mime.enable = o t.bool true;
    hardware.enableRedistributableFirmware = o t.bool false;
    users.users = o (t.attrsOf (t.submodule user)) { };
    users.groups = o (t.attrsOf t.attrs) { };
  };
}
