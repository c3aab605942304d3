# The chains and jumps that docker has, and masquerade.
set -eu
bridge=$1

iptables -N DOCKER
iptables -A FORWARD -o "$bridge" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -o "$bridge" -j DOCKER
iptables -A FORWARD -i "$bridge" -j ACCEPT
iptables -t nat -N DOCKER
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 10.77.0.0/16 ! -o "$bridge" -j MASQUERADE
