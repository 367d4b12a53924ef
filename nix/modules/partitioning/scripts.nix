# hatcheryInstall, hatcheryInstallWipe, hatcheryFormat.SLOT, hatcheryMount and hatcheryLayout, made of disko's own destroy, format and
# mount outputs of three evaluations: ephemeral, persistent, all.
{ lib, pkgs, diskoLib, layout, plan, ephemeral, persistent, all, persistentDefinitions, useTargetTools, hostName }:
let
  inherit (lib) escapeShellArg escapeShellArgs concatMapStringsSep;
  outputs = devices: let s = devices._scripts { inherit pkgs; checked = false; }; in
    if useTargetTools
    then { destroy = s.destroyNoDeps; format = s.formatNoDeps; mount = s.mountNoDeps; }
    else { inherit (s) destroy format mount; };

  # one more evaluation with disko's own type
  evaluate = definitions: (lib.evalModules {
    modules = [ { options.devices = lib.mkOption { type = diskoLib.toplevel; }; config.devices = lib.mkMerge definitions; } ];
  }).config.devices;

  # the persistent definitions taken apart by disk and pool without evaluating them
  raw = (lib.evalModules {
    modules = [
      {
        options = lib.genAttrs [ "disk" "mdadm" "zpool" "lvm_vg" "bcachefs_filesystems" "nodev" ] (_: lib.mkOption {
          type = lib.types.attrsOf lib.types.deferredModule;
          default = { };
        });
      }
    ] ++ persistentDefinitions;
  }).config;
  pick = kind: names: lib.genAttrs (lib.filter (n: raw.${kind} ? ${n}) names) (n: { ... }: { imports = [ raw.${kind}.${n} ]; });

  unitDevices = unit: evaluate [
    ({ disk = pick "disk" unit; } // lib.mapAttrs pick (lib.filterAttrs (_: names: names != [ ]) (layout.unitPools persistent unit)))
  ];
  # destroys exactly the named persistent disks
  wipeDevices = names: evaluate (
    persistentDefinitions
    ++ [ { disk = lib.mapAttrs (n: _: { destroy = lib.mkForce (lib.elem n names); }) persistent.disk; } ]
  );

  diskArgs = class: name: device:
    let d = plan.disks.${name} or { }; in
    escapeShellArgs [
      name
      class
      device
      (if plan == null then "0" else "1")
      (d.serial or "")
      (d.wwn or "")
      (lib.concatStringsSep " " (d.signatures or [ ]))
      (lib.concatStringsSep " " (d.partUuids or [ ]))
      (if d.owned or false then "1" else "0")
      (if d ? sizeBytes then toString d.sizeBytes else "")
      (d.model or "")
    ];
  declareDisks = class: set: concatMapStringsSep "\n" (n: "disk ${diskArgs class n set.disk.${n}.device}") (layout.diskNames set);

  declareMarks = concatMapStringsSep "\n" (
    n:
    let m = layout.marks persistent.disk.${n}; in
    lib.concatStringsSep "\n" (
      lib.optional (m.whole != null) "mark_whole ${escapeShellArgs [ n m.whole ]}"
      ++ map (p: "mark_part ${escapeShellArgs [ n p.label p.type ]}") m.parts
    )
  );
  declareLabels = concatMapStringsSep "\n" (l: "label ${escapeShellArgs [ l.disk l.label ]}");
  declarePools = concatMapStringsSep "\n" (m: "member ${escapeShellArgs [ m.disk m.kind m.pool ]}") (layout.members persistent);
  declareNames = concatMapStringsSep "\n" (n: "name ${escapeShellArgs [ n.slot n.kind n.name ]}");

  sortedMounts = lib.sort (a: b: a.path < b.path) (layout.mounts ephemeral ++ layout.mounts persistent);
  checkMounts = concatMapStringsSep "\n" (m: "mounted ${escapeShellArgs ([ m.path m.fs ] ++ m.slots)}") sortedMounts;

  tools = with pkgs; [ coreutils util-linux gnugrep gnused gawk findutils systemdMinimal ];
  label = if plan == null then "host ${hostName}, no plan" else "host ${hostName}, plan ${plan.id}";

  head = ''
    #!${pkgs.runtimeShell}
    # Made by Hatchery for ${label}: no arguments, no environment.
    # Exit codes: 20 disk missing, 21 foreign data, 22 one disk twice, 23 in use, 24 not as planned: with these
    # nothing was written.
    export PATH=${lib.makeBinPath tools}:$PATH
    ${builtins.readFile ./install.bash}
    title=${escapeShellArg label}'';

  script = name: wipe: pkgs.writeScript name ''
    ${head}
    ${declareDisks "ephemeral" ephemeral}
    ${declareDisks "persistent" persistent}
    ${declareMarks (layout.diskNames persistent)}
    ${declarePools}
    ${declareLabels (layout.labels ephemeral ++ layout.labels persistent)}
    ${declareNames (layout.names ephemeral ++ layout.names persistent)}
    wiped=(${escapeShellArgs wipe})

    settle_judgement

    ${lib.optionalString (ephemeral.disk != { }) ''
      step "destroying the ephemeral disks"
      run ${(outputs ephemeral).destroy}/bin/disko-destroy --yes-wipe-all-disks
    ''}
    ${lib.optionalString (wipe != [ ]) ''
      step "destroying the persistent disks whose wipe was asked for: ${toString wipe}"
      still ${escapeShellArgs wipe}
      run ${(outputs (wipeDevices wipe)).destroy}/bin/disko-destroy --yes-wipe-all-disks
      now_blank ${escapeShellArgs wipe}
    ''}
    ${lib.optionalString (ephemeral.disk != { }) ''
      step "formatting the ephemeral disks"
      run ${(outputs ephemeral).format}/bin/disko-format
    ''}
    ${concatMapStringsSep "\n" (unit: ''
      if blank_unit ${escapeShellArgs unit}; then
        step "formatting the blank persistent disks: ${toString unit}"
        still ${escapeShellArgs unit}
        run_on_blank ${escapeShellArgs unit} -- ${(outputs (unitDevices unit)).format}/bin/disko-format
      fi
    '') (layout.units persistent)}
    step "mounting"
    assemble
    run ${(outputs all).mount}/bin/disko-mount
    ${checkMounts}
    say "done: ${toString (builtins.length sortedMounts)} file systems below /mnt"
  '';
  # Wipes and formats one persistent slot of a machine that runs stage-0, and touches nothing else. A slot that shares
  # a pool with others has no such script: a person confirmed one disk.
  formatScript = slot:
    let unit = lib.findFirst (lib.elem slot) [ slot ] (layout.units persistent); in
    if lib.length unit > 1
    then throw "slot ${slot} of ${hostName} shares a pool with ${lib.concatStringsSep ", " (lib.remove slot unit)}: one cannot be formatted without the other. Reinstall, with all of them named to be wiped."
    else pkgs.writeScript "hatchery-format-${hostName}-${slot}" ''
      ${head}
      ${concatMapStringsSep "\n" (n: "disk ${diskArgs "persistent" n persistent.disk.${n}.device}") unit}
      ${declareMarks unit}
      ${declareLabels (lib.filter (l: lib.elem l.disk unit) (layout.labels persistent))}
      ${declareNames (lib.filter (n: lib.elem n.slot unit) (layout.names persistent))}
      wiped=(${escapeShellArgs unit})

      settle_judgement

      step "destroying ${toString unit}"
      run ${(outputs (wipeDevices unit)).destroy}/bin/disko-destroy --yes-wipe-all-disks
      now_blank ${escapeShellArgs unit}
      step "formatting ${toString unit}"
      run_on_blank ${escapeShellArgs unit} -- ${(outputs (unitDevices unit)).format}/bin/disko-format
      say "done"
    '';
in
{
  hatcheryFormat = lib.genAttrs (layout.diskNames persistent) formatScript;
  hatcheryInstall = script "hatchery-install-${hostName}" (plan.wipePersistent or [ ]);
  # for lib.deploy { wipePersistentStorage = true; }: never built by the appliance
  hatcheryInstallWipe = script "hatchery-install-wipe-${hostName}" (layout.diskNames persistent);
  hatcheryMount = (outputs all).mount;
  hatcheryLayout = pkgs.writeText "hatchery-layout-${hostName}" (builtins.toJSON {
    mounts = map (m: { inherit (m) path fs slot; }) sortedMounts;
    keyFiles = lib.unique (map toString (layout.keyFiles ephemeral ++ layout.keyFiles persistent));
  });
}
