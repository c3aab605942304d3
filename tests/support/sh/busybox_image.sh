# An image of one static program, in the directory $1.
set -e
cd "$1"
mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev rootfs/etc rootfs/tmp rootfs/www
cp "$(command -v busybox)" rootfs/bin/busybox
for applet in cat httpd sh sleep; do ln -s busybox rootfs/bin/$applet; done
tar -C rootfs -cf busybox.tar .
