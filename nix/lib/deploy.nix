# Installing and formatting by hand, without the appliance: scripts to `nix run`.
{ lib, nixpkgs, disko, nixos-anywhere, mergeDiskoDevices }:
let
  inherit (lib) escapeShellArg escapeShellArgs;
  systemOf = config: let p = config.nixpkgs.hostPlatform; in if builtins.isString p then p else p.system;
  checkIp = ip:
    if builtins.match "[A-Za-z0-9.:_-]+" ip == null
    then throw "`${ip}` is no address or host name" else ip;
in
{
  # Installs a NixOS configuration on the machine at `ip`. The persistent disks are kept unless wipePersistentStorage
  # is set; that asks for the host's name first. `system`: what the script itself runs on.
  deploy = { config, ip, wipePersistentStorage ? false, extraArgs ? [ ], system ? systemOf config }:
    let
      pkgs = nixpkgs.legacyPackages.${system};
      build = config.system.build;
      script = if wipePersistentStorage then build.hatcheryInstallWipe else build.hatcheryInstall;
      name = config.networking.hostName;
      target = "root@${checkIp ip}";
    in
    pkgs.writeShellApplication {
      name = "deploy";
      runtimeInputs = [ nixos-anywhere.packages.${system}.default ];
      text = lib.optionalString wipePersistentStorage ''
        echo ${escapeShellArg "This wipes EVERY disk of ${name} at ${ip}, the persistent ones too:"}
        ${lib.concatMapStringsSep "\n" (d: "echo ${escapeShellArg "  ${d.name}: ${d.device}"}") (lib.attrValues config.partitioning.persistent.disk)}
        read -rp ${escapeShellArg "Type the host's name to go on: "} answer
        [ "$answer" = ${escapeShellArg name} ] || { echo "Nothing was done." >&2; exit 1; }
      '' + ''
        exec nixos-anywhere --store-paths ${script} ${build.toplevel} ${escapeShellArgs extraArgs} "$@" ${escapeShellArg target}
      '';
    };

  # Destroys and formats the given device sets on the machine at `ip`, after showing what is there.
  formatScript = { ip, sshArgs ? [ ], system ? "x86_64-linux" }: deviceSets:
    let
      pkgs = nixpkgs.legacyPackages.${system};
      merged = mergeDiskoDevices deviceSets;
      devices = (lib.evalModules {
        modules = [ { options.devices = lib.mkOption { type = disko.lib.toplevel; }; config.devices = merged.devices; } ];
      }).config.devices;
      scripts = devices._scripts { inherit pkgs; checked = false; };
      target = "root@${checkIp ip}";
      paths = lib.mapAttrsToList (_: d: d.device) devices.disk;
      ssh = "ssh ${escapeShellArgs sshArgs} ${escapeShellArg target}";
    in
    pkgs.writeShellApplication {
      name = "format";
      runtimeInputs = [ pkgs.openssh pkgs.nix ];
      text = ''
        name=$(${ssh} hostname)
        echo "These disks of $name at ${ip} lose all that is on them:"
        for d in ${escapeShellArgs (map escapeShellArg paths)}; do # quoted twice: the machine's shell reads them too
          ${ssh} lsblk -dno PATH,MODEL,SERIAL,SIZE "$d" || { echo "$d is not there. Nothing was done." >&2; exit 20; }
        done
        read -rp "Type the machine's name ($name) to go on: " answer
        [ -n "$name" ] && [ "$answer" = "$name" ] || { echo "Nothing was done." >&2; exit 1; }
        NIX_SSHOPTS=${escapeShellArg (escapeShellArgs sshArgs)} nix --extra-experimental-features nix-command copy --to ${escapeShellArg "ssh://${target}"} ${scripts.destroy} ${scripts.format}
        ${ssh} "${scripts.destroy}/bin/disko-destroy --yes-wipe-all-disks && ${scripts.format}/bin/disko-format"
      '';
    };
}
