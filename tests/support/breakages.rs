/// All of them, in the order of the table.
const BREAKAGES: &[Breakage] = &[
    Breakage {
        what: "the bridge is down",
        breaks: "ip link set lab0 down",
        doctor: "link-down",
        shows: "state DOWN",
        repair: true,
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "the link inside is down",
        breaks: "ip -n web link set eth0 down",
        doctor: "link-down",
        shows: "state DOWN",
        repair: true,
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "the host end is down",
        breaks: "ip link set webport down",
        doctor: "link-down",
        shows: "webport: state DOWN",
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "the host end is out of its bridge",
        breaks: "ip link set webport nomaster",
        doctor: "not-in-bridge",
        shows: "no master",
        repair: true,
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "the host end is in another bridge",
        breaks: "ip link set webport master lab1",
        doctor: "not-in-bridge",
        shows: "master lab1",
        repair: true,
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "the bridge is deleted",
        breaks: "ip link del lab0",
        doctor: "bridge-missing",
        shows: "does not exist",
        repair: true,
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "the host end is deleted",
        breaks: "ip link del dbport",
        doctor: "endpoint-dead",
        shows: "does not exist",
        repair: true,
        trace: ("web 10.1.0.1", "arrives socket"),
        mends: "netcord repair",
        ..NONE
    },
    Breakage {
        what: "an underlay's parent is out of its bridge",
        breaks: "ip link set eth1 nomaster",
        doctor: "not-in-bridge",
        shows: "eth1: no master",
        repair: true,
        trace: ("plc 203.0.113.2", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "an underlay's parent is in another bridge",
        breaks: "ip link set eth1 master br9",
        doctor: "not-in-bridge",
        shows: "eth1: master br9",
        repair: true,
        trace: ("plc 203.0.113.2", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "an underlay's parent is down",
        breaks: "ip link set eth1 down",
        doctor: "link-down",
        shows: "eth1: state DOWN",
        repair: true,
        trace: ("plc 203.0.113.2", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "an underlay's parent is unplugged",
        breaks: "ip -n site link set wire down",
        doctor: "no-carrier",
        shows: "NO-CARRIER",
        trace: ("plc 203.0.113.2", "dies bridge"),
        mends: "ip -n site link set wire up",
        ..NONE
    },
    Breakage {
        what: "an underlay's bridge is down",
        breaks: "ip link set phys0 down",
        doctor: "link-down",
        shows: "phys0: state DOWN",
        repair: true,
        trace: ("plc 203.0.113.2", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a foreign bridge is down",
        breaks: "ip link set br9 down",
        doctor: "link-down",
        shows: "br9: state DOWN",
        trace: ("guest 10.9.0.1", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a foreign bridge is gone",
        breaks: "ip link del br9",
        doctor: "bridge-missing",
        shows: "guestport: no master",
        repair: true,
        trace: ("guest 10.9.0.1", "dies neighbour"),
        mends: "ip link add br9 type bridge; ip addr add 10.9.0.1/24 dev br9; ip link set br9 up; netcord repair",
        ..NONE
    },
    Breakage {
        what: "the loopback inside is down",
        breaks: "ip -n web link set lo down",
        doctor: "loopback-down",
        shows: "lo: state DOWN",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the wire is unplugged",
        breaks: "ip -n outside link set wire down",
        doctor: "no-carrier",
        shows: "NO-CARRIER",
        trace: ("web 192.0.2.2", "dies link"),
        mends: "ip -n outside link set wire up",
        tidies: "until ip link show eth0 | grep -q LOWER_UP; do sleep 0.02; done; ip -n outside addr add 2001:db8::2/64 nodad dev wire 2>/dev/null || true",
        ..NONE
    },
    Breakage {
        what: "a port is isolated by hand",
        breaks: "bridge link set dev webport isolated on; bridge link set dev dbport isolated on",
        doctor: "port-isolated",
        shows: "webport: isolated on",
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a port of an isolated network is not",
        breaks: "bridge link set dev isoport isolated off",
        doctor: "port-isolated",
        shows: "isoport: isolated off",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "two have one MAC",
        breaks: "ip -n db link set eth0 address $(ip -n web -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/')",
        doctor: "mac-duplicate",
        shows: "dev eth0 in web",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the MAC inside is changed",
        breaks: "ip -n db link set eth0 address 02:00:00:00:00:09",
        doctor: "mac-changed",
        shows: "02:00:00:00:00:09",
        repair: true,
        trace: ("db 10.1.0.2:80", "arrives socket"),
        ..NONE
    },
    Breakage {
        what: "the MAC of the bridge is changed",
        breaks: "ip link set lab0 address 02:00:00:00:00:0a",
        doctor: "mac-changed",
        shows: "02:00:00:00:00:0a",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the MAC of the host end is changed",
        breaks: "ip link set webport address 02:00:00:00:00:99",
        repair: true,
        trace: ("db 10.1.0.2:80", "arrives socket"),
        ..NONE
    },
    Breakage {
        what: "the MTU inside is smaller",
        breaks: "ip -n web link set eth0 mtu 1400",
        doctor: "mtu-mismatch",
        shows: "eth0 mtu 1400 in web",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the MTU of the host end is smaller",
        breaks: "ip link set webport mtu 1400",
        doctor: "mtu-mismatch",
        shows: "webport mtu 1400",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the MTU of the bridge is smaller",
        breaks: "ip link set lab0 mtu 1400",
        doctor: "mtu-mismatch",
        shows: "lab0 mtu 1400",
        repair: true,
        mends: "netcord repair",
        ..NONE
    },
    Breakage {
        what: "the address inside is gone",
        breaks: "ip -n web addr del 10.1.0.2/24 dev eth0; ip -n web route add default via 10.1.0.1 dev eth0 onlink",
        doctor: "address-missing",
        shows: "addresses of eth0",
        repair: true,
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "the IPv6 address inside is gone",
        breaks: "ip -n web addr del fd00:1::2/64 dev eth0",
        doctor: "address-missing",
        shows: "addresses of eth0",
        repair: true,
        trace: ("db [fd00:1::2]:80", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "the gateway's address is gone",
        breaks: "ip addr del 10.1.0.1/24 dev lab0",
        doctor: "address-missing",
        shows: "addresses of lab0",
        repair: true,
        trace: ("web 192.0.2.2", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "the gateway's IPv6 address is gone",
        breaks: "ip addr del fd00:1::1/64 dev lab0",
        doctor: "address-missing",
        shows: "addresses of lab0",
        repair: true,
        trace: ("web fd00:1::1", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "two have one address",
        breaks: "ip -n db addr add 10.1.0.2/24 dev eth0",
        doctor: "address-clash",
        shows: "dev eth0 in db",
        ..NONE
    },
    Breakage {
        what: "a route leads a part of the subnet elsewhere",
        breaks: "ip route add 10.1.0.0/25 via 192.0.2.2 dev eth0",
        doctor: "address-clash",
        shows: "10.1.0.0/25 via",
        trace: ("host 10.1.0.2:80", "dies route"),
        ..NONE
    },
    Breakage {
        what: "the default route inside is gone",
        breaks: "ip -n web route del default",
        doctor: "default-route",
        shows: "routes inside",
        repair: true,
        trace: ("web 192.0.2.2", "dies route"),
        ..NONE
    },
    Breakage {
        what: "the IPv6 default route inside is gone",
        breaks: "ip -n web -6 route del default",
        doctor: "default-route",
        shows: "routes inside",
        repair: true,
        trace: ("web 2001:db8::2", "dies route"),
        ..NONE
    },
    Breakage {
        what: "the default route inside leads to nobody",
        breaks: "ip -n web route replace default via 10.1.0.99 dev eth0",
        doctor: "default-route",
        shows: "default via 10.1.0.99",
        repair: true,
        trace: ("web 192.0.2.2", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "the route to its own subnet is gone",
        breaks: "ip -n web route del 10.1.0.0/24 dev eth0",
        doctor: "route-missing",
        shows: "no route: 10.1.0.0/24",
        trace: ("web 10.1.0.3", "arrives socket"),
        ..NONE
    },
    Breakage {
        what: "the IPv6 route to its own subnet is gone",
        breaks: "ip -n web -6 route del fd00:1::/64 dev eth0",
        doctor: "route-missing",
        shows: "no route: fd00:1::/64",
        ..NONE
    },
    Breakage {
        what: "the local route inside is gone",
        breaks: "ip -n web route del local 10.1.0.2 dev eth0 table local",
        doctor: "route-missing",
        shows: "table local",
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "the IPv6 local route inside is gone",
        breaks: "ip -n web -6 route del local fd00:1::2 dev eth0 table local",
        doctor: "route-missing",
        shows: "table local",
        trace: ("db [fd00:1::2]:80", "dies route"),
        ..NONE
    },
    Breakage {
        what: "the gateway's local route is gone",
        breaks: "ip route del local 10.1.0.1 dev lab0 table local",
        doctor: "route-missing",
        shows: "local 10.1.0.1",
        trace: ("web 10.1.0.1", "dies neighbour"),
        ..NONE
    },
    Breakage {
        what: "IPv4 forwarding is off",
        breaks: "sysctl -qw net.ipv4.ip_forward=0",
        doctor: "forwarding-off",
        shows: "ip_forward = 0",
        repair: true,
        trace: ("web 192.0.2.2", "dies route"),
        ..NONE
    },
    Breakage {
        what: "IPv6 forwarding is off",
        breaks: "sysctl -qw net.ipv6.conf.all.forwarding=0",
        doctor: "forwarding-off",
        shows: "forwarding = 0",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "iptables' FORWARD policy drops",
        breaks: "iptables -P FORWARD DROP",
        doctor: "forward-drop",
        shows: "-P FORWARD DROP",
        repair: true,
        trace: ("web 192.0.2.2", "dies forward"),
        ..NONE
    },
    Breakage {
        what: "an ip6tables rule rejects in FORWARD",
        breaks: "ip6tables -A FORWARD -j REJECT",
        doctor: "forward-drop",
        shows: "-A FORWARD -j REJECT",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "an nftables policy drops what is forwarded",
        breaks: "nft add table inet corp; nft 'add chain inet corp pass { type filter hook forward priority 0; policy drop; }'",
        doctor: "bridge-netfilter forward-drop",
        shows: "policy drop",
        trace: ("web 192.0.2.2", "dies forward"),
        tidies: "nft delete table inet corp",
        ..NONE
    },
    Breakage {
        what: "iptables' INPUT policy drops",
        breaks: "iptables -P INPUT DROP",
        doctor: "input-drop",
        shows: "policy drop",
        trace: ("web 10.1.0.1", "dies input"),
        tidies: "iptables -P INPUT ACCEPT; iptables -F INPUT",
        ..NONE
    },
    Breakage {
        what: "ip6tables' INPUT policy drops",
        breaks: "ip6tables -P INPUT DROP",
        doctor: "input-drop",
        shows: "policy drop",
        tidies: "ip6tables -P INPUT ACCEPT; ip6tables -F INPUT",
        ..NONE
    },
    Breakage {
        what: "an nftables rule drops what is for the host",
        breaks: "nft add table inet corp; nft 'add chain inet corp own { type filter hook input priority 0; }'; nft add rule inet corp own iifname lab0 drop",
        doctor: "input-drop",
        shows: "drop",
        trace: ("web 10.1.0.1", "dies input"),
        tidies: "nft delete table inet corp",
        ..NONE
    },
    Breakage {
        what: "the host's name server is shut off",
        breaks: "dnsmasq --no-daemon --conf-file=/dev/null --user=root --no-resolv --no-hosts --bind-interfaces --listen-address=10.1.0.1 --except-interface=lo --pid-file= >/dev/null 2>&1 & echo $! >/run/dns; until ss -Hlnu sport = :53 | grep -q .; do sleep 0.02; done; iptables -A INPUT -i lab0 -p udp --dport 53 -j DROP",
        doctor: "input-drop",
        shows: "53",
        tidies: "kill $(cat /run/dns); iptables -F INPUT",
        ..NONE
    },
    Breakage {
        what: "iptables' OUTPUT drops what is for endpoints",
        breaks: "iptables -A OUTPUT -o lab0 -j DROP",
        doctor: "output-drop",
        shows: "drop",
        trace: ("host 10.1.0.2:80", "dies output"),
        tidies: "iptables -F OUTPUT",
        ..NONE
    },
    Breakage {
        what: "an nftables policy drops what the host sends",
        breaks: "nft add table inet corp; nft 'add chain inet corp out { type filter hook output priority 0; policy drop; }'",
        doctor: "output-drop",
        shows: "policy drop",
        trace: ("host 10.1.0.2:80", "dies output"),
        tidies: "nft delete table inet corp",
        ..NONE
    },
    Breakage {
        what: "iptables' INPUT policy inside drops",
        breaks: "ip netns exec web iptables -P INPUT DROP",
        doctor: "target-drop",
        shows: "policy drop",
        trace: ("outside 192.0.2.1:8080", "dies input"),
        tidies: "ip netns exec web iptables -P INPUT ACCEPT; ip netns exec web iptables -F INPUT",
        ..NONE
    },
    Breakage {
        what: "ip6tables' INPUT policy inside drops",
        breaks: "ip netns exec web ip6tables -P INPUT DROP",
        doctor: "target-drop",
        shows: "policy drop",
        tidies: "ip netns exec web ip6tables -P INPUT ACCEPT; ip netns exec web ip6tables -F INPUT",
        ..NONE
    },
    Breakage {
        what: "an nftables rule inside drops its port",
        breaks: "ip netns exec web nft add table inet own; ip netns exec web nft 'add chain inet own in { type filter hook input priority 0; }'; ip netns exec web nft add rule inet own in tcp dport 80 drop",
        doctor: "target-drop",
        shows: "dport 80 drop",
        trace: ("outside 192.0.2.1:8080", "dies input"),
        tidies: "ip netns exec web nft delete table inet own",
        ..NONE
    },
    Breakage {
        what: "iptables' OUTPUT policy inside drops",
        breaks: "ip netns exec db iptables -P OUTPUT DROP",
        doctor: "target-drop",
        shows: "policy drop",
        trace: ("db 10.1.0.2:80", "dies output"),
        tidies: "ip netns exec db iptables -P OUTPUT ACCEPT; ip netns exec db iptables -F OUTPUT",
        ..NONE
    },
    Breakage {
        what: "an nftables rule inside drops what it sends",
        breaks: "ip netns exec db nft add table inet own; ip netns exec db nft 'add chain inet own out { type filter hook output priority 0; }'; ip netns exec db nft add rule inet own out drop",
        doctor: "target-drop",
        shows: "drop",
        trace: ("db 10.1.0.2:80", "dies output"),
        tidies: "ip netns exec db nft delete table inet own",
        ..NONE
    },
    Breakage {
        what: "all rules of nftables are flushed",
        breaks: "nft flush ruleset",
        doctor: "port-missing rules-missing",
        shows: "not there",
        repair: true,
        trace: ("outside 192.0.2.1:8080", "refused socket"),
        ..NONE
    },
    Breakage {
        what: "the masquerade is flushed",
        breaks: "nft flush chain inet netcord nat-lab0",
        doctor: "masquerade-missing",
        shows: "not there",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a network's filter is flushed",
        breaks: "nft flush chain inet netcord filter-lab0",
        doctor: "rules-missing",
        shows: "not there",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a network is out of the filter's map",
        breaks: "nft delete element inet netcord filter '{ \"lab0\" }'",
        doctor: "rules-missing",
        shows: "not there",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the published ports are flushed",
        breaks: "nft flush map inet netcord ports4; nft flush map inet netcord ports6",
        doctor: "port-missing",
        shows: "not in ",
        repair: true,
        trace: ("outside 192.0.2.1:8080", "refused socket"),
        ..NONE
    },
    Breakage {
        what: "another rule takes a published port",
        breaks: "iptables -t nat -I PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.3:80",
        doctor: "port-shadowed",
        shows: "-A PREROUTING",
        trace: ("outside 192.0.2.1:8080", "refused socket"),
        ..NONE
    },
    Breakage {
        what: "a program of the host has a published port",
        breaks: "busybox httpd -f -p 8080 -h /run >/dev/null 2>&1 & echo $! >/run/shadow; until ss -Hltn sport = :8080 | grep -q .; do sleep 0.02; done",
        doctor: "port-listener",
        shows: "8080/tcp",
        trace: ("outside 192.0.2.1:8080", "arrives socket"),
        mends: "kill $(cat /run/shadow)",
        ..NONE
    },
    Breakage {
        what: "a port is published on an address that the host has lost",
        breaks: "ip addr add 192.0.2.77/24 dev eth0; netcord publish web 192.0.2.77:8383:80; ip addr del 192.0.2.77/24 dev eth0",
        doctor: "port-address",
        shows: "addresses of eth0",
        trace: ("outside 192.0.2.77:8383", "dies neighbour"),
        tidies: "netcord unpublish web 192.0.2.77:8383:80; ip addr del 192.0.2.77/24 dev eth0",
        ..NONE
    },
    Breakage {
        what: "a port is published on an address of no subnet",
        breaks: "ip addr add 198.51.100.7/32 dev lo; netcord publish web 198.51.100.7:8384:80; ip addr del 198.51.100.7/32 dev lo",
        doctor: "port-address",
        shows: "no link has an address",
        ..NONE
    },
    Breakage {
        what: "a port is published on an IPv6 address that is gone",
        breaks: "ip addr add 2001:db8::77/64 nodad dev eth0; netcord publish web [2001:db8::77]:8385:80; ip addr del 2001:db8::77/64 dev eth0",
        doctor: "port-address",
        shows: "addresses of eth0",
        tidies: "netcord unpublish web [2001:db8::77]:8385:80; ip addr del 2001:db8::77/64 dev eth0",
        ..NONE
    },
    Breakage {
        what: "a port is published on an IPv6 address that is still tentative",
        breaks: "sysctl -qw net.ipv6.conf.eth0.dad_transmits=600; ip addr add 2001:db8::78/64 dev eth0; netcord publish web [2001:db8::78]:8386:80",
        doctor: "port-address",
        shows: "2001:db8::78/64 is tentative",
        trace: ("host [2001:db8::78]:8386", "dies neighbour"),
        mends: "sysctl -qw net.ipv6.conf.eth0.dad_transmits=1; ip addr del 2001:db8::78/64 dev eth0; ip addr add 2001:db8::78/64 nodad dev eth0",
        tidies: "netcord unpublish web [2001:db8::78]:8386:80; ip addr del 2001:db8::78/64 dev eth0",
        ..NONE
    },
    Breakage {
        what: "nobody listens to a published port",
        breaks: "netcord publish web 8181:81",
        doctor: "port-unserved",
        shows: "no socket has",
        trace: ("outside 192.0.2.1:8181", "refused socket"),
        mends: "netcord unpublish web 8181:81",
        ..NONE
    },
    Breakage {
        what: "nobody listens to a published port of UDP",
        breaks: "netcord publish web 5454:54/udp",
        doctor: "port-unserved",
        shows: "54/udp",
        mends: "netcord unpublish web 5454:54/udp",
        ..NONE
    },
    Breakage {
        what: "the server listens to 127.0.0.1 only",
        breaks: "ip netns exec web busybox httpd -p 127.0.0.1:82 -h /run; netcord publish web 8282:82",
        doctor: "port-unheard",
        shows: "127.0.0.1:82/tcp",
        trace: ("outside 192.0.2.1:8282", "refused socket"),
        mends: "netcord unpublish web 8282:82",
        ..NONE
    },
    Breakage {
        what: "the server listens to ::1 only",
        breaks: "ip netns exec web busybox httpd -p [::1]:83 -h /run; netcord publish web 8283:83",
        doctor: "port-unheard",
        shows: "::1:83/tcp",
        trace: ("outside 192.0.2.1:8283", "refused socket"),
        mends: "netcord unpublish web 8283:83",
        ..NONE
    },
    Breakage {
        what: "a name leads to a process that has ended",
        breaks: "ln -s /proc/999999/ns/net /run/netns/ghost",
        doctor: "name-dangling",
        shows: "/run/netns/ghost",
        ..NONE
    },
    Breakage {
        what: "nothing is mounted on a name",
        breaks: "touch /run/netns/husk",
        doctor: "name-dangling",
        shows: "nothing is mounted",
        ..NONE
    },
    Breakage {
        what: "a name is gone whose namespace lives",
        breaks: "rm /run/netns/twins",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the process that names a living namespace ended",
        breaks: "kill $(cat /run/first); until ! readlink -e /run/netns/twins >/dev/null; do sleep 0.02; done",
        doctor: "name-dangling",
        shows: "/run/netns/twins",
        ..NONE
    },
    Breakage {
        what: "the host's resolver is on its own loopback",
        breaks: "echo nameserver 127.0.0.53 >/etc/resolv.conf",
        doctor: "resolver-loopback",
        shows: "127.0.0.53",
        mends: "echo nameserver 192.0.2.2 >/etc/resolv.conf",
        ..NONE
    },
    Breakage {
        what: "NetworkManager manages the bridge",
        breaks: "mkdir -p /run/NetworkManager/devices; printf '[device]\\nmanaged=true\\n' >/run/NetworkManager/devices/$(cat /sys/class/net/lab0/ifindex)",
        doctor: "managed-elsewhere",
        shows: "managed=true",
        mends: "rm -r /run/NetworkManager",
        ..NONE
    },
    Breakage {
        what: "the bridge's alias is gone",
        breaks: "ip link set lab0 alias ''",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the host end's alias is gone",
        breaks: "ip link set webport alias ''",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the host end's group is another",
        breaks: "ip link set webport group 0",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the bridge speaks the spanning tree protocol",
        breaks: "ip link set lab0 type bridge stp_state 1",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "IPv6 is on at the host end",
        breaks: "sysctl -qw net/ipv6/conf/webport/disable_ipv6=0",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the bridge takes routes from advertisements",
        breaks: "sysctl -qw net/ipv6/conf/lab0/accept_ra=1",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a link inside takes routes from advertisements",
        breaks: "ip netns exec web sysctl -qw net/ipv6/conf/eth0/accept_ra=1",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the link inside has another name",
        breaks: "ip -n web link set eth0 down; ip -n web link set eth0 name other",
        doctor: "link-down",
        shows: "other: state DOWN",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the loopback's own address is gone",
        breaks: "ip -n web addr del 127.0.0.1/8 dev lo",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a macvlan's address is gone",
        breaks: "ip -n far addr del 192.0.2.70/24 dev eth0",
        doctor: "address-missing default-route",
        shows: "addresses of eth0",
        repair: true,
        mends: "netcord repair",
        ..NONE
    },
    Breakage {
        what: "a macvlan's link is down",
        breaks: "ip -n far link set eth0 down",
        doctor: "link-down",
        shows: "eth0: state DOWN",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a macvlan's MAC is changed",
        breaks: "ip -n far link set eth0 address 02:00:00:00:00:99",
        doctor: "mac-changed",
        shows: "02:00:00:00:00:99",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a macvlan reaches no others",
        breaks: "ip -n far link set eth0 type macvlan mode private",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "connections to a published port are not tracked",
        breaks: "nft add table ip corp; nft 'add chain ip corp c { type filter hook prerouting priority -300; }'; nft add rule ip corp c tcp dport 8080 notrack",
        doctor: "path-broken",
        shows: "refused by host",
        trace: ("outside 192.0.2.1:8080", "refused socket"),
        mends: "nft delete table ip corp",
        ..NONE
    },
    Breakage {
        what: "connection tracking has another zone for a published port",
        breaks: "nft add table ip corp; nft 'add chain ip corp c { type filter hook prerouting priority -300; }'; nft add rule ip corp c tcp dport 8080 ct zone set 7",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("outside 192.0.2.1:8080", "dies socket"),
        mends: "nft delete table ip corp",
        ..NONE
    },
    Breakage {
        what: "an arp rule inside drops",
        breaks: "ip netns exec web nft add table arp corp; ip netns exec web nft 'add chain arp corp c { type filter hook input priority 0; }'; ip netns exec web nft add rule arp corp c drop",
        doctor: "path-broken",
        shows: "arp corp c: drop",
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        mends: "ip netns exec web nft delete table arp corp",
        ..NONE
    },
    Breakage {
        what: "a bridge rule drops",
        breaks: "nft add table bridge corp; nft 'add chain bridge corp c { type filter hook forward priority 0; }'; nft add rule bridge corp c ip daddr 10.1.0.2 drop",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies bridge"),
        mends: "nft delete table bridge corp",
        ..NONE
    },
    Breakage {
        what: "a netdev rule drops at a port",
        breaks: "nft add table netdev corp; nft 'add chain netdev corp c { type filter hook ingress device dbport priority 0; }'; nft add rule netdev corp c ip daddr 10.1.0.2 drop",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies ingress"),
        mends: "nft delete table netdev corp",
        ..NONE
    },
    Breakage {
        what: "a bridge port is disabled",
        breaks: "bridge link set dev webport state 0",
        doctor: "port-blocked",
        shows: "state disabled",
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a bridge port only listens",
        breaks: "bridge link set dev webport state 1",
        doctor: "port-blocked",
        shows: "state listening",
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a bridge port only learns",
        breaks: "bridge link set dev dbport state 2",
        doctor: "port-blocked",
        shows: "state learning",
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a bridge port does not learn",
        breaks: "bridge link set dev webport learning off",
        trace: ("db 10.1.0.2:80", "arrives socket"),
        mends: "bridge link set dev webport learning on",
        ..NONE
    },
    Breakage {
        what: "a bridge port does not learn, and gets nothing for an unknown MAC",
        breaks: "bridge link set dev webport learning off; bridge link set dev webport flood off; bridge fdb del $(ip netns exec web cat /sys/class/net/eth0/address) dev webport master || true",
        doctor: "port-blocked",
        shows: "learning off flood off",
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a bridge port does not learn, and its MAC is written down",
        breaks: "bridge link set dev webport learning off flood off; bridge fdb replace $(ip netns exec web cat /sys/class/net/eth0/address) dev webport master static",
        trace: ("db 10.1.0.2:80", "arrives socket"),
        mends: "bridge fdb del $(ip netns exec web cat /sys/class/net/eth0/address) dev webport master; bridge link set dev webport learning on flood on",
        ..NONE
    },
    Breakage {
        what: "an underlay's parent only listens",
        breaks: "bridge link set dev eth1 state 1",
        doctor: "port-blocked",
        shows: "eth1: state listening",
        trace: ("plc 203.0.113.2", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a bridge port gets no multicasts",
        breaks: "bridge link set dev webport mcast_flood off; bridge mdb flush dev lab0 || true",
        doctor: "port-blocked",
        shows: "mcast_flood off",
        trace: ("db [fd00:1::2]:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a bridge port gets no broadcasts",
        breaks: "bridge link set dev webport bcast_flood off",
        doctor: "port-blocked",
        shows: "bcast_flood off",
        trace: ("db 10.1.0.2:80", "dies bridge"),
        ..NONE
    },
    Breakage {
        what: "a tc filter drops at a port",
        breaks: "tc qdisc add dev dbport clsact; tc filter add dev dbport ingress pref 1 protocol all bpf da bytecode '1,6 0 0 2'",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies ingress"),
        mends: "tc qdisc del dev dbport clsact",
        ..NONE
    },
    Breakage {
        what: "ARP is not answered inside",
        breaks: "ip netns exec web sysctl -qw net.ipv4.conf.all.arp_ignore=8",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        mends: "ip netns exec web sysctl -qw net.ipv4.conf.all.arp_ignore=0",
        ..NONE
    },
    Breakage {
        what: "ARP is answered by the link of the way back only",
        breaks: "ip netns exec web sysctl -qw net.ipv4.conf.all.arp_filter=1; ip -n web route add 10.1.0.3/32 dev lo",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        mends: "ip netns exec web sysctl -qw net.ipv4.conf.all.arp_filter=0; ip -n web route del 10.1.0.3/32 dev lo",
        ..NONE
    },
    Breakage {
        what: "a route inside is a blackhole",
        breaks: "ip -n web route add blackhole 10.1.0.3/32",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies route"),
        mends: "ip -n web route del blackhole 10.1.0.3/32",
        ..NONE
    },
    Breakage {
        what: "a route inside is an unreachable",
        breaks: "ip -n web route add unreachable 10.1.0.3/32",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies route"),
        mends: "ip -n web route del unreachable 10.1.0.3/32",
        ..NONE
    },
    Breakage {
        what: "a route inside is a prohibit",
        breaks: "ip -n web route add prohibit 10.1.0.3/32",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies route"),
        mends: "ip -n web route del prohibit 10.1.0.3/32",
        ..NONE
    },
    Breakage {
        what: "a policy rule inside refuses answers",
        breaks: "ip -n web rule add pref 100 from 10.1.0.2 to 10.1.0.3 unreachable",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies route"),
        mends: "ip -n web rule del pref 100",
        ..NONE
    },
    Breakage {
        what: "a permanent neighbour has a wrong MAC",
        breaks: "ip -n db neigh replace 10.1.0.2 lladdr 02:00:00:00:00:99 nud permanent dev eth0",
        doctor: "path-broken",
        shows: "dies at",
        trace: ("db 10.1.0.2:80", "dies neighbour"),
        mends: "ip -n db neigh del 10.1.0.2 dev eth0",
        ..NONE
    },
    Breakage {
        what: "a rule of iptables drops what is for a published port",
        breaks: "iptables -I FORWARD -p tcp --dport 80 -j DROP",
        doctor: "path-broken",
        shows: "dies at FORWARD of host",
        trace: ("outside 192.0.2.1:8080", "dies forward"),
        mends: "iptables -D FORWARD -p tcp --dport 80 -j DROP",
        ..NONE
    },
    Breakage {
        what: "a rule of ip6tables drops what is for a published port",
        breaks: "ip6tables -I FORWARD -p tcp --dport 80 -j DROP",
        doctor: "path-broken",
        shows: "dies at FORWARD of host",
        trace: ("outside [2001:db8::1]:8080", "dies forward"),
        mends: "ip6tables -D FORWARD -p tcp --dport 80 -j DROP",
        ..NONE
    },
    Breakage {
        what: "another table of nftables drops what is for a published port",
        breaks: "nft add table inet corp; nft 'add chain inet corp c { type filter hook forward priority 10; }'; nft add rule inet corp c tcp dport 80 drop",
        doctor: "path-broken",
        shows: "dies at FORWARD of host: inet corp c",
        trace: ("outside 192.0.2.1:8080", "dies forward"),
        mends: "nft delete table inet corp",
        ..NONE
    },
    Breakage {
        what: "another table of nftables drops a published port before it is translated",
        breaks: "nft add table inet corp; nft 'add chain inet corp c { type filter hook prerouting priority -300; }'; nft add rule inet corp c tcp dport 8080 drop",
        doctor: "path-broken",
        shows: "dies at PREROUTING of host: inet corp c",
        trace: ("outside 192.0.2.1:8080", "dies prerouting"),
        mends: "nft delete table inet corp",
        ..NONE
    },
    Breakage {
        what: "a rule drops the answers of a published port",
        breaks: "iptables -I FORWARD -s 10.1.0.2 -p tcp --sport 80 -j DROP",
        doctor: "path-broken",
        shows: "but the answer dies at FORWARD of host",
        trace: ("outside 192.0.2.1:8080", "dies forward"),
        mends: "iptables -D FORWARD -s 10.1.0.2 -p tcp --sport 80 -j DROP",
        ..NONE
    },
    Breakage {
        what: "a rule drops what endpoints send to the world",
        breaks: "iptables -I FORWARD -i lab0 -o eth0 -j DROP",
        doctor: "path-broken",
        shows: "dies at FORWARD of host",
        trace: ("web 192.0.2.2", "dies forward"),
        mends: "iptables -D FORWARD -i lab0 -o eth0 -j DROP",
        ..NONE
    },
    Breakage {
        what: "a rule of ip6tables drops what endpoints send to the world",
        breaks: "ip6tables -I FORWARD -i lab0 -o eth0 -j DROP",
        doctor: "path-broken",
        shows: "dies at FORWARD of host",
        trace: ("web 2001:db8::2", "dies forward"),
        mends: "ip6tables -D FORWARD -i lab0 -o eth0 -j DROP",
        ..NONE
    },
    Breakage {
        what: "a rule drops what one endpoint sends to its gateway",
        breaks: "nft add table bridge corp; nft 'add chain bridge corp c { type filter hook input priority 0; }'; nft add rule bridge corp c ip saddr 10.2.0.3 drop",
        doctor: "path-broken",
        shows: "lab1/iso2",
        trace: ("iso2 10.2.0.1", "dies bridge"),
        mends: "nft delete table bridge corp",
        ..NONE
    },
    Breakage {
        what: "docker's chain is flushed on a host that forwards nothing else",
        breaks: "iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -P FORWARD DROP; netcord repair; iptables -F DOCKER-USER",
        doctor: "forward-drop",
        shows: "-P FORWARD DROP",
        repair: true,
        trace: ("outside 192.0.2.1:8080", "dies forward"),
        tidies: "iptables -P FORWARD ACCEPT; iptables -D FORWARD -j DOCKER-USER; iptables -F DOCKER-USER; iptables -X DOCKER-USER; netcord repair",
        ..NONE
    },
    Breakage {
        what: "forwarding is off on one link",
        breaks: "sysctl -qw net/ipv4/conf/lab0/forwarding=0",
        doctor: "forwarding-off",
        shows: "forwarding = 0",
        repair: true,
        trace: ("web 192.0.2.2", "dies route"),
        ..NONE
    },
    Breakage {
        what: "IPv6 forwarding is off on one link",
        breaks: "sysctl -qw net/ipv6/conf/lab0/forwarding=0",
        doctor: "forwarding-off",
        shows: "forwarding = 0",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a base chain is flushed",
        breaks: "nft flush chain inet netcord forward",
        doctor: "rules-missing",
        shows: "not there",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a rule of a base chain is deleted",
        breaks: "nft delete rule inet netcord forward handle $(nft -a list chain inet netcord forward | sed -n 's/.* handle //p' | tail -1)",
        doctor: "rules-missing",
        shows: "not there",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "one published port is out of the map",
        breaks: "nft delete element inet netcord ports4 '{ tcp . 8080 }'",
        doctor: "port-missing",
        shows: "not in ",
        repair: true,
        trace: ("outside 192.0.2.1:8080", "refused socket"),
        ..NONE
    },
    Breakage {
        what: "an FDB entry of an overlay's peer is gone",
        breaks: "bridge fdb del 02:76:c6:12:05:02 dev vx-pods dst 198.18.5.2 self",
        doctor: "peer-missing",
        shows: "missing: bridge fdb",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a neighbour entry of an overlay's peer is gone",
        breaks: "ip neigh del 10.5.2.0 dev vx-pods",
        doctor: "peer-missing",
        shows: "missing: ip neigh",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a neighbour entry of an overlay's peer has another MAC",
        breaks: "ip neigh replace 10.5.2.0 lladdr 02:00:00:00:00:99 dev vx-pods nud permanent",
        doctor: "peer-missing",
        shows: "missing: ip neigh",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the route to an overlay's peer is gone",
        breaks: "ip route del 10.5.2.0/24",
        doctor: "peer-missing",
        shows: "missing: ip route",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "an overlay's VXLAN link is down",
        breaks: "ip link set vx-pods down",
        doctor: "peer-missing",
        shows: "ip link show dev vx-pods",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "an overlay's VXLAN link is deleted",
        breaks: "ip link del vx-pods",
        doctor: "peer-missing",
        shows: "ip link show dev vx-pods",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the address of an overlay's VXLAN link is gone",
        breaks: "ip addr del 10.5.1.0/32 dev vx-pods",
        doctor: "peer-missing",
        shows: "missing: ip route",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the MTU of an overlay's VXLAN link is smaller",
        breaks: "ip link set vx-pods mtu 1300",
        doctor: "mtu-mismatch",
        shows: "vx-pods",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the MTU of an overlay's parent is smaller",
        breaks: "ip link set eth2 mtu 1400",
        doctor: "mtu-mismatch",
        shows: "eth2 mtu 1400",
        ..NONE
    },
    Breakage {
        what: "an overlay's parent is down",
        breaks: "ip link set eth2 down",
        doctor: "link-down",
        shows: "eth2: state DOWN",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "an overlay's parent is unplugged",
        breaks: "ip -n other link set wire down",
        doctor: "no-carrier",
        shows: "NO-CARRIER",
        mends: "ip -n other link set wire up",
        ..NONE
    },
    Breakage {
        what: "an overlay's parent is gone",
        breaks: "ip link del eth2",
        doctor: "parent-missing peer-missing",
        shows: "which leads to the other hosts, is gone",
        repair: true,
        mends: "ip link add eth2 type veth peer name wire netns other; ip link set eth2 addrgenmode none up; ip -n other link set wire addrgenmode none up; ip addr add 198.18.5.1/24 dev eth2; ip -n other addr add 198.18.5.2/24 dev wire; netcord repair",
        ..NONE
    },
    Breakage {
        what: "an overlay's bridge is down",
        breaks: "ip link set pods down",
        doctor: "link-down",
        shows: "pods: state DOWN",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a filter rule says something else than its comment",
        firewall: "iptables",
        breaks: "iptables -R NETCORD-ISOLATE 1 -m comment --comment 'netcord:lab0 unpublished 10.1.0.0/24' -j ACCEPT",
        doctor: "rules-missing",
        shows: "changed: iptables -t filter -A NETCORD-ISOLATE",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a masquerade rule says something else than its comment",
        firewall: "iptables",
        breaks: "ip6tables -t nat -R NETCORD-POSTROUTING $(ip6tables -t nat -S NETCORD-POSTROUTING | grep -n 'masquerade fd00:1::/64' | cut -d: -f1 | awk '{print $1 - 1}') -s fd00:9::/64 ! -o lab0 -m comment --comment 'netcord:lab0 masquerade fd00:1::/64' -j MASQUERADE",
        doctor: "masquerade-missing",
        shows: "changed: ip6tables -t nat",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the rule of a published port says something else than its comment",
        firewall: "iptables",
        breaks: "iptables -t nat -R NETCORD-DNAT 1 -p tcp --dport 8080 -m comment --comment 'netcord:lab0/web publish 0.0.0.0:8080 -> 10.1.0.2:80/tcp' -j DNAT --to-destination 10.1.0.9:80",
        doctor: "port-missing",
        shows: "changed: ",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "a chain of netcord's is flushed",
        firewall: "iptables",
        breaks: "iptables -F NETCORD-FORWARD",
        doctor: "rules-missing",
        shows: "not there",
        repair: true,
        ..NONE
    },
    Breakage {
        what: "the published ports are flushed",
        firewall: "iptables",
        breaks: "iptables -t nat -F NETCORD-DNAT",
        doctor: "port-missing",
        shows: "not in ",
        repair: true,
        trace: ("outside 192.0.2.1:8080", "refused socket"),
        ..NONE
    },
    Breakage {
        what: "a rule drops what is for a published port",
        firewall: "iptables",
        breaks: "iptables -I FORWARD -p tcp --dport 80 -j DROP",
        doctor: "path-broken",
        shows: "dies at FORWARD of host",
        trace: ("outside 192.0.2.1:8080", "dies forward"),
        mends: "iptables -D FORWARD -p tcp --dport 80 -j DROP",
        ..NONE
    },
    Breakage {
        what: "a table of nftables drops what is for a published port",
        firewall: "iptables",
        breaks: "nft add table inet corp; nft 'add chain inet corp c { type filter hook forward priority 10; }'; nft add rule inet corp c tcp dport 80 drop",
        doctor: "path-broken",
        shows: "dies at FORWARD of host: inet corp c",
        trace: ("outside 192.0.2.1:8080", "dies forward"),
        mends: "nft delete table inet corp",
        ..NONE
    },
    Breakage {
        what: "nobody listens to a published port",
        firewall: "iptables",
        breaks: "netcord publish web 8181:81",
        doctor: "port-unserved",
        shows: "no socket has",
        trace: ("outside 192.0.2.1:8181", "refused socket"),
        mends: "netcord unpublish web 8181:81",
        ..NONE
    },
    Breakage {
        what: "an input policy inside drops",
        firewall: "iptables",
        breaks: "ip netns exec web iptables -P INPUT DROP",
        doctor: "target-drop",
        shows: "policy drop",
        trace: ("outside 192.0.2.1:8080", "dies input"),
        tidies: "ip netns exec web iptables -P INPUT ACCEPT; ip netns exec web iptables -F INPUT",
        ..NONE
    },
];
