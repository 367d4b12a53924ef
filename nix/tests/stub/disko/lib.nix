# The part of disko's interface that our modules and the template use, written anew: `toplevel` is a submodule type
# whose value has _scripts, _config and _packages.
{ lib }:
let
  inherit (lib) types mkOption concatStrings mapAttrsToList;
  o = type: default: mkOption { inherit type default; };
  mnt = "/mnt";

  filesystem = device: { config, ... }: {
    options = {
      type = mkOption { type = types.enum [ "filesystem" ]; };
      device = o types.str device;
      format = mkOption { type = types.str; };
      mountpoint = o (types.nullOr types.path) null;
      mountOptions = o (types.listOf types.str) [ "defaults" ];
      extraArgs = o (types.listOf types.str) [ ];
    };
  };
  swap = device: { config, ... }: {
    options = {
      type = mkOption { type = types.enum [ "swap" ]; };
      device = o types.str device;
    };
  };
  # a member of a pool, and what carries other contents: evaluated, so that layouts and assertions can be looked at, never made
  member = type: option: { ... }: {
    options = {
      type = mkOption { type = types.enum [ type ]; };
      ${option} = mkOption { type = types.str; };
    };
  };
  luks = { config, ... }: {
    options = {
      type = mkOption { type = types.enum [ "luks" ]; };
      name = mkOption { type = types.str; };
      settings = o types.attrs { };
      content = onPool "/dev/mapper/${config.name}";
    };
  };
  members = { lvm_pv = member "lvm_pv" "vg"; mdraid = member "mdraid" "name"; zfs = member "zfs" "pool"; inherit luks; };
  pool = kind: inner: { name, ... }: {
    options = {
      type = mkOption { type = types.enum [ kind ]; };
      name = o types.str name;
    } // inner;
  };
  onPool = device: o (types.nullOr (oneOf ({ filesystem = filesystem device; swap = swap device; } // members))) null;
  lv = { name, ... }: { options = { size = o types.str ""; content = onPool "/dev/pool/${name}"; }; };

  # `type` says which of the kinds a content is
  oneOf = kinds: {
    name = "one of ${toString (lib.attrNames kinds)}";
    check = lib.isAttrs;
    merge = loc: defs:
      let
        named = lib.filter (d: d.value ? type) defs;
        kind = if named == [ ] then throw "The option `${lib.concatStringsSep "." loc}.type' is used but not defined." else (lib.head named).value.type;
      in
      if kinds ? ${kind} then (types.submodule kinds.${kind}).merge loc defs
      else throw "The option `${lib.concatStringsSep "." loc}.type' is `${kind}', which this stand-in for disko does not know.";
  };

  partition = diskName: { name, config, ... }: {
    options = {
      name = o types.str name;
      type = o types.str (if config.content != null && config.content.type == "swap" then "8200" else "8300");
      label = o types.str "disk-${diskName}-${config.name}";
      uuid = o (types.nullOr types.str) null;
      device = o types.str "/dev/disk/by-partlabel/${config.label}";
      size = o types.str "0";
      priority = o types.int (if config.size == "100%" then 9001 else if config.type == "EF02" then 100 else 1000);
      attributes = o (types.listOf types.int) [ ];
      content = o (types.nullOr (oneOf ({ filesystem = filesystem config.device; swap = swap config.device; } // members))) null;
    };
  };
  gpt = diskName: { ... }: {
    options = {
      type = mkOption { type = types.enum [ "gpt" ]; };
      partitions = o (types.attrsOf (types.submodule (partition diskName))) { };
    };
  };
  disk = { name, config, ... }: {
    options = {
      name = o types.str name;
      type = o (types.enum [ "disk" ]) "disk";
      device = mkOption { type = types.path; };
      destroy = o types.bool true;
      content = o (types.nullOr (oneOf ({ gpt = gpt config.name; filesystem = filesystem config.device; swap = swap config.device; } // members))) null;
    };
  };

  sorted = d: lib.sort (a: b: a.priority < b.priority) (lib.attrValues d.content.partitions);
  makeContent = c:
    if c == null then ""
    else if c.type == "filesystem" then ''
      blkid ${c.device} | grep -q TYPE= || mkfs.${c.format} ${lib.escapeShellArgs c.extraArgs} ${c.device}
    ''
    else if c.type != "swap" then "echo 'this stand-in for disko cannot make ${c.type}' >&2; exit 1\n"
    else ''
      blkid ${c.device} | grep -q TYPE= || mkswap ${c.device}
    '';
  makePartition = d: i: p:
    let n = toString i; end = if p.size == "100%" then "-0" else "+${p.size}"; in ''
      sgdisk --align-end --new=${n}:0:${end} --partition-guid=${n}:R --change-name=${n}:${p.label} --typecode=${n}:${p.type} ${
        concatStrings (map (a: "--attributes=${n}:set:${toString a} ") p.attributes)
      } ${d.device}
      partprobe ${d.device} || :
      udevadm trigger --subsystem-match=block
      udevadm settle --timeout 120
    '';
  create = d:
    if d.content == null then ""
    else if d.content.type == "gpt" then ''
      blkid ${d.device} >&2 || sgdisk --clear ${d.device}
      ${concatStrings (lib.imap1 (makePartition d) (sorted d))}
      ${concatStrings (map (p: makeContent p.content) (sorted d))}
    ''
    else makeContent d.content;
  contents = d: if d.content == null then [ ] else if d.content.type == "gpt" then map (p: p.content) (sorted d) else [ d.content ];
  mountsOf = devices: lib.sort (a: b: a.mountpoint < b.mountpoint) (
    lib.filter (c: c != null && c.type == "filesystem" && c.mountpoint != null) (lib.concatMap contents (lib.attrValues devices.disk))
  );
  mount = c: ''
    findmnt ${c.device} ${mnt}${c.mountpoint} >/dev/null 2>&1 || mount ${c.device} ${mnt}${c.mountpoint} -t ${c.format} ${
      lib.concatMapStringsSep " " (x: "-o ${x}") c.mountOptions
    } -o X-mount.mkdir
  '';
  destroy = devices: ''
    if [ "$1" != "--yes-wipe-all-disks" ]; then echo "refusing without --yes-wipe-all-disks"; exit 1; fi
    umount -Rv ${mnt} || :
    ${concatStrings (map (d: ''
      for p in $(lsblk -nrpo NAME ${d.device} | tac); do wipefs --all -f "$p"; done
      dd if=/dev/zero of=${d.device} bs=440 count=1 conv=notrunc
      partprobe ${d.device} || :
      udevadm settle --timeout 120
    '') (lib.filter (d: d.destroy) (lib.attrValues devices.disk)))}
  '';
  head = "set -efux\n";
in
{
  inherit lib;
  toplevel = types.submodule ({ config, ... }: {
    options = {
      disk = o (types.attrsOf (types.submodule disk)) { };
      mdadm = o (types.attrsOf (types.submodule (pool "mdadm" { level = o types.int 1; content = onPool "/dev/md/array"; }))) { };
      zpool = o (types.attrsOf types.attrs) { };
      lvm_vg = o (types.attrsOf (types.submodule (pool "lvm_vg" { lvs = o (types.attrsOf (types.submodule lv)) { }; }))) { };
      nodev = o (types.attrsOf types.attrs) { };
      _scripts = mkOption { };
      _config = mkOption { };
      _packages = mkOption { };
    };
    config = {
      _packages = _: [ ];
      _scripts = { pkgs, checked ? false }:
        let
          bash = pkgs.writers.makeScriptWriter { interpreter = pkgs.runtimeShell; };
          all = {
            destroy = bash "/bin/disko-destroy" (head + destroy config);
            format = bash "/bin/disko-format" (head + concatStrings (mapAttrsToList (_: create) config.disk));
            mount = bash "/bin/disko-mount" (head + concatStrings (map mount (mountsOf config)));
          };
        in
        all // lib.mapAttrs' (n: v: lib.nameValuePair "${n}NoDeps" v) all;
      _config = {
        fileSystems = lib.listToAttrs (map (c: lib.nameValuePair c.mountpoint { inherit (c) device; fsType = c.format; options = c.mountOptions; }) (mountsOf config));
        swapDevices = map (c: { inherit (c) device; }) (lib.filter (c: c != null && c.type == "swap") (lib.concatMap contents (lib.attrValues config.disk)));
        boot.loader.grub.devices = map (d: d.device) (
          lib.filter (d: d.content != null && d.content.type == "gpt" && lib.any (p: p.type == "EF02") (lib.attrValues d.content.partitions)) (lib.attrValues config.disk)
        );
      };
    };
  });
}
