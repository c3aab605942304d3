# Turns ufw on, as it is installed.
mkdir -p /run/ufw-etc/applications.d
cp /usr/share/ufw/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/sysctl.conf \
    /run/ufw-etc
mount --bind /run/ufw-etc /etc/ufw
cp /etc/default/ufw /run/ufw-default
mount --bind /run/ufw-default /etc/default/ufw
ufw --force enable
