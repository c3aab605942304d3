#!/bin/sh
# Lesson 2.
# Two endpoints on a bridge reach each other, the host, and a machine outside that knows no
# route back to them: it sees the host's address (masquerade).
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"

mkdir -p /run/outside/cgi-bin
cat >/run/outside/cgi-bin/who <<'EOF'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\nyou are %s\n' "$REMOTE_ADDR"
EOF
chmod +x /run/outside/cgi-bin/who

say 'A machine outside, on a cable of its own. It has no route but to this host. Its
web server says who is calling.'
run netcord none outside
run ip link add uplink type veth peer name eth0 netns outside
run ip address add 192.0.2.1/24 dev uplink
run ip link set uplink up
run netcord container netns:outside -- ip address add 192.0.2.2/24 dev eth0
run netcord container netns:outside -- ip link set eth0 up
run netcord container netns:outside -- busybox httpd -p 192.0.2.2:80 -h /run/outside

say 'Two namespaces, one bridge.'
run netcord none red
run netcord none blue
run netcord bridge lab0 --subnet 10.7.0.0/24
run netcord attach lab0 red blue
expect blue netcord ps lab0

say 'Red reaches blue through the bridge, and the host at its gateway.'
expect ' 0% packet loss' netcord container red -- ping -c 1 -W 5 10.7.0.3
expect ' 0% packet loss' netcord container red -- ping -c 1 -W 5 10.7.0.1

say 'Red reaches the machine outside, which sees the host: 192.0.2.1, not 10.7.0.2.'
expect 'you are 192.0.2.1' netcord container red -- busybox wget -qO- http://192.0.2.2/cgi-bin/who

say 'The commands that would have made red the same by hand.'
run netcord inspect red --commands

say 'Remove everything.'
run netcord detach lab0 red blue
run netcord rm lab0
refuse netcord container red -- ping -c 1 -W 1 192.0.2.2

answer 'Which source address does the world see, and who changed it?' \
    '192.0.2.1, the host'\''s. The host rewrote the source in POSTROUTING (masquerade), and rewrites the reply'\''s destination back, as connection tracking remembers both addresses.'
