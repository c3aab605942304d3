//! What a test host promises: it is another one, and netcord leaves it as it was.

use crate::support::{Lab, NETCORD};

#[test]
fn the_main_job_and_back() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    let before = lab.snapshot();
    lab.netcord("bridge lab0").ok();
    let attached = lab.snapshot();
    assert_ne!(before, attached);
    lab.netcord("attach lab0 web db").ok();
    lab.netcord("publish web 8080:80").ok();
    lab.serve("web", 80);
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    lab.netcord("detach lab0 web db").ok();
    attached.assert_same(&lab.snapshot(), "after detach");
    lab.netcord("rm lab0").ok();
    before.assert_same(&lab.snapshot(), "after rm");
}

#[test]
fn a_process_in_null_mode() {
    let lab = Lab::new();
    let before = lab.snapshot();
    let pid = lab.null_mode_process();
    lab.netcord("bridge lab0").ok();
    let address = lab.netcord(&format!("attach lab0 {pid}")).ok();
    lab.sh(&format!("ping -c1 -W2 {address}")).ok();
    lab.sh(&format!("kill {pid}")).ok();
    lab.until("! ip -br link | grep -q ^nc");
    lab.netcord("rm lab0").ok();
    before.assert_same(&lab.snapshot(), "after death and rm");
}

#[test]
fn hosts_of_a_lab_are_on_one_wire_and_gone_at_exit() {
    let lab = Lab::new();
    let before = lab.snapshot();
    let script = format!(
        "on() {{ host=$1; shift; {NETCORD} container $host -- \"$@\"; }}
         on host1 ping -c1 -W2 10.0.0.4 >&2; on host3 ping -c1 -W2 10.0.0.1 >&2
         on host2 {NETCORD} bridge lab0 --subnet 10.7.0.0/24; on host2 {NETCORD} none web >&2
         on host2 {NETCORD} attach lab0 web; on host2 ping -c1 -W2 10.7.0.2 >&2
         on host1 {NETCORD} ls -q; {NETCORD} ls -q"
    );
    let run = lab.netcord_args(&["lab", "--hosts", "3", "--", "sh", "-euc", &script]);
    assert_eq!(run.ok(), "lab0\n10.7.0.2\nwire", "host2 has networks of its own");
    before.assert_same(&lab.snapshot(), "after the lab");
    lab.netcord("lab --hosts 0 -- true").exits(2);
}

#[test]
fn the_prompt_of_a_lab_says_where_one_is_and_files_of_the_user_stay_outside() {
    for (shell, enter) in [
        ("/bin/bash", "bash"),
        ("/bin/sh", "sh"),
        ("/usr/bin/zsh", "zsh"),
        ("/usr/bin/fish", "fish"),
    ] {
        let lab = Lab::new();
        lab.sh("mkdir -p /run/user/.config/fish
            echo 'PS1=outside' | tee /run/user/.bashrc > /run/user/.zshrc
            echo 'function fish_prompt; echo outside; end' > /run/user/.config/fish/config.fish")
            .ok();
        let files = "ls -lAR --time-style=full-iso /run/user";
        let before = lab.sh(files).ok();
        let tmux = "tmux -L lab -f /dev/null";
        let start = format!("env HOME=/run/user SHELL={shell} {NETCORD} lab --hosts 2");
        lab.sh(&format!("SHELL=/bin/sh {tmux} new-session -d -x 80 -y 24 '{start}'")).ok();
        let shown = |text: &str| lab.until(&format!("{tmux} capture-pane -p | grep -q '{text}'"));
        let type_in = |text: &str| lab.sh(&format!("{tmux} send-keys '{text}' Enter")).ok();
        shown("^lab .*#");
        type_in(&format!("{NETCORD} container host2 -- {enter}"));
        shown("^host2 .*#");
        type_in("echo 4\"\"2$HOME");
        shown("^42/run/home");
        type_in("exit");
        type_in("clear");
        shown("^lab .*#");
        type_in("exit");
        lab.until(&format!("! {tmux} has-session 2>/dev/null"));
        assert_eq!(lab.sh(files).ok(), before, "{shell}");
    }
}

/// The oracle of most tests sees every kind of thing that netcord could change.
#[test]
fn a_snapshot_shows_every_change() {
    let lab = Lab::new();
    lab.sh("ip link add br0 type bridge; ip link add eth0 type veth peer name wire
        ip link set eth0 master br0 addrgenmode none up; ip link set wire addrgenmode none up
        ip addr add 192.0.2.1/24 dev br0; ip link set br0 addrgenmode none up; ip netns add web
        nft 'add table inet t; add chain inet t c; add map inet t m { type ipv4_addr : verdict; }
            add rule inet t c drop; add rule inet t c accept'
        tc qdisc add dev eth0 clsact; mkdir -p /run/netcord/x")
        .ok();
    for (part, change) in [
        ("link", "ip link set wire mtu 1400"),
        ("link", "ip link set wire down"),
        ("link", "ip link set wire alias mine"),
        ("addr", "ip addr add 192.0.2.9/24 dev br0"),
        ("addr", "ip addr add 2001:db8::1/64 nodad dev br0"),
        ("route", "ip route add 10.0.0.0/8 via 192.0.2.7"),
        ("route", "ip -6 route add 2001:db8:1::/64 dev br0 table 7"),
        ("rule", "ip rule add from 192.0.2.0/24 lookup 7"),
        ("neigh", "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev br0"),
        ("fdb", "bridge fdb add 02:00:00:00:00:07 dev eth0 master static"),
        ("nft", "nft 'add rule inet t c counter return'"),
        ("nft", "nft 'add element inet t m { 192.0.2.3 : drop }'"),
        (
            "nft",
            "nft 'delete element inet t m { 192.0.2.3 }; add element inet t m { 192.0.2.3 : accept }'",
        ),
        ("nft", "nft 'insert rule inet t c accept'"),
        ("iptables-save", "iptables -A FORWARD -i br0 -j DROP"),
        ("iptables-save", "iptables -N MINE"),
        ("iptables-save", "iptables -P FORWARD DROP"),
        ("ip6tables-save", "ip6tables -t nat -A POSTROUTING -o br0 -j MASQUERADE"),
        ("filter eth0", "tc filter add dev eth0 ingress bpf bytecode '1,6 0 0 0,' da"),
        ("sysctl", "sysctl -qw net.ipv4.conf.br0.rp_filter=2"),
        ("sysctl", "sysctl -qw net.ipv6.conf.br0.accept_ra=0"),
        ("name", "ip netns add db"),
        ("name", "ln -s /proc/1/ns/net /run/netns/one"),
        ("record", "touch /run/netcord/x/network-br0.json"),
        ("in web", "ip -n web link set lo up"),
        ("in web", "ip -n web route add blackhole 10.0.0.0/8"),
    ] {
        let before = lab.snapshot();
        before.assert_same(&lab.snapshot(), "nothing happened");
        lab.sh(change).ok();
        let after = lab.snapshot();
        assert_ne!(before.part(part), after.part(part), "{change}");
    }
}
