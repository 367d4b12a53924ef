# What must hold between the two device sets; every message names the two things that clash.
{ lib, cfg, layout, plan }:
let
  inherit (lib) concatMapStringsSep filter;
  E = cfg.ephemeral;
  P = cfg.persistent;
  duplicates = xs: lib.unique (filter (x: lib.count (y: y == x) xs > 1) xs);
  both = a: b: filter (x: lib.elem x b) a;
  devices = set: lib.mapAttrsToList (_: d: d.device) set.disk;
  allDisks = lib.mapAttrsToList (n: d: { name = n; inherit (d) device; }) E.disk ++ lib.mapAttrsToList (n: d: { name = n; inherit (d) device; }) P.disk;
  poolKeys = set: lib.unique (map (m: "${m.kind}.${m.pool}") (layout.members set ++ layout.poolMembers set));
  declared = set: map (p: "${p.kind}.${p.pool}") (layout.declaredPools set);
  mountPaths = map (m: m.path) (layout.mounts E ++ layout.mounts P);
  labelsOf = map (l: l.label) (layout.labels E ++ layout.labels P);
  long = filter (l: lib.stringLength l > 36) labelsOf;
  kernelName = d: builtins.match "/dev/((sd|hd|vd|xvd)[a-z].*|nvme[0-9].*|mmcblk[0-9].*)" d != null;
  check = bad: message: { assertion = bad == [ ]; message = "partitioning: " + message; };
  list = concatMapStringsSep ", " (x: "`${x}`");
  sameName = both (lib.attrNames E.disk) (lib.attrNames P.disk);
  sameDevice = both (devices E) (devices P);
  pools = both (lib.unique (poolKeys E ++ declared E)) (lib.unique (poolKeys P ++ declared P));
  orphanMembers = set: filter (k: !(lib.elem k (declared set))) (poolKeys set);
  orphans = filter (k: !(lib.elem k pools)) (orphanMembers E ++ orphanMembers P);
  kernelNames = if cfg.allowKernelNames then [ ] else filter (d: kernelName d.device) allDisks;
  planSlots = class: lib.attrNames (lib.filterAttrs (_: d: d.class == class) (plan.disks or { }));
  unplanned = set: class: if plan == null then [ ] else filter (n: !(lib.elem n (planSlots class))) (lib.attrNames set.disk);
  empty = filter (n: (E.disk.${n} or P.disk.${n}).content == null) (lib.attrNames E.disk ++ lib.attrNames P.disk);
  wiped = plan.wipePersistent or [ ];
  halfWiped = filter (u: lib.any (d: lib.elem d wiped) u && !(lib.all (d: lib.elem d wiped) u)) (layout.units P);
in
[
  (check sameName "disk ${list sameName} is in both the ephemeral and the persistent set.")
  (check sameDevice "device ${list sameDevice} is in both the ephemeral and the persistent set.")
  (check (duplicates (lib.filter (d: !(lib.elem d sameDevice)) (map (d: d.device) allDisks))) "two disks are the same device: ${list (duplicates (map (d: d.device) allDisks))}.")
  (check (duplicates mountPaths) "mounted twice: ${list (duplicates mountPaths)}.")
  (check pools "${list pools} has members in both the ephemeral and the persistent set: wiping one would destroy the other.")
  (check orphans "a disk is a member of ${list orphans}, which its set does not declare.")
  (check long "partition label ${list long} has more than 36 characters, which GPT cannot hold. Shorten the name of the disk or partition.")
  (check (duplicates labelsOf) "partition label ${list (duplicates labelsOf)} is used twice.")
  (check kernelNames "disk ${concatMapStringsSep ", " (d: "`${d.name}` is `${d.device}`") kernelNames}: a kernel name may be another disk at the next boot. Use /dev/disk/by-id/….")
  (check (unplanned E "ephemeral") "the layout has ephemeral disk ${list (unplanned E "ephemeral")}, which the disk plan does not fill. Is the slot optional? Then ask for it: lib.mkIf (config.hatchery.disks ? SLOT).")
  (check (unplanned P "persistent") "the layout has persistent disk ${list (unplanned P "persistent")}, which the disk plan does not fill. Is the slot optional? Then ask for it: lib.mkIf (config.hatchery.disks ? SLOT).")
  (check empty "the plan fills slot ${list empty}, but the role's layout says nothing of that disk (partitioning.{ephemeral,persistent}.disk.SLOT.content).")
  (check halfWiped "a pool spans disks ${concatMapStringsSep "; " list halfWiped}, but only some of them are to be wiped.")
]
