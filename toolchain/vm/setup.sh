#!/bin/sh
# Finishes the node's operating system, from outside: mmdebstrap runs it with the root's folder as its argument.
set -eu
root=$1

# The network, cloud-init, sshd and the journal are set up by files under root/. Here is what only commands can do.
ln -sf /run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
install -d -m 0755 "$root/var/lib/hardway/store"
install -d -m 2755 "$root/var/log/journal"

chroot "$root" systemctl enable systemd-networkd.service systemd-resolved.service ssh.service
# Nothing of this serves a node, and under emulation each costs time at boot.
chroot "$root" systemctl mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    man-db.timer systemd-pstore.service getty@tty1.service serial-getty@ttyS0.service getty.target \
    cloud-init-hotplugd.socket systemd-journal-catalog-update.service systemd-update-done.service \
    ldconfig.service systemd-firstboot.service systemd-machine-id-commit.service
# The rules of kube-proxy and the CNI plugins are made by them: what the package brings would be flushed at a restart.
chroot "$root" systemctl disable nftables.service 2>/dev/null || true

chroot "$root" update-initramfs -u -k all

# Every machine made from this image makes its own: none of it may be shared.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub "$root/var/lib/dbus/machine-id" \
    "$root/var/lib/systemd/random-seed" "$root"/etc/hostname
: > "$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old "$root"/var/log/*.log \
    "$root"/var/log/apt
