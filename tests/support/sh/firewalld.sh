# Starts firewalld with the back end $1, and as it is installed otherwise.
mkdir -p /run/dbus /run/firewalld-etc
# Everybody in the namespace may own and call everything.
cat >/run/bus.conf <<'END'
<busconfig>
<type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/><allow eavesdrop="true"/>
<allow send_destination="*"/><allow receive_sender="*"/>
</policy></busconfig>
END
echo "FirewallBackend=$1" >/run/firewalld-etc/firewalld.conf
mount --bind /run/firewalld-etc /etc/firewalld
dbus-daemon --config-file=/run/bus.conf --fork --nopidfile
setsid firewalld --nofork --nopid --log-file=/run/firewalld.log >/run/firewalld.out 2>&1 &
