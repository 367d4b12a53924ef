# The few packages and builders that our modules use. Every tool is a package at /usr: scripts find the target's own. Derivations
# are built by the busybox of parts/ where that was put here, else by the machine's /bin/sh.
{ lib, system }:
let
  parts = ./parts;
  busybox = if builtins.pathExists (parts + "/bb") then builtins.path { path = parts + "/bb"; name = "busybox"; } else null;
  path = if busybox == null then "/usr/local/bin:/usr/bin:/bin" else "${busybox}/bin";
  run = name: env: script:
    derivation (
      {
        inherit name system script;
        builder = if busybox == null then "/bin/sh" else "${busybox}/bin/sh";
        args = [ "-eu" "-c" ". \"$scriptPath\"" ];
        PATH = path;
        passAsFile = [ "script" ] ++ (env.passAsFile or [ ]);
      }
      // removeAttrs env [ "passAsFile" ]
    );
  write = name: executable: destination: text:
    run name { inherit text destination; passAsFile = [ "text" ]; } ''
      mkdir -p "$(dirname "$out$destination")"
      cp "$textPath" "$out$destination"
      chmod ${if executable then "555" else "444"} "$out$destination"
    '';
  tools = lib.genAttrs [
    "bash" "bcachefs-tools" "btrfs-progs" "coreutils" "coreutils-full" "cryptsetup" "dosfstools" "e2fsprogs" "f2fs-tools" "findutils"
    "cpio" "efibootmgr" "gawk" "git" "gnugrep" "gnused" "gnutar" "gptfdisk" "gzip" "iproute2" "curl" "jq" "lvm2" "makeWrapper" "mdadm" "nix"
    "nixfmt" "nixos-facter" "nixos-install-tools" "openssh" "parted" "rsync" "systemd" "systemdMinimal" "util-linux" "xfsprogs" "zfs"
  ] (name: { type = "derivation"; inherit name; outPath = "/usr"; });
  ipxe = { embedScript ? null, additionalTargets ? { }, additionalOptions ? [ ], firmwareBinary ? "" }:
    # every file is the script inside it
    run "ipxe" { embed = embedScript; targets = toString ([ "undionly.kpxe" "ipxe.efi" ] ++ lib.attrNames additionalTargets); } ''
      mkdir $out
      for t in $targets; do cp $embed $out/''${t##*/}; done
    '';
  pkgs = tools // {
    inherit lib system run busybox;
    # what colmena takes of them
    path = ./.;
    config = { };
    overlays = [ ];
    stdenv.type = "derivation";
    stdenv.name = "stdenv";
    stdenv.outPath = "/usr";
    stdenv.hostPlatform = {
      inherit system;
      isx86_64 = system == "x86_64-linux";
      isx86 = system == "x86_64-linux";
      isAarch64 = system == "aarch64-linux";
      isRiscV64 = false;
      isx86_32 = false;
    };
    runtimeShell = "/usr/bin/env bash";
    writeText = name: text: write name false "" text;
    writeScript = name: text: write name true "" text;
    writeShellScriptBin = name: text: write name true "/bin/${name}" "#!/usr/bin/env bash\n${text}\n";
    writeShellApplication = { name, text, ... }: write name true "/bin/${name}" "#!/usr/bin/env bash\nset -euo pipefail\n${text}\n" // { inherit text; };
    writers.makeScriptWriter = { interpreter, ... }: nameOrPath: text:
      write (baseNameOf nameOrPath) true (if lib.hasPrefix "/" nameOrPath then nameOrPath else "") "#!${toString interpreter}\n${text}";
    linkFarm = name: entries:
      run name { } (
        "mkdir -p $out\n"
        + lib.concatMapStrings (e: "ln -s ${e.path} \"$out/${e.name}\"\n") (
          if builtins.isList entries then entries else lib.mapAttrsToList (name: path: { inherit name path; }) entries
        )
      );
    runCommand = name: env: script: run name (removeAttrs env [ "nativeBuildInputs" ]) script;
    symlinkJoin = { name, paths }: run name { paths = toString paths; } "mkdir $out; for p in $paths; do cp -rs $p/. $out/; done";
    buildGoModule = a: run a.pname { } "mkdir -p $out/bin";
    formats.toml = _: {
      type = lib.types.attrsOf lib.types.anything;
      generate = name: value: let text = import ./toml.nix { inherit lib; } value; in write name false "" text // { inherit text; };
    };
    # its arguments are those of nixpkgs' package (pkgs/by-name/ip/ipxe/package.nix at 00e6b22b508f93e219efee2dda4397027ccaf934)
    ipxe = { type = "derivation"; name = "ipxe"; outPath = "/usr"; override = ipxe; };
    closureInfo = { rootPaths }: run "closure-info" { rootPaths = toString rootPaths; } "mkdir $out; : >$out/store-paths; echo 0 >$out/total-nar-size";
    qemu_test = { type = "derivation"; name = "qemu"; outPath = "/usr"; };
    stdenvNoCC = pkgs.stdenv;
    # evaluates the nodes and gives the script; nothing runs
    testers.runNixOSTest = import ./testers.nix { inherit lib system; };
    pkgsCross.aarch64-multiplatform = import ./pkgs.nix { inherit lib; system = "aarch64-linux"; };
    pkgsCross.gnu64 = import ./pkgs.nix { inherit lib; system = "x86_64-linux"; };
    k3s = { type = "derivation"; name = "k3s"; version = "1.33.1+k3s1"; outPath = "/usr"; };
    callPackage = f: args:
      let fn = if builtins.isFunction f then f else import f; in
      fn (builtins.intersectAttrs (builtins.functionArgs fn) pkgs // args);
  };
in
pkgs
