# Appended to the builder of toplevel: a system of busybox, Debian's kernel and sshd that starts itself.
mkdir -p $out/sw/bin
ln -s $bb/bin/* $out/sw/bin/
ln -s $kernel/vmlinuz $out/kernel
ln -s $initrd/initrd $out/initrd
printf %s "$kernelParams" > $out/kernel-params

cat > $out/sw/bin/systemctl <<'I'
#!/bin/sh
# what our checks ask systemd for
case "$*" in
  *is-system-running*) echo running ;;
  *is-active*) echo active ;;
  *reboot*) exec reboot ;;
  *poweroff*) exec poweroff ;;
  *) exit 0 ;;
esac
I
cat > $out/sw/bin/k3s <<'I'
#!/bin/sh
# answers `k3s kubectl get node …` as a node that is ready
[ -e /run/k3s-not-ready ] && state=NotReady || state=Ready
[ "$1 $2 $3" = "kubectl get node" ] && echo "$4 $state <none> 1m v1.33.0+stub"
I

cat > $out/sw/bin/nix-env <<'I'
#!/bin/sh
# `nix-env -p PROFILE --set SYSTEM` as nix does it: a new generation, the profile turned to it in one step
[ "$1 $3" = "-p --set" ] && [ -e "$4" ] || exit 1
n=1
while [ -L "$2-$n-link" ]; do n=$((n + 1)); done
ln -s "$4" "$2-$n-link" && ln -sfn "$(basename "$2")-$n-link" "$2.new" && mv -T "$2.new" "$2"
I

cat > $out/activate <<I
#!$bb/bin/sh
export PATH=$bb/bin
mkdir -p /bin /etc/ssh /root/.ssh /var/empty /var/lib /tmp /run /nix/var/nix/profiles
ln -sfn $bb/bin/sh /bin/sh
ln -sfn $fhs/lib /lib; ln -sfn $fhs/lib64 /lib64; ln -sfn $fhs/usr /usr
printf 'root:x:0:0:root:/root:/bin/sh\nsshd:x:74:74::/var/empty:/bin/false\nnobody:x:65534:65534::/:/bin/false\n' > /etc/passwd
printf 'root:x:0:\nsshd:x:74:\nnogroup:x:65534:\n' > /etc/group
printf 'root:*:19000:0:99999:7:::\nsshd:*:19000::::::\n' > /etc/shadow; chmod 600 /etc/shadow
printf 'passwd: files\nshadow: files\ngroup: files\nhosts: files dns\n' > /etc/nsswitch.conf
cp $out/stub/hostname /etc/hostname; cp $out/stub/hosts /etc/hosts
printf 'NAME=NixOS\nID=nixos\nVERSION_ID="26.05"\nPRETTY_NAME="NixOS 26.05 (stub)"\n' > /etc/os-release
chmod 700 /root /root/.ssh
cp $out/stub/authorized_keys /root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys
printf 'HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\nUseDNS no\nSubsystem sftp /usr/lib/openssh/sftp-server\nPidFile none\nSetEnv PATH=/run/current-system/sw/bin\n' > /etc/ssh/sshd_config
ln -sfn $out /run/current-system
# for tests of going back: a system that cannot be reached
for d in /sys/class/net/*; do
  [ -e \$d/device ] || continue
  if grep -q hatchery-test-deaf $out/stub/hosts; then ip link set \${d##*/} down; else ip link set \${d##*/} up; fi
done
true
I

cat > $out/init <<I
#!$bb/bin/sh
export PATH=$bb/bin HOME=/root
mkdir -p /proc /sys /dev /run /tmp
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/disk/by-partlabel; mount -t devpts devpts /dev/pts; mount -t tmpfs -o mode=755 tmpfs /run
exec </dev/null >/dev/console 2>&1
echo "STUB-BOOT $out"
mount -o remount,rw /
for m in \$(cat $modules/order); do insmod $modules/\$m 2>/dev/null; done
$out/activate
hostname -F /etc/hostname
for u in /sys/class/block/*/uevent; do
  l=\$(sed -n s/^PARTNAME=//p \$u); [ -n "\$l" ] && ln -sfn ../../\$(sed -n s/^DEVNAME=//p \$u) "/dev/disk/by-partlabel/\$l"
done
while read -r dev at type opts; do
  [ "\$at" = / ] && continue
  mkdir -p \$at; mount -t \$type \$dev \$at && echo "STUB-MOUNTED \$at" || echo "STUB-MOUNT-FAILED \$at"
done < $out/stub/fstab
ip link set lo up
for d in /sys/class/net/*; do
  i=\${d##*/}; [ -e \$d/device ] || continue
  ip link set \$i up
  mac=\$(cat \$d/address); got=
  while read -r m a gw; do
    case \$m in any|\$mac) ip addr add \$a dev \$i; [ -n "\$gw" ] && ip route add default via \${gw%%,*}; got=1; echo "STUB-NET \$i \$a" ;; esac
  done < $out/stub/network
  [ -n "\$got" ] || udhcpc -i \$i -b -S -s $out/udhcpc -x hostname:\$(hostname) -V nixos-stub &
done
mkdir -p /run/sshd
if [ -s /etc/ssh/ssh_host_ed25519_key ]; then
  chmod 600 /etc/ssh/ssh_host_ed25519_key
  /usr/sbin/sshd -f /etc/ssh/sshd_config -E /run/sshd.log && echo "STUB-SSHD"
else
  echo "STUB-NO-HOST-KEY"
fi
echo "STUB-READY \$(hostname)"
stop() { sync; umount -a -r 2>/dev/null; sync; \$1 -f; }
trap 'stop reboot' TERM; trap 'stop poweroff' USR1 USR2
while :; do sleep 3600 & wait \$!; done
I

cat > $out/udhcpc <<I
#!$bb/bin/sh
export PATH=$bb/bin
case \$1 in bound|renew)
  ip addr flush dev \$interface scope global 2>/dev/null
  ip addr add \$ip/\${mask:-24} dev \$interface
  for r in \$router; do ip route replace default via \$r; break; done
  : > /etc/resolv.conf; for d in \$dns; do echo "nameserver \$d" >> /etc/resolv.conf; done
  echo "STUB-NET \$interface \$ip" > /dev/console ;;
esac
I

cat > $out/bin/switch-to-configuration <<I
#!$bb/bin/sh
# boot: what an install needs; test: runs it now; switch: both
set -e
export PATH=$bb/bin
case \$1 in
  test | switch)
    echo "activating the configuration..."
    $out/activate
    if grep -q hatchery-test-broken $out/stub/hosts; then
      echo "warning: the following units failed: broken.service"
      exit 4
    fi
    [ "\$1" = switch ] || exit 0 ;;
  boot) ;;
  *) echo "switch-to-configuration of the stub: boot, test or switch"; exit 1 ;;
esac
[ -e /etc/NIXOS ] || { echo "This is not a NixOS installation!"; exit 1; }
grep -q ' /boot ' /proc/mounts || { echo "/boot is not mounted"; exit 1; }
mkdir -p /boot/hatchery
cp $kernel/vmlinuz /boot/hatchery/vmlinuz.new; mv /boot/hatchery/vmlinuz.new /boot/hatchery/vmlinuz
cp $initrd/initrd /boot/hatchery/initrd.new; mv /boot/hatchery/initrd.new /boot/hatchery/initrd
args="$kernelParams init=$out/init"
if [ "$firmware" = uefi ]; then
  mkdir -p /boot/EFI/BOOT /boot/loader/entries
  cp $loader/systemd-bootx64.efi /boot/EFI/BOOT/BOOTX64.EFI
  printf 'timeout 0\ndefault nixos.conf\n' > /boot/loader/loader.conf
  printf 'title NixOS\nlinux /hatchery/vmlinuz\ninitrd /hatchery/initrd\noptions %s\n' "\$args" > /boot/loader/entries/nixos.conf
else
  # extlinux on the ESP: the MBR code of syslinux starts the GPT partition with the legacy-boot attribute
  mkdir -p /boot/extlinux
  cp $loader/*.c32 /boot/extlinux/
  printf 'DEFAULT nixos\nPROMPT 0\nLABEL nixos\n  LINUX /hatchery/vmlinuz\n  INITRD /hatchery/initrd\n  APPEND %s\n' "\$args" > /boot/extlinux/extlinux.conf
  /usr/bin/extlinux --install /boot/extlinux
  for d in $grubDevices; do dd if=$loader/gptmbr.bin of=\$d bs=440 count=1 conv=notrunc,fsync; done
fi
sync
echo "boot loader ($firmware) installed"
I
chmod +x $out/activate $out/init $out/udhcpc $out/bin/switch-to-configuration $out/sw/bin/systemctl $out/sw/bin/k3s $out/sw/bin/nix-env
