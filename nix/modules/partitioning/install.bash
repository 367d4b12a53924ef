# The part of the install script that is the same for every host. Declarations and steps follow it.
set -euo pipefail
export LC_ALL=C
slots=() wiped=()
declare -A class device planned serial wwn signatures partuuids owned bytes model # by slot
declare -A whole parts pools verdict path written                   # by slot
declare -A label_slot                                               # by partition label
declare -A name_slots                                               # by "KIND NAME" of an array, volume group, pool, opened LUKS
steps=0

say() { printf 'hatchery: %s\n' "$*"; }
step() { steps=$((steps + 1)); say "step $steps: $*"; }
refuse() { # CODE TEXT
  say "REFUSED ($1): $2. Nothing was written." >&2
  exit "$1"
}
run() {
  local rc=0
  "$@" </dev/null || rc=$?
  if [ "$rc" != 0 ]; then
    say "FAILED: ${1##*/} ended with $rc" >&2
    exit 1 # never one of ours: a tool's own 20 would look like a refusal
  fi
}

disk() { # SLOT CLASS DEVICE PLANNED SERIAL WWN SIGNATURES PARTUUIDS OWNED BYTES MODEL
  slots+=("$1")
  class[$1]=$2 device[$1]=$3 planned[$1]=$4 serial[$1]=$5 wwn[$1]=$6 signatures[$1]=$7 partuuids[$1]=$8 owned[$1]=$9 bytes[$1]=${10:-} model[$1]=${11:-}
  whole[$1]="" parts[$1]="" pools[$1]=""
}
mark_whole() { whole[$1]=$2; }
mark_part() { parts[$1]+="$2"$'\t'"$3"$'\n'; }
member() { pools[$1]+="$2 $3"$'\n'; }
label() { label_slot[$2]=$1; }
name() { name_slots["$2 $3"]+=" $1"; } # SLOT KIND NAME: the layout's, and the slot is below it

is_wiped() { # SLOT: will it be destroyed?
  local w
  [ "${class[$1]}" = ephemeral ] && return 0
  for w in "${wiped[@]+"${wiped[@]}"}"; do [ "$w" = "$1" ] && return 0; done
  return 1
}

# --- what is on a disk -------------------------------------------------------
kernel_parts() { # KERNELNAME: the kernel names of its partitions
  local p
  for p in /sys/class/block/"$1"/"$1"*/partition; do
    [ -e "$p" ] || continue
    p=${p%/partition}
    echo "${p##*/}"
  done
}
probe() { blkid -p -o value -s "$2" "/dev/$1" 2>/dev/null || true; } # KERNELNAME TAG
found_signatures() { # KERNELNAME
  { wipefs --noheadings --output TYPE "/dev/$1" 2>/dev/null || true; } | awk '$1 != "" && $1 != "PMBR" { print $1 }' | sort -u | paste -sd ' ' -
}
found_partuuids() { # KERNELNAME: GPT ones only, as in the plan
  local p
  for p in $(kernel_parts "$1"); do probe "$p" PART_ENTRY_UUID; done |
    tr '[:upper:]' '[:lower:]' | { grep -E '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' || true; } | sort -u | paste -sd ' ' -
}
tidy() { tr -d '\000' | tr -s '[:space:]' ' ' | sed 's/^ *//; s/ *$//'; }
identities() { # KERNELNAME: every serial and WWN that the kernel or udev has for it, one a line
  local f
  for f in serial device/serial wwid device/wwid; do
    [ -r "/sys/class/block/$1/$f" ] && { tidy <"/sys/class/block/$1/$f"; echo; }
  done
  [ -r "/sys/class/block/$1/device/vpd_pg80" ] && { tail -c +5 "/sys/class/block/$1/device/vpd_pg80" | tidy; echo; }
  { udevadm info --query=property --name="/dev/$1" 2>/dev/null || true; } |
    sed -n 's/^\(ID_SERIAL\|ID_SERIAL_SHORT\|ID_SCSI_SERIAL\|ID_WWN\|ID_WWN_WITH_EXTENSION\|ID_NVME_SERIAL_NO\)=//p' | tidy_lines
  { lsblk -dno SERIAL "/dev/$1" 2>/dev/null || true; } | tidy_lines
}
tidy_lines() { sed 's/[[:space:]][[:space:]]*/ /g; s/^ //; s/ $//'; }
is_known_as() { # KERNELNAME TEXT
  local all # not a pipe: grep -q ends early, and pipefail would take that for a no
  all=$(identities "$1")
  grep -Fxq -- "$(printf '%s' "$2" | tidy)" <<<"$all"
}
with_holders() { # KERNELNAME: it, its partitions and all that sits on them (LVM, LUKS, md)
  local n h
  for n in "$1" $(kernel_parts "$1"); do
    echo "$n"
    for h in /sys/class/block/"$n"/holders/*; do
      [ -e "$h" ] && with_holders "${h##*/}"
    done
  done
}
with_parts() { # KERNELNAME: it and its partitions
  echo "$1"
  kernel_parts "$1"
}
disk_of() { # KERNELNAME of a partition: its disk
  if [ -e "/sys/class/block/$1/partition" ]; then basename "$(dirname "$(realpath "/sys/class/block/$1")")"; else echo "$1"; fi
}
root_disks() { # KERNELNAME: the disks below it
  local s n any=0
  n=$(disk_of "$1")
  for s in /sys/class/block/"$n"/slaves/*; do
    [ -e "$s" ] || continue
    any=1
    root_disks "${s##*/}"
  done
  [ "$any" = 1 ] || echo "$n"
}
all_blocks() { # the kernel names of all that could hold something
  local p
  for p in /sys/class/block/*; do
    case ${p##*/} in ram* | zram* | fd*) ;; *) [ "$(cat "$p/size")" = 0 ] || echo "${p##*/}" ;; esac
  done
}
stray() { # KERNELNAME SLOT…: the first disk below it that is in none of the slots
  local d t
  for d in $(root_disks "$1"); do
    t=$(slot_of "$d")
    [ -n "$t" ] && [[ " ${*:2} " == *" $t "* ]] || { echo "$d"; return; }
  done
}
slot_of() { # KERNELNAME of a disk: its slot, or nothing
  local s
  for s in "${slots[@]}"; do [ "${path[$s]}" = "$1" ] && { echo "$s"; return; }; done
  return 0
}
name_of() { # SLOT: for messages
  echo "disk ${device[$1]} (slot $1${serial[$1]:+, serial ${serial[$1]}})"
}

# --- the checks, in the order of DESIGN section 2 ---------------------------------
# Judges, and lets go of what an earlier run mounted, until no disk was written to meanwhile: what was judged is
# what the next step finds. No lock would do: disko's tools want to open the disks themselves, and none keeps dd out.
settle_judgement() {
  local try s moved
  say "$title"
  for try in 1 2 3; do
    judge
    release
    moved=
    for s in "${slots[@]}"; do unwritten "$s" || moved+=" $s"; done
    [ -n "$moved" ] || return 0
    say "written to while it was judged:$moved. Judging again ($try)"
  done
  refuse 24 "something else keeps writing to${moved}: stop it and plan again"
}
# Fails when a disk that is about to be made anew was written to since it was judged. Disks with something on top
# (an array that syncs writes all the time) count as judged by what is on them.
unwritten() { # SLOT
  is_wiped "$1" || [ "${verdict[$1]}" = blank ] || return 0
  [ "$(with_holders "${path[$1]}")" = "$(with_parts "${path[$1]}")" ] || return 0
  [ "$(writes "${path[$1]}")" = "${written[$1]}" ]
}
# The same just before a later step, when it is too late to refuse.
still() { # SLOT…
  local s
  for s in "$@"; do
    unwritten "$s" || { say "FAILED: something wrote to $(name_of "$s") since it was judged: left as it is. Look at it, then plan again" >&2; exit 1; }
  done
}
writes() { # KERNELNAME: the sectors written and discarded since the kernel found it; flushes what waits first
  local s
  sync "/dev/$1" 2>/dev/null || true
  read -ra s <"/sys/class/block/$1/stat" # Documentation/block/stat.rst
  echo "${s[6]} ${s[13]:-0}"
}
judge() {
  local s found
  udevadm settle --timeout 30 || true
  found=$(names_found)
  for s in "${slots[@]}"; do check_there "$s"; done
  for s in "${slots[@]}"; do written[$s]=$(writes "${path[$s]}"); done
  check_twice
  for s in "${slots[@]}"; do check_in_use "$s"; done
  for s in "${slots[@]}"; do [ "${class[$s]}" = persistent ] && judge_persistent "$s"; done
  check_units
  for s in "${slots[@]}"; do check_planned "$s"; done
  for s in "${slots[@]}"; do is_wiped "$s" && check_spanning "$s"; done
  check_labels
  check_names
  check_copies
  return 0
}
check_there() {
  local real
  [ -b "${device[$1]}" ] || refuse 20 "$(name_of "$1") is not there"
  real=$(realpath "${device[$1]}")
  path[$1]=${real##*/}
  [ -e "/sys/class/block/${path[$1]}" ] || refuse 20 "$(name_of "$1") is no disk of this machine"
  [ ! -e "/sys/class/block/${path[$1]}/partition" ] || refuse 20 "$(name_of "$1") is a partition, not a whole disk"
}
check_twice() {
  local a b
  for a in "${slots[@]}"; do
    for b in "${slots[@]}"; do
      [ "$a" \< "$b" ] && [ "${path[$a]}" = "${path[$b]}" ] &&
        refuse 22 "slots $a and $b are one disk, /dev/${path[$a]}"
    done
  done
  return 0
}
check_in_use() {
  local n dev at
  for n in $(with_holders "${path[$1]}"); do
    dev=$(cat "/sys/class/block/$n/dev")
    at=$(awk -v d="$dev" -v s="/dev/$n" '{ for (i = 7; i <= NF && $i != "-"; i++); if (($3 == d || $(i + 2) == s) && $5 !~ /^\/mnt(\/|$)/) { print $5; exit } }' /proc/self/mountinfo)
    [ -z "$at" ] || refuse 23 "$(name_of "$1") is in use: $n is mounted at $at. Is it the medium that this machine was started from?"
  done
}
# What cannot be read looks blank to blkid and wipefs. Beginning and end are where signatures are.
readable() { # KERNELNAME
  local size
  size=$(cat "/sys/class/block/$1/size" 2>/dev/null) || return 1
  dd if="/dev/$1" of=/dev/null bs=65536 count=16 2>/dev/null &&
    dd if="/dev/$1" of=/dev/null bs=65536 skip=$((size > 2048 ? size / 128 - 16 : 0)) 2>/dev/null
}
judge_persistent() {
  local s=$1 k=${path[$1]} sig v
  is_wiped "$s" || readable "$k" || refuse 21 "$(name_of "$s") cannot be read, so nobody knows what it holds. Look at its cable and its health"
  sig=$(found_signatures "$k")
  if [ -z "$sig" ] && [ -z "$(kernel_parts "$k")" ] && ! blkid -p "/dev/$k" >/dev/null 2>&1; then
    v=blank
  elif reason=$(foreign_because "$s" "$k" "$sig"); then
    v=ours
  else
    v=foreign
  fi
  verdict[$s]=$v
  say "persistent disk $s (${device[$s]}): $v${reason:+: $reason}"
  if [ "$v" = foreign ] && ! is_wiped "$s"; then
    refuse 21 "$(name_of "$s") holds something else ($reason)"
  fi
  reason=
}
# Prints why the disk is not ours and fails, or succeeds without a word.
foreign_because() { # SLOT KERNELNAME SIGNATURES
  local lab type p hit kind pool
  if [ -z "${parts[$1]}" ]; then
    [ "$3" = "${whole[$1]}" ] || { echo "found ${3:-partitions}, the layout has ${whole[$1]:-nothing}"; return 1; }
    [ "${owned[$1]}" = 1 ] || [ "${planned[$1]}" = 0 ] || { echo "a bare ${whole[$1]} that this appliance did not put there"; return 1; }
  fi
  while IFS=$'\t' read -r lab type; do
    [ -n "$lab" ] || continue
    hit=
    for p in $(kernel_parts "$2"); do
      [ "$(probe "$p" PART_ENTRY_NAME)" = "$lab" ] && hit=$p
    done
    [ -n "$hit" ] || { echo "found ${3:-no table}, it has no partition $lab"; return 1; }
    [ -z "$type" ] || [ "$(probe "$hit" TYPE)" = "$type" ] || { echo "partition $lab holds $(probe "$hit" TYPE | sed 's/^$/nothing known/'), the layout has $type"; return 1; }
  done <<<"${parts[$1]}"
  while read -r kind pool; do
    [ -n "$kind" ] && names_known "$kind" || continue
    # arrays with the oldest kind of metadata have no name
    grep -Fxq -e "$kind"$'\t'"$2"$'\t'"$pool" -e "mdadm"$'\t'"$2"$'\t?' <<<"$found" || { echo "it is part of no $(kind_word "$kind") $pool"; return 1; }
  done <<<"${pools[$1]}"
}
kind_word() { case $1 in mdadm) echo array ;; lvm_vg) echo "volume group" ;; zpool) echo "ZFS pool" ;; luks) echo "opened LUKS device" ;; *) echo pool ;; esac; }
names_known() { case $1 in mdadm | zpool) ;; lvm_vg) command -v pvs >/dev/null ;; *) false ;; esac; } # KIND: does names_found find these?
# Every array, volume group, ZFS pool and opened LUKS device that can be seen, on every disk below it: KIND, tab, KERNELNAME, tab, NAME.
names_found() {
  local p k d lab
  for k in $(all_blocks); do
    p=/sys/class/block/$k
    case $(probe "$k" TYPE) in
      linux_raid_member) lab=$(probe "$k" LABEL) && lab=${lab#*:} && named mdadm "$k" "${lab:-?}" ;; # HOMEHOST:NAME
      zfs_member) named zpool "$k" "$(probe "$k" LABEL)" ;;
    esac
    [[ "$(cat "$p/dm/uuid" 2>/dev/null)" != CRYPT-* ]] || named luks "$k" "$(cat "$p/dm/name")"
  done
  for p in /dev/md/*; do
    [ ! -b "$p" ] || named mdadm "$(basename "$(realpath "$p")")" "${p##*/}"
  done
  { pvs --noheadings --separator $'\t' -o pv_name,vg_name 2>/dev/null || true; } | while IFS=$'\t' read -r d lab; do
    named lvm_vg "$(basename "$(realpath "${d##* }")")" "$lab"
  done
}
named() { # KIND KERNELNAME NAME
  local d
  [ -n "$3" ] || return 0
  for d in $(root_disks "$2"); do printf '%s\t%s\t%s\n' "$1" "$d" "$(tr -d '\t\n' <<<"$3")"; done
}
# A pool over several disks is blank or ours as a whole.
check_units() {
  local a b k
  for a in "${slots[@]}"; do
    [ "${class[$a]}" = persistent ] || continue
    for b in "${slots[@]}"; do
      [ "${class[$b]}" = persistent ] && [ "${verdict[$a]}" != "${verdict[$b]}" ] && ! is_wiped "$a" && ! is_wiped "$b" || continue
      while read -r k; do
        [ -n "$k" ] && grep -Fxq -- "$k" <<<"${pools[$b]}" && refuse 21 "slots $a and $b belong to one pool ($k), but $a is ${verdict[$a]} and $b is ${verdict[$b]}"
      done <<<"${pools[$a]}"
    done
  done
  return 0
}
check_planned() {
  local s=$1 k=${path[$1]} sig uuids
  [ "${planned[$s]}" = 1 ] || return 0
  [ -z "${serial[$s]}" ] || is_known_as "$k" "${serial[$s]}" || refuse 24 "$(name_of "$s") has another serial now"
  [ -z "${wwn[$s]}" ] || [ -n "${serial[$s]}" ] || is_known_as "$k" "${wwn[$s]}" || refuse 24 "$(name_of "$s") has another WWN now"
  case ${device[$s]} in /dev/disk/by-path/*) check_port "$s" "$k" ;; esac
  sig=$(found_signatures "$k")
  [ "$sig" = "${signatures[$s]}" ] || refuse 24 "$(name_of "$s") changed since the plan was confirmed: it held ${signatures[$s]:-nothing}, now ${sig:-nothing}"
  uuids=$(found_partuuids "$k")
  [ "$uuids" = "${partuuids[$s]}" ] || refuse 24 "$(name_of "$s") changed since the plan was confirmed: its partitions were ${partuuids[$s]:-none}, now ${uuids:-none}"
}
# A port is not a disk: what hangs there must be what hung there, by all that can be told of it.
check_port() { # SLOT KERNELNAME
  local now all was
  if [ -z "${serial[$1]}" ] && [ -z "${wwn[$1]}" ]; then
    all=$(identities "$2" | { grep -Ev '^$|^(t10|nvme|uuid)\.' || true; })
    [ -z "$all" ] || refuse 24 "$(name_of "$1") has a serial number now, ${all%%$'\n'*}"
  fi
  now=$(($(cat "/sys/class/block/$2/size") * 512))
  [ -z "${bytes[$1]}" ] || [ "$now" = "${bytes[$1]}" ] || refuse 24 "$(name_of "$1") has another size now: it had ${bytes[$1]} bytes, now $now"
  now=$(model_of "$2") was=$(printf '%s' "${model[$1]}" | tidy)
  [ -z "${bytes[$1]}" ] || [ "$now" = "$was" ] || refuse 24 "$(name_of "$1") is of another model now: it was ${was:-of none}, now ${now:-of none}"
}
model_of() { # KERNELNAME: as the agent tells it (cmd/hatchery-agent/disks.go)
  local f m=
  for f in model name; do
    [ -n "$m" ] || [ ! -r "/sys/class/block/$1/device/$f" ] || m=$(tidy <"/sys/class/block/$1/device/$f")
  done
  [ -n "$m" ] || m=$({ udevadm info --query=property --name="/dev/$1" 2>/dev/null || true; } | sed -n 's/^ID_MODEL=//p' | tr _ ' ' | tidy)
  printf '%s' "$m"
}
# Wiping a member destroys its whole volume group or array: none may reach a disk that is kept.
check_spanning() {
  local n d t vg pv
  for n in $(with_holders "${path[$1]}"); do
    for d in $(root_disks "$n"); do
      t=$(slot_of "$d")
      [ -n "$t" ] && is_wiped "$t" || refuse 21 "$(name_of "$1") is part of $n, which is also on /dev/$d: wiping one would destroy the other"
    done
  done
  command -v pvs >/dev/null || return 0
  for vg in $(groups_on "${path[$1]}"); do
    for pv in $(pvs --noheadings -o pv_name -S "vg_name=$vg" 2>/dev/null); do
      d=$(pv_disk "$pv")
      t=$(slot_of "$d")
      [ -n "$t" ] && is_wiped "$t" || refuse 21 "$(name_of "$1") is part of volume group $vg, which is also on /dev/$d: wiping one would destroy the other"
    done
  done
}
pv_disk() { disk_of "$(basename "$(realpath "$1")")"; }
groups_on() { # KERNELNAME of a disk: the volume groups on it
  local pv vg
  pvs --noheadings -o pv_name,vg_name 2>/dev/null | while read -r pv vg; do
    [ -n "$vg" ] && [ "$(pv_disk "$pv")" = "$1" ] && echo "$vg"
  done | sort -u
}
# disko finds partitions by label: a second disk with one of ours would be mistaken for it.
check_labels() {
  local p k lab d t
  for p in /sys/class/block/*/partition; do
    [ -e "$p" ] || continue
    k=$(basename "$(dirname "$p")")
    lab=$(probe "$k" PART_ENTRY_NAME)
    [ -n "$lab" ] && [ -n "${label_slot[$lab]+x}" ] || continue
    d=$(disk_of "$k")
    t=$(slot_of "$d")
    [ "$t" = "${label_slot[$lab]}" ] && continue
    [ -n "$t" ] && is_wiped "$t" && continue
    refuse 22 "partition label $lab of slot ${label_slot[$lab]} is also on /dev/$d. Unplug that disk, or rename its partition"
  done
  return 0
}

# disko takes what has one of the layout's names for the layout's: it would make volumes in another disk's volume
# group, and mount another disk's array.
check_names() {
  local kind n d t
  while IFS=$'\t' read -r kind d n; do
    [ -n "$n" ] && [ -n "${name_slots["$kind $n"]+x}" ] || continue
    t=$(slot_of "$d")
    [ -n "$t" ] && { is_wiped "$t" || [[ " ${name_slots["$kind $n"]} " == *" $t "* ]]; } && continue
    refuse 22 "the layout's $(kind_word "$kind") $n is also on /dev/$d. Unplug that disk, or rename it there"
  done <<<"$found"
}
# A kept disk whose file system, array, pool or LUKS header is on another disk too: that one is a copy of it, or the
# rest of its pool. Linux would take either for the other.
check_copies() {
  local s n d u
  local -A kept=()
  for s in "${slots[@]}"; do
    [ "${verdict[$s]:-}" = ours ] && ! is_wiped "$s" || continue
    for n in $(with_parts "${path[$s]}"); do
      u=$(probe "$n" UUID)
      [ -z "$u" ] || kept[$u]=$s
    done
  done
  [ ${#kept[@]} != 0 ] || return 0
  for n in $(all_blocks); do
    d=$(stray "$n" "${slots[@]}")
    [ -n "$d" ] || continue
    u=$(probe "$n" UUID)
    [ -z "$u" ] || [ -z "${kept[$u]+x}" ] || refuse 22 "/dev/$n carries the UUID of what $(name_of "${kept[$u]}") holds ($u): a copy, or another part of its pool. Unplug /dev/$d"
  done
  return 0
}

# --- formatting and mounting -----------------------------------------------------
# Lets go of what an earlier run left below /mnt, last mounted first.
release() {
  local at
  swapoff -a 2>/dev/null || true
  awk '$5 ~ /^\/mnt(\/|$)/ { print $5 }' /proc/self/mountinfo | tac | while read -r at; do
    at=$(printf '%b' "$at") # spaces are \040 there
    umount "$at" || umount -l "$at" || { say "FAILED: $at of an earlier run cannot be unmounted; nothing was written" >&2; exit 1; }
  done
}
now_blank() { local s; for s in "$@"; do verdict[$s]=blank written[$s]=$(writes "${path[$s]}"); done; }
blank_unit() { local s; for s in "$@"; do [ "${verdict[$s]}" = blank ] || return 1; done; }
# Formats disks that were judged blank; when that fails they are made blank again, so that a retry finds
# them as it did.
run_on_blank() { # SLOT… -- COMMAND…
  local unit=() s p
  while [ "$1" != -- ]; do unit+=("$1"); shift; done
  shift
  ("$@") </dev/null && return
  for s in "${unit[@]}"; do
    for p in $(kernel_parts "${path[$s]}"); do wipefs -aqf "/dev/$p" || true; done
    wipefs -aqf "/dev/${path[$s]}" || true
    blockdev --rereadpt "/dev/${path[$s]}" || true # or the next judgement sees the partitions that were
  done
  say "FAILED: formatting ${unit[*]}; made blank again" >&2
  exit 1
}
# disko's mount takes arrays for assembled, and the appliance let go of them before. Only the layout's own, of disks
# of the plan: assembling writes to every member.
assemble() {
  local s kind pool k held d
  local -A members=()
  for s in "${slots[@]}"; do
    while read -r kind pool; do
      [ "$kind" = mdadm ] || continue
      if [ -e "/dev/md/$pool" ]; then
        k=$(realpath "/dev/md/$pool")
        # shellcheck disable=SC2086 # several words
        d=$(stray "${k##*/}" ${name_slots["$kind $pool"]})
        [ -z "$d" ] || { say "FAILED: /dev/md/$pool is on /dev/$d, which is not the layout's. Unplug that disk, then plan again" >&2; exit 1; }
        continue
      fi
      for k in "${path[$s]}" $(kernel_parts "${path[$s]}"); do
        [ "$(probe "$k" TYPE)" = linux_raid_member ] || continue
        for held in "/sys/class/block/$k/holders"/md*; do # assembled by itself, under another name
          [ ! -e "$held" ] || run mdadm --stop "/dev/${held##*/}"
        done
        members[$pool]+=" /dev/$k"
      done
    done <<<"${pools[$s]}"
  done
  for pool in "${!members[@]}"; do
    # shellcheck disable=SC2086 # several words
    run mdadm --assemble "/dev/md/$pool" ${members[$pool]}
  done
  udevadm settle --timeout 30 || true
}
mounted() { # PATH FSTYPE SLOT…: is it really mounted, and only from those slots' disks? No slot: nothing is behind it
  local at=/mnt src d
  [ "$1" = / ] || at=/mnt$1
  src=$(findmnt -nro SOURCE --mountpoint "$at" | sed 's/\[.*//') || true
  [ -n "$src" ] || { say "FAILED: $at is not mounted" >&2; exit 1; }
  # ZFS' source is no device; its pools were looked at before
  [ $# -gt 2 ] && [ "$2" != zfs ] || { say "mounted $at ($2)"; return; }
  src=$(realpath "${src%%:/dev/*}")
  d=$(stray "${src##*/}" "${@:3}")
  [ -z "$d" ] || { say "FAILED: $at is mounted from /dev/$d, not from slot ${*:3}" >&2; exit 1; }
  say "mounted $at ($2) from slot ${*:3}"
}
