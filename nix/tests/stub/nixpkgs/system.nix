# system.build.toplevel of the stub: with parts/ (see mkparts.sh) a system that boots from its own disk by UEFI or
# BIOS, mounts its file systems, gets its address and answers SSH; without parts a mere tree of the same shape.
{ config, lib, pkgs, ... }:
let
  name = config.networking.hostName;
  failed = builtins.filter (a: !a.assertion) config.assertions;
  checked = x:
    if failed != [ ] then throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (a: "- ${a.message}") failed}"
    else lib.foldr lib.warn x config.warnings;
  parts = n: builtins.path { path = ./parts + "/${n}"; name = n; };
  bootable = builtins.pathExists ./parts/kernel;
  mounts = lib.sort (a: b: a.mountPoint < b.mountPoint) (lib.attrValues config.fileSystems);
  static = lib.concatMap (n: map (a: "${n.matchConfig.MACAddress or "any"} ${a} ${lib.concatMapStringsSep "," (r: r.Gateway or "") n.routes}") n.address)
    (lib.attrValues config.systemd.network.networks);
  files = {
    hostname = name + "\n";
    fstab = lib.concatMapStrings (m: "${m.device} ${m.mountPoint} ${m.fsType} ${lib.concatStringsSep "," m.options}\n") mounts;
    authorized_keys = lib.concatMapStrings (k: k + "\n") (config.users.users.root.openssh.authorizedKeys.keys or [ ]);
    hosts = "127.0.0.1 localhost\n" + lib.concatStrings (lib.mapAttrsToList (a: ns: "${a} ${lib.concatStringsSep " " ns}\n") config.networking.hosts);
    network = lib.concatMapStrings (l: l + "\n") static;
    k3s = builtins.toJSON { inherit (config.services.k3s) enable role clusterInit serverAddr tokenFile agentTokenFile nodeIP nodeLabel disable; };
  };
  root = config.fileSystems."/".device or "none";
  kernelParams = lib.concatStringsSep " " ([ "console=tty0" "console=ttyS0" "loglevel=4" "root=${root}" ] ++ config.boot.kernelParams);
  tree = lib.concatStrings (lib.mapAttrsToList (n: _: "cp \"\$${n}Path\" \$out/stub/${n}\n") files);
  system = if builtins.isString config.nixpkgs.hostPlatform then config.nixpkgs.hostPlatform else config.nixpkgs.hostPlatform.system;
  bare = ''
    mkdir -p $out/stub $out/bin
    ${tree}
    printf %s ${system} > $out/system
    printf 26.05-stub > $out/nixos-version
  '';
in
{
  system.build.toplevel = checked (
    if !bootable then pkgs.run "nixos-system-${name}-26.05-stub" (files // { passAsFile = lib.attrNames files; }) bare
    else
      pkgs.run "nixos-system-${name}-26.05-stub" (
        files
        // {
          passAsFile = lib.attrNames files;
          inherit kernelParams;
          bb = pkgs.busybox;
          fhs = parts "fhs";
          initrd = parts "initrd";
          kernel = parts "kernel";
          loader = parts "loader";
          modules = parts "modules";
          firmware = if config.boot.loader.systemd-boot.enable then "uefi" else "bios";
          grubDevices = toString config.boot.loader.grub.devices;
        }
      ) (bare + builtins.readFile ./toplevel.sh)
  );
}
