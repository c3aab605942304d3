#!/bin/sh
# Things that break a network, one at a time, as they happen to everybody. Guess first; then ask
# doctor, which shows its evidence, and do what it says.
[ -n "${NETCORD_LAB:-}" ] || exec netcord lab -- sh "$0" "$@"
. "$(dirname "$0")/show"

# broken ID: doctor finds this, and nothing once its command was run.
broken() {
    show netcord doctor
    found=$(netcord doctor) && fail 'doctor found nothing'
    printf '%s\n' "$found"
    case $found in
    *"[$1]"*) ;;
    *) fail "doctor did not find $1" ;;
    esac
    remedy=$(printf '%s\n' "$found" | sed -n 's/^ *\$ //p' | head -1)
    say 'As it says:'
    show "$remedy"
    sh -c "$remedy" >/dev/null
    nothing netcord doctor
}

run netcord bridge lab0 --subnet 10.7.0.0/24
run netcord none red
run netcord none blue
run netcord attach lab0 red blue
nothing netcord doctor

say 'Red reaches blue, and nothing else. (Somebody tidied up the routes.)'
ip -n red route del default
expect ' 0% packet loss' netcord container red -- ping -c 1 -W 5 10.7.0.3
refuse netcord container red -- ping -c 1 -W 1 192.0.2.1
broken default-route

say 'Small things pass, large ones never arrive. (A wrong MTU.)'
ip -n red link set eth0 mtu 9000
expect ' 0% packet loss' netcord container red -- ping -c 1 -W 5 10.7.0.3
refuse netcord container red -- ping -c 1 -W 1 -s 4000 -M 'do' 10.7.0.3
broken mtu-mismatch

say 'Blue is silent. (Its cable was pulled.)'
ip -n blue link set eth0 down
refuse netcord container red -- ping -c 1 -W 1 10.7.0.3
broken link-down
ip -n blue route replace default via 10.7.0.1

say 'Nothing leaves the host any more. (A hardening script.)'
sysctl -qw net.ipv4.ip_forward=0
broken forwarding-off

if command -v iptables >/dev/null; then
    say 'Nor now. (FORWARD DROP, as docker sets it.)'
    iptables -P FORWARD DROP
    broken forward-drop
fi

say 'And somebody flushed the rules.'
if command -v nft >/dev/null; then
    nft delete table inet netcord
    broken rules-missing
fi

say 'All away.'
run netcord detach lab0 red blue
run netcord rm lab0
