#!/usr/bin/env bash
# Runs the install script of a hive in a machine that runs stage-0, on disks in every state that matters: it must do
# what it should where it should, refuse with the right code where it should not, and then have written nothing.
#   cases.sh STAGE0        a folder with kernel and initrd (make lab-images: build/stage0/x86_64)
# NIXPKGS_LIB, DISKO  checkouts: the real module system and the real disko (see mkflakes.sh)
# MEM                 megabytes of the machine (1536)
# KINDS               "btrfs lvm luks md": further layouts whose data must stay, and other disks that look like theirs; needs
#                     the real disko and a stage-0 with their tools
# WHAT                "plain retry race port": these
# Needs nix, qemu-system-x86_64 (emulation will do), ssh, cpio. Ten minutes and more.
set -euo pipefail
stage0=$(realpath "${1:?usage: cases.sh STAGE0}") here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${KINDS:=}" "${WHAT:=plain retry race port}"
W=$(mktemp -d)
H=$W/hive mac=52:54:00:aa:bb:01 pid='' bad=0 ran=0
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$W"' EXIT
export NIX_CONFIG="experimental-features = nix-command flakes
sandbox = false
substituters =
build-users-group ="
say() { printf '%s\n' "$*"; }

# --- the hive and the machine -----------------------------------------------------
mapfile -t args < <("$here/mkflakes.sh" "$W/flakes")
cp -r "$here/../../internal/hive/template" "$H"
chmod -R u+w "$H"
mkdir -p "$H/hosts/node1"
for n in $KINDS; do
  cp "$here/layouts/$n.nix" "$H/roles/"
  sed -i "s|^          plain = .*|&\n          $n = ./roles/$n.nix;|" "$H/flake.nix"
  sed -i "s|^  plain = {|  $n = { description = \"$n\"; system = \"x86_64-linux\"; disks.os.class = \"ephemeral\"; disks.data.class = \"persistent\"; };\n&|" "$H/roles.nix"
done
rm -f "$H/flake.lock"
git -C "$H" init -q -b main
commit() { git -C "$H" add -A && git -C "$H" -c user.name=x -c user.email=x@example.org commit -qm "$1"; }

ssh-keygen -q -t ed25519 -N '' -f "$W/key"
mkdir -p "$W/k/root/.ssh"
chmod -R go= "$W/k/root"
cp "$W/key.pub" "$W/k/root/.ssh/authorized_keys"
(cd "$W/k" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$W/k.cpio.gz"
cat "$stage0/initrd" "$W/k.cpio.gz" >"$W/initrd"
drives=()
for d in OSDISK:1G DATADISK:256M DATA2:256M DATA3:256M; do
  truncate -s "${d#*:}" "$W/${d%:*}"
  drives+=(-drive "if=none,id=${d%:*},file=$W/${d%:*},format=raw,cache=unsafe" -device "virtio-blk-pci,drive=${d%:*},serial=${d%:*}")
done
# one that has no name but its port's
truncate -s 1G "$W/PORTDISK"
drives+=(-drive "if=none,id=PORTDISK,file=$W/PORTDISK,format=raw,cache=unsafe" -device "virtio-blk-pci,drive=PORTDISK")
port=$((20000 + $$ % 20000))
qemu-system-x86_64 -accel tcg,thread=multi -cpu Nehalem,-cx16 -smp 1 -m "${MEM:-1536}" -nodefaults -no-user-config -display none -machine q35,graphics=off \
  -device virtio-rng-pci -kernel "$stage0/kernel" -initrd "$W/initrd" -append "console=ttyS0 quiet no_timer_check mitigations=off" "${drives[@]}" \
  -netdev "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22" -device "virtio-net-pci,netdev=n,mac=$mac,romfile=" \
  -serial "file:$W/serial" </dev/null >"$W/qemu.log" 2>&1 &
pid=$!
vm() { ssh -q -i "$W/key" -p "$port" -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o ConnectTimeout=10 -o ControlMaster=auto -o "ControlPath=$W/ctl" -o ControlPersist=60 root@127.0.0.1 "$@" </dev/null; }
for i in $(seq 240); do
  vm true 2>/dev/null && break
  kill -0 "$pid" || { cat "$W/qemu.log"; exit 1; }
  [ "$i" != 240 ] || { say "the machine does not answer"; tail -20 "$W/serial"; exit 1; }
  sleep 1
done
say "machine up, $(vm 'uname -r')"
# shellcheck disable=SC2016 # run there
vm 'mkdir -p /usr/local/bin; cat >/usr/local/bin/blank <<"S"
#!/bin/sh
# makes disks blank: blank DISK…
for m in $(awk "\$5 ~ /^\/mnt/ { print \$5 }" /proc/self/mountinfo | tac); do umount $m; done
vgchange -an >/dev/null 2>&1; cryptsetup close crypt 2>/dev/null; mdadm --stop --scan 2>/dev/null
for d; do wipefs -qaf $d?* 2>/dev/null; wipefs -qaf $d; sgdisk -Z $d >/dev/null 2>&1; dd if=/dev/zero of=$d bs=1M count=16 2>/dev/null; partprobe $d 2>/dev/null; done
udevadm settle
S
chmod +x /usr/local/bin/blank
# the stand-in for stage-0 lacks it, and disko reads lists from it
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd'

# --- plans and scripts ---------------------------------------------------------------
seen() { # ID: { id, serial, signatures, partUuids } of a disk as the agent would report it
  local at=by-id/$1
  [ "$1" = "${1#path:}" ] || at=by-path/${1#path:}
  vm "d=\$(realpath /dev/disk/$at) k=\${d##*/}
    jq -nc --arg id '$1' --argjson size \"\$(cat /sys/block/\$k/size 2>/dev/null || echo 0)\" --arg serial \"\$(cat /sys/block/\$k/serial 2>/dev/null)\" \
      --arg s \"\$(wipefs --noheadings --output TYPE \$d 2>/dev/null | grep -v PMBR | sort -u)\" \
      --arg p \"\$(for p in /sys/block/\$k/\$k*; do [ -e \$p ] && blkid -p -o value -s PART_ENTRY_UUID /dev/\${p##*/}; done | sort -u)\" \
      '{id: \$id, serial: \$serial, signatures: (\$s | split(\"\\n\") | map(gsub(\" \"; \"\") | select(. != \"\"))), partUuids: (\$p | split(\"\\n\") | map(select(. != \"\")))}
        + (if (\$id | startswith(\"path:\")) then {sizeBytes: (\$size * 512)} else {} end)'"
}
os=(os=ephemeral:virtio-OSDISK) data=(data=persistent:virtio-DATADISK)
# plan [--role R] [--wipe SLOT] [--tweak JQ] SLOT=CLASS:ID…: looks at the machine and builds its script, in $script
plan() {
  local role=worker wipe='[]' tweak=. disks='{}' a class
  while :; do case $1 in
    --role) role=$2; shift 2 ;;
    --wipe) wipe="[\"$2\"]"; shift 2 ;;
    --tweak) tweak=$2; shift 2 ;;
    *) break ;;
  esac; done
  umounted
  for a; do
    class=${a#*=} class=${class%%:*}
    disks=$(jq -c --arg s "${a%%=*}" --arg c "$class" --argjson d "$(seen "${a#*:}")" '.[$s] = $d + {class: $c}' <<<"$disks")
  done
  jq -n --arg mac "$mac" --arg role "$role" --arg id "p-$RANDOM$RANDOM" --argjson disks "$disks" --argjson wipe "$wipe" \
    '{schema: 1, name: "node1", mac: $mac, role: $role, system: "x86_64-linux", firmware: "uefi", plan: {id: $id, disks: $disks, wipePersistent: $wipe}} | '"$tweak" >"$H/hosts/node1/host.json"
  commit plan
  local out
  out=$(nix build --json --no-link "git+file://$H?rev=$(git -C "$H" rev-parse HEAD)#nixosConfigurations.node1.config.system.build.hatchery" \
    --no-write-lock-file "${args[@]}" --show-trace 2>"$W/build.log" | jq -r '.[0].outputs.out') || { cat "$W/build.log"; exit 1; }
  script=$(readlink -f "$out/install")
  nix-store -qR "$script" | sed 's|^/||' | tar -C / -cf - -T - | ssh -q -o "ControlPath=$W/ctl" -p "$port" root@127.0.0.1 'tar -C / -xf - 2>/dev/null'
}
umounted() { vm 'blank' >/dev/null 2>&1; }
sum() { vm sync && cat "$W"/*DISK "$W"/DATA[23] | md5sum; }
# expect WANT NAME [theirs]: runs the script; a refusal must have written nothing (theirs: somebody else did)
expect() {
  local want=$1 before=same after=same rc=0 r=ok
  ran=$((ran + 1))
  [ "$want" -lt 20 ] || [ -n "${3:-}" ] || before=$(sum)
  vm "$script" >"$W/out" 2>&1 || rc=$?
  [ "$want" -lt 20 ] || [ -n "${3:-}" ] || after=$(sum)
  [ "$rc" = "$want" ] || r="WRONG, want $want"
  [ "$before" = "$after" ] || r="$r, WRITTEN"
  [ "$r" = ok ] || { bad=$((bad + 1)); tail -30 "$W/out"; }
  say "$r: $2: exit $rc$(grep -m1 -oE '(REFUSED|FAILED).*' "$W/out" | cut -c1-160 | sed 's/^/: /')"
}
is() { # NAME GOT WANT
  [ "$2" = "$3" ] && { say "ok: $1"; return; }
  bad=$((bad + 1)); say "WRONG: $1: got '$2', want '$3'"
}
guid() { vm 'blkid -p -o value -s PART_ENTRY_UUID /dev/vdb1'; }
marker() { vm 'cat /mnt/data/marker 2>/dev/null || echo none'; }

# meanwhile TOOL SHELL: the next call of that tool over there does this first, once
meanwhile() {
  vm "for t in /usr/bin/$1 /usr/sbin/$1; do
      [ -e \$t ] || continue
      [ -e \$t.d ] || { mkdir \$t.d; ln -s \$(readlink -f \$t) \$t.d/$1; [ -L \$t ] && rm \$t || mv -f \$t \$t.d/$1; }
      printf '#!/bin/sh\n[ ! -e /tmp/meanwhile.$1 ] || { sh /tmp/meanwhile.$1 >/dev/null 2>&1 </dev/null; rm -f /tmp/meanwhile.$1; }\nexec %s/$1 \"\$@\"\n' \$t.d >\$t
      chmod +x \$t
    done
    echo '$2' >/tmp/meanwhile.$1"
}

# failing TOOL WORD: the next call of that tool with the word in its arguments fails
failing() {
  meanwhile "$1" 'true'
  vm "rm /tmp/meanwhile.$1; touch /tmp/failing.$1
    for t in /usr/bin/$1 /usr/sbin/$1; do
      [ ! -e \$t.d ] || sed -i '1a case \"\$*\" in *$2*) [ ! -e /tmp/failing.$1 ] || { rm /tmp/failing.$1; exit 1; } ;; esac' \$t
    done"
}

# --- the cases ------------------------------------------------------------------------
plain() {
  vm 'blank /dev/vda /dev/vdb /dev/vdc'
  plan "${os[@]}" "${data[@]}"
  expect 0 "blank disks are formatted and mounted"
  vm 'echo one >/mnt/data/marker; sync'
  before=$(guid)
  plan "${os[@]}" "${data[@]}"
  expect 0 "an own layout with data"
  is "its data is kept" "$(marker)" one
  is "its partition's GUID is kept" "$(guid)" "$before"
  umounted # or file systems write on by themselves
  expect 24 "the same script a second time: the system disk is not as planned"
  vm 'blank; sgdisk -u1:R /dev/vdb >/dev/null; partprobe /dev/vdb; udevadm settle'
  plan --wipe data "${os[@]}" "${data[@]}"
  expect 0 "a wipe that was asked for"
  is "the data is gone" "$(marker)" none
  plan os=ephemeral:virtio-NOSUCH "${data[@]}"
  expect 20 "the system disk is missing"
  plan "${os[@]}" data=persistent:virtio-NOSUCH
  expect 20 "the data disk is missing"
  vm 'blank /dev/vdb; mkfs.ext4 -qF /dev/vdb; udevadm settle'
  plan "${os[@]}" "${data[@]}"
  expect 21 "a bare ext4 on the data disk"
  vm 'blank /dev/vdb; sgdisk -n1:0:+100M -t1:0700 -c1:Windows /dev/vdb >/dev/null; partprobe /dev/vdb; udevadm settle; mkfs.ext4 -qF /dev/vdb1'
  plan "${os[@]}" "${data[@]}"
  expect 21 "a foreign GPT on the data disk"
  vm 'blank /dev/vdb; sgdisk -n1:0:0 -c1:disk-data-data /dev/vdb >/dev/null; partprobe /dev/vdb; udevadm settle; mkfs.vfat /dev/vdb1 >/dev/null'
  plan "${os[@]}" "${data[@]}"
  expect 21 "another file system in our partition"
  vm 'blank /dev/vdb'
  plan "${os[@]}" "${data[@]}"
  vm 'sgdisk -G /dev/vda >/dev/null; partprobe /dev/vda; udevadm settle'
  expect 24 "the system disk's partitions were renewed since the plan"
  plan "${os[@]}" "${data[@]}"
  vm 'mkfs.ext4 -qF /dev/vdb'
  expect 21 "data where the plan saw a blank disk"
  vm 'blank /dev/vdb'
  plan "${os[@]}" "${data[@]}"
  vm 'ln -sf ../../vda /dev/disk/by-id/virtio-DATADISK'
  expect 22 "one disk under two names"
  vm 'ln -sf ../../vdb /dev/disk/by-id/virtio-DATADISK'
  plan --tweak '.plan.disks.os.serial = "OTHER"' "${os[@]}" "${data[@]}"
  expect 24 "another serial"
  plan "${os[@]}" "${data[@]}"
  vm 'mkdir -p /iso; mount -o ro,noload /dev/vda3 /iso'
  expect 23 "the system disk is what the machine runs from (mounted at /iso)"
  vm 'umount /iso; sgdisk -n1:0:0 -c1:disk-os-root /dev/vdb >/dev/null; partprobe /dev/vdb; udevadm settle; mkfs.ext4 -qF /dev/vdb1'
  plan --role plain "${os[@]}"
  expect 22 "a second disk carries our label"
  vm 'blank /dev/vda /dev/vdb'
  plan "${os[@]}" "${data[@]}"
  expect 0 "blank again"
}
# a blank disk whose format fails is blank again, also for the kernel
retry() {
  vm 'blank /dev/vda /dev/vdb'
  plan "${os[@]}" "${data[@]}"
  failing mkfs.ext4 disk-data-data
  expect 1 "formatting the blank data disk fails half-way"
  is "its tool was the one that failed" "$(vm 'ls /tmp/failing.* 2>/dev/null | wc -l')" 0
  is "the kernel sees no partition on it" "$(vm 'ls -d /sys/block/vdb/vdb* 2>/dev/null | wc -l')" 0
  plan "${os[@]}" "${data[@]}"
  expect 0 "a retry finds it blank"
}
names() { vm "for l in /dev/disk/$1/*; do [ \"\$(realpath \$l)\" != /dev/$2 ] || echo \${l##*/}; done"; } # DIR KERNELNAME
# a disk that is known by its port alone
port() {
  vm 'blank /dev/vda /dev/vdb /dev/vde'
  local by vda
  by=path:$(names by-path vde | sort | head -1) vda=path:$(names by-path vda | sort | head -1)
  is "the disk without a serial number has no name of its own" "$(names by-id vde)" ""
  plan --tweak '.plan.disks.os.sizeBytes = 512' os=ephemeral:"$by" "${data[@]}"
  expect 24 "by its port: a disk of another size hangs there"
  plan --tweak '.plan.disks.os.model = "Virtual disk"' os=ephemeral:"$by" "${data[@]}"
  expect 24 "by its port: a disk of another model hangs there"
  plan --tweak '.plan.disks.os.serial = ""' os=ephemeral:"$vda" "${data[@]}"
  expect 24 "by its port: a disk with a serial number hangs there"
  plan os=ephemeral:"$vda" data=persistent:virtio-OSDISK
  expect 22 "one disk by its port and by its name"
  plan os=ephemeral:path:pci-0000:00:1e.0 "${data[@]}"
  expect 20 "by its port: nothing hangs there"
  plan os=ephemeral:"$by" "${data[@]}"
  expect 0 "by its port: blank disks are formatted and mounted"
  umounted
  expect 24 "the same script a second time: the disk at the port is not as planned"
  vm 'blank /dev/vdb' # or it carries the label of the slot, too
  plan --wipe data os=ephemeral:virtio-OSDISK data=persistent:"$by"
  expect 0 "a persistent disk by its port, its wipe asked for"
  vm 'echo two >/mnt/data/marker; sync'
  vm 'blank /dev/vda'
  plan os=ephemeral:virtio-OSDISK data=persistent:"$by"
  expect 0 "a persistent disk by its port, with data"
  is "its data is kept" "$(marker)" two
}
# somebody with root writes to a disk between the judgement and our write
race() {
  vm 'blank /dev/vda /dev/vdb'
  plan "${os[@]}" "${data[@]}"
  meanwhile swapoff 'mkfs.ext4 -qFL precious /dev/vda'
  expect 24 "somebody formats the system disk while it is judged" theirs
  is "what they put there stays" "$(vm 'blkid -po value -s LABEL /dev/vda')" precious
  vm 'blank /dev/vda'
  plan "${os[@]}" "${data[@]}"
  vm 'touch /tmp/go; setsid sh -c "while [ -e /tmp/go ]; do dd if=/dev/urandom of=/dev/vda bs=4k count=1 seek=9000 conv=fsync; done" >/dev/null 2>&1 &'
  expect 24 "something keeps writing to the system disk" theirs
  vm 'rm /tmp/go; blank /dev/vda'
  plan "${os[@]}" "${data[@]}"
  meanwhile sgdisk 'mkfs.ext4 -qFL precious /dev/vdb'
  expect 1 "somebody formats the blank data disk while the system disk is made" theirs
  is "what they put there stays" "$(vm 'blkid -po value -s LABEL /dev/vdb')" precious
}

# another disk has what the layout's names lead to: the script came to where disko would take it for ours
again() { plan --role "$kind" "${os[@]}" "${data[@]}" "${more[@]}"; }
gone() {
  vm 'blank /dev/vdd'
  again
  expect 0 "$kind: that disk is gone"
  is "$kind: its data is kept" "$(marker)" "$kind"
}
foreign_md() {
  vm 'blank /dev/vdd; mdadm --create /dev/md/array --run --level=1 --raid-devices=2 --force --homehost=any missing /dev/vdd
    udevadm settle; mkfs.ext4 -qFL foreign /dev/md/array' >"$W/out" 2>&1 || cat "$W/out"
  again
  vm 'mdadm --assemble --run --readonly /dev/md/array /dev/vdd; udevadm settle' >"$W/out" 2>&1 || cat "$W/out"
  is "md: the name leads to the other disk" "$(vm 'blkid -po value -s LABEL /dev/md/array')" foreign
  expect 22 "md: another disk's array has our array's name"
  vm 'mdadm --stop --scan' >/dev/null 2>&1
  expect 22 "md: the same, not assembled"
  gone
}
foreign_lvm() {
  vm "blank /dev/vdd; vgcreate -qq --config 'devices{filter=[\"a|/dev/vdd|\",\"r|.*|\"]}' tank /dev/vdd"
  again
  expect 22 "lvm: another disk's volume group has our volume group's name"
  gone
  vm 'blank /dev/vdb /dev/vdd; vgcreate -qq tank /dev/vdd'
  again
  expect 22 "lvm: the same, our disk is blank"
  vm 'blank /dev/vdd'
}
foreign_luks() {
  vm 'blank /dev/vdd; cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/vdd /tmp/disk.key'
  again
  vm 'cryptsetup open --key-file /tmp/disk.key /dev/vdd crypt; udevadm settle'
  expect 22 "luks: another disk is opened under our name"
  gone
}
foreign_btrfs() {
  vm 'blank; dd if=/dev/vdb of=/dev/vdd bs=1M 2>/dev/null; sgdisk -c1:other /dev/vdd >/dev/null; partprobe /dev/vdd; udevadm settle'
  again
  expect 22 "btrfs: a copy of our disk under another label"
  gone
}

for what in $WHAT; do "$what"; done
for kind in $KINDS; do
  more=()
  [ "$kind" != md ] || more=(data2=persistent:virtio-DATA2)
  vm 'blank /dev/vda /dev/vdb /dev/vdc /dev/vdd /dev/vde; head -c 32 /dev/zero | tr "\0" k >/tmp/disk.key'
  plan --role "$kind" "${os[@]}" "${data[@]}" "${more[@]}"
  expect 0 "$kind: blank"
  vm "echo $kind >/mnt/data/marker; sync"
  plan --role "$kind" "${os[@]}" "${data[@]}" "${more[@]}"
  expect 0 "$kind: again"
  is "$kind: its data is kept" "$(marker)" "$kind"
  "foreign_$kind"
done
say "$ran runs, $bad wrong"
[ "$bad" = 0 ]
