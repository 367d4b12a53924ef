# Reads a disko device set after its evaluation (defaults filled in): where it mounts what, which pools its
# disks belong to, and how its disks can be recognised again. Pure; used for assertions and for the script.
{ lib }:
let
  inherit (lib) concatMap concatLists mapAttrsToList optional attrValues;

  # what a content is, followed downwards through partitions and encryption
  walk = f: content:
    if content == null then [ ]
    else
      f content
      ++ (
        if content.type == "gpt" then concatMap (p: walk f p.content) (attrValues content.partitions)
        else if content.type == "table" then concatMap (p: walk f p.content) content.partitions
        else if content.type == "luks" then walk f content.content
        else [ ]
      );

  # [ { path, fs } ] of one content, without what is below it
  mountsHere = c:
    if c.type == "filesystem" then optional (c.mountpoint != null) { path = c.mountpoint; fs = c.format; }
    else if c.type == "btrfs" then
      optional (c.mountpoint != null) { path = c.mountpoint; fs = "btrfs"; }
      ++ concatMap (v: optional (v.mountpoint != null) { path = v.mountpoint; fs = "btrfs"; }) (attrValues c.subvolumes)
    else [ ];

  # [ { kind, pool } ]: the pool that a content is a member of
  memberHere = c:
    if c.type == "lvm_pv" then [ { kind = "lvm_vg"; pool = c.vg; } ]
    else if c.type == "mdraid" then [ { kind = "mdadm"; pool = c.name; } ]
    else if c.type == "zfs" then [ { kind = "zpool"; inherit (c) pool; } ]
    else if c.type == "bcachefs" then [ { kind = "bcachefs_filesystems"; pool = c.filesystem; } ]
    else [ ];

  luksHere = c: lib.optional (c.type == "luks") c.name;

  keyFilesHere = c:
    if c.type != "luks" then [ ]
    else
      lib.filter (f: f != null) [ (c.settings.keyFile or null) (c.passwordFile or null) (c.keyFile or null) ];

  # the name that blkid has for a content; "" = any
  blkidType = c:
    if c == null then ""
    else
      {
        filesystem = c.format or "";
        btrfs = "btrfs";
        luks = "crypto_LUKS";
        lvm_pv = "LVM2_member";
        mdraid = "linux_raid_member";
        zfs = "zfs_member";
        swap = "swap";
        bcachefs = "bcachefs";
      }.${c.type} or "";

  pools = cfg: {
    lvm_vg = cfg.lvm_vg or { };
    mdadm = cfg.mdadm or { };
    zpool = cfg.zpool or { };
    bcachefs_filesystems = cfg.bcachefs_filesystems or { };
  };

  poolContents = kind: pool:
    if kind == "lvm_vg" then map (lv: lv.content) (attrValues pool.lvs)
    else if kind == "mdadm" then [ pool.content ]
    else [ ];

  poolMountsHere = kind: pool:
    if kind == "zpool" then
      optional ((pool.mountpoint or null) != null) { path = pool.mountpoint; fs = "zfs"; }
      ++ concatMap (d: optional ((d.mountpoint or null) != null) { path = d.mountpoint; fs = "zfs"; }) (attrValues (pool.datasets or { }))
    else if kind == "bcachefs_filesystems" then
      optional ((pool.mountpoint or null) != null) { path = pool.mountpoint; fs = "bcachefs"; }
      ++ concatMap (v: optional ((v.mountpoint or null) != null) { path = v.mountpoint; fs = "bcachefs"; }) (attrValues (pool.subvolumes or { }))
    else [ ];
in
rec {
  diskNames = cfg: lib.attrNames cfg.disk;

  # every mount: { path, fs, slot, slots }; slot is "" where a pool or nothing stands behind it, slots has the disks of a pool too
  mounts = cfg:
    concatLists (mapAttrsToList (slot: d: map (m: m // { inherit slot; slots = [ slot ]; }) (walk mountsHere d.content)) cfg.disk)
    ++ concatLists (
      mapAttrsToList (
        kind: ps:
        concatLists (
          mapAttrsToList (
            name: p:
            map (m: m // { slot = ""; slots = disksBelow cfg kind name; }) (concatMap (walk mountsHere) (poolContents kind p) ++ poolMountsHere kind p)
          ) ps
        )
      ) (pools cfg)
    );

  # every membership: { disk, kind, pool }. Pools may be members of pools (LVM on mdraid).
  members = cfg:
    concatLists (mapAttrsToList (disk: d: map (m: m // { inherit disk; }) (walk memberHere d.content)) cfg.disk);

  poolMembers = cfg:
    concatLists (
      mapAttrsToList (
        kind: ps:
        concatLists (
          mapAttrsToList (
            name: p: map (m: m // { via = "${kind}.${name}"; }) (concatMap (walk memberHere) (poolContents kind p))
          ) ps
        )
      ) (pools cfg)
    );

  declaredPools = cfg: concatLists (mapAttrsToList (kind: ps: map (pool: { inherit kind pool; }) (lib.attrNames ps)) (pools cfg));

  keyFiles = cfg:
    lib.unique (
      concatLists (mapAttrsToList (_: d: walk keyFilesHere d.content) cfg.disk)
      ++ concatLists (
        mapAttrsToList (kind: ps: concatLists (mapAttrsToList (_: p: concatMap (walk keyFilesHere) (poolContents kind p)) ps)) (pools cfg)
      )
    );

  # how a disk is recognised: { whole = "ext4" | null; parts = [ { label, type } ] }
  marks = disk:
    let c = disk.content; in
    if c == null then { whole = null; parts = [ ]; }
    else if c.type == "gpt" then {
      whole = null;
      parts = mapAttrsToList (_: p: { inherit (p) label; type = blkidType p.content; }) c.partitions;
    }
    else { whole = blkidType c; parts = [ ]; };

  # every partition label of a device set: { disk, label }
  labels = cfg: concatLists (mapAttrsToList (disk: d: map (p: { inherit disk; inherit (p) label; }) (marks d).parts) cfg.disk);

  # groups of disks that live and die together, because a pool spans them: [ [ name … ] … ]
  units = cfg:
    let
      ms = members cfg;
      # pools on pools count as one
      poolKey = m: "${m.kind}.${m.pool}";
      upper = lib.listToAttrs (map (m: lib.nameValuePair m.via (poolKey m)) (poolMembers cfg));
      top = k: if upper ? ${k} then top upper.${k} else k;
      keysOf = disk: lib.unique (map (m: top (poolKey m)) (lib.filter (m: m.disk == disk) ms));
      touches = a: b: lib.any (k: lib.elem k (keysOf b)) (keysOf a);
      grow = unit: rest:
        let
          near = lib.filter (d: lib.any (touches d) unit) rest;
        in
        if near == [ ] then { inherit unit rest; } else grow (unit ++ near) (lib.filter (d: !(lib.elem d near)) rest);
      split = rest:
        if rest == [ ] then [ ]
        else
          let g = grow [ (lib.head rest) ] (lib.tail rest); in
          [ g.unit ] ++ split g.rest;
    in
    split (diskNames cfg);

  # names of the pools that the disks of one unit carry, pools on pools included: { kind = [ name … ]; }
  unitPools = cfg: unit:
    let
      direct = lib.filter (m: lib.elem m.disk unit) (members cfg);
      more = known:
        let
          new = lib.filter (m: lib.any (k: "${k.kind}.${k.pool}" == m.via) known && !(lib.any (k: k.kind == m.kind && k.pool == m.pool) known)) (poolMembers cfg);
        in
        if new == [ ] then known else more (known ++ map (m: { inherit (m) kind pool; }) new);
      all = more (map (m: { inherit (m) kind pool; }) direct);
    in
    lib.genAttrs [ "lvm_vg" "mdadm" "zpool" "bcachefs_filesystems" ] (kind: lib.unique (map (m: m.pool) (lib.filter (m: m.kind == kind) all)));

  # the disks below a pool
  disksBelow = cfg: kind: name: lib.concatLists (lib.filter (unit: lib.elem name (unitPools cfg unit).${kind}) (units cfg));

  # what the layout calls its pools and its opened LUKS devices: [ { slot, kind, name } ], one for each disk below
  names = cfg:
    concatLists (
      mapAttrsToList (
        kind: ps:
        concatLists (
          mapAttrsToList (
            name: p:
            concatMap (slot: [ { inherit slot kind name; } ] ++ map (n: { inherit slot; kind = "luks"; name = n; }) (concatMap (walk luksHere) (poolContents kind p))) (disksBelow cfg kind name)
          ) ps
        )
      ) (pools cfg)
    )
    ++ concatLists (mapAttrsToList (slot: d: map (name: { inherit slot name; kind = "luks"; }) (walk luksHere d.content)) cfg.disk);
}
