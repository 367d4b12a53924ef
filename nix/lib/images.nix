# The installer as the appliance serves it, and as an ISO.
{ self, nixpkgs }:
let
  inherit (nixpkgs) lib;
  evalStage0 = { system, modules }: nixpkgs.lib.nixosSystem {
    inherit system;
    modules = [ self.nixosModules.stage0 { nixpkgs.hostPlatform = system; } ] ++ modules;
  };
  archOf = system: lib.removeSuffix "-linux" system;
in
rec {
  # { directory, iso, netboot }: `directory` is what the appliance takes as its stage-0 folder (docs: DESIGN section 4).
  # splitStore: the Nix store beside the initrd rather than in it, see ../stage0/netboot.nix.
  stage0 = { system, modules ? [ ], splitStore ? false }:
    let
      pkgs = nixpkgs.legacyPackages.${system};
      arch = archOf system;
      netboot = (evalStage0 { inherit system; modules = [ ../stage0/netboot.nix { hatchery.stage0.splitStore = splitStore; } ] ++ modules; }).config;
      iso = (evalStage0 { inherit system; modules = [ ../stage0/iso.nix ] ++ modules; }).config;
      build = netboot.system.build;
      initrd = if splitStore then "${build.initialRamdisk}/${netboot.system.boot.loader.initrdFile}" else "${build.netbootRamdisk}/initrd";
      cmdline = lib.concatStringsSep " " ([ "init=${build.toplevel}/init" ] ++ netboot.boot.kernelParams);
    in
    {
      netboot = build;
      iso = iso.system.build.isoImage;
      directory = pkgs.runCommand "hatchery-stage0-${arch}" { inherit cmdline; nativeBuildInputs = [ pkgs.jq ]; } ''
        mkdir -p $out/${arch}
        cp ${build.kernel}/${netboot.system.boot.loader.kernelFile} $out/${arch}/kernel
        cp ${initrd} $out/${arch}/initrd
        cp ${iso.system.build.isoImage}/iso/*.iso $out/stage0-${arch}.iso
        cd $out/${arch}
        ${lib.optionalString splitStore ''
          cp ${build.squashfsStore} store.squashfs
          cmdline="$cmdline hatchery.store=$(sha256sum store.squashfs | cut -d' ' -f1)"
        ''}
        sha256sum * | jq -R --slurp --arg arch ${arch} --arg version ${lib.escapeShellArg netboot.system.nixos.label} --arg cmdline "$cmdline" \
          '[split("\n")[] | select(. != "") | split("  ") | {key: .[1], value: .[0]}] | from_entries |
            {arch: $arch, version: $version, kernel: "kernel", initrd: ["initrd"], cmdline: $cmdline, sha256: .}' \
          > $NIX_BUILD_TOP/manifest.json
        mv $NIX_BUILD_TOP/manifest.json manifest.json
      '';
    };

  # An installer ISO for a machine without an appliance: boots at a fixed address and waits for SSH. No password.
  bootImage = { ip, prefixLength ? 24, gateway ? null, dns ? [ ], rootSSHKeys ? [ ], interface ? "en* eth*", system ? "x86_64-linux", modules ? [ ] }:
    if rootSSHKeys == [ ] then throw "bootImage: rootSSHKeys is empty, so nobody could log in (there is no default password)"
    else
    (evalStage0 {
      inherit system;
      modules = [
        ../stage0/iso.nix
        {
          hatchery.stage0.agent = false;
          users.users.root.openssh.authorizedKeys.keys = rootSSHKeys;
          networking.useDHCP = lib.mkForce false;
          systemd.network.networks."10-static" = {
            matchConfig.Name = interface;
            address = [ "${ip}/${toString prefixLength}" ];
            routes = lib.optional (gateway != null) { Gateway = gateway; };
            inherit dns;
          };
        }
      ] ++ modules;
    }).config.system.build.isoImage;
}
