//! Targets that are not what they seem, and targets that fight back.

use crate::support::{Lab, NETCORD};

/// A process that goes on, in a namespace of its own or not, with this command; returns its PID.
#[track_caller]
fn process(lab: &Lab, how: &str, script: &str) -> u32 {
    let script = format!(
        "rm -f /run/started; {how} sh -c '{script}; touch /run/started; exec sleep infinity' >/dev/null 2>&1 &
         pid=$!; until [ -e /run/started ]; do sleep 0.02; done; echo $pid"
    );
    lab.sh(&script).ok().parse().unwrap()
}

#[test]
fn what_is_no_network_namespace_is_refused_at_once() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    lab.sh("cd /run && mkfifo fifo && mkdir dir && echo x > file && ln -s /run/nothing dangling
         ln -s loop loop && truncate -s 1G large && ln -s /run/fifo to-fifo
")
        .ok();
    lab.sh("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/sock\")' || mkfifo /run/sock")
        .ok();
    let before = lab.snapshot();
    for file in ["fifo", "to-fifo", "dir", "file", "large", "sock"] {
        let words = format!("attach lab0 path:/run/{file}");
        lab.netcord(&words).fails(3, &[&format!("/run/{file} is not a network namespace")]);
    }
    for device in ["/dev/zero", "/dev/null", "/dev/tty", "/proc/self/status", "/proc/1"] {
        let run = lab.netcord(&format!("attach lab0 path:{device}"));
        run.fails(3, &[&format!("{device} is not a network namespace")]);
    }
    for kind in ["mnt", "user", "pid", "uts", "ipc", "cgroup"] {
        let words = format!("attach lab0 path:/proc/self/ns/{kind}");
        lab.netcord(&words).fails(3, &["is not a network namespace"]);
    }
    for file in ["dangling", "nothing", "file/x"] {
        let words = format!("attach lab0 path:/run/{file}");
        lab.netcord(&words).fails(3, &["no namespace file /run/"]);
    }
    assert_ne!(lab.netcord("attach lab0 path:/run/loop").fails(1, &["/run/loop"]).stderr, "");
    before.assert_same(&lab.snapshot(), "after refusing");
}

#[test]
fn the_hosts_own_namespace_is_no_target() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let pid = process(&lab, "", ":");
    lab.sh("ln -s /proc/1/ns/net /run/netns/me; ln -s /proc/1/ns/net /run/alias").ok();
    let before = lab.snapshot();
    for target in [
        &pid.to_string(),
        "1",
        "me",
        "netns:me",
        "path:/run/alias",
        "/proc/self/ns/net",
        "/proc/thread-self/ns/net",
        "/proc/1/ns/net",
    ] {
        lab.netcord(&format!("attach lab0 {target}")).fails(4, &["the host's own", "hint: "]);
    }
    lab.netcord("attach lab0 host").fails(4, &["the host itself"]);
    lab.netcord("none me").fails(4, &["the host's own"]);
    before.assert_same(&lab.snapshot(), "after refusing");
}

#[test]
fn a_symlink_to_a_namespace_is_one() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.netcord("bridge lab0").ok();
    lab.sh("ln -s /run/netns/web /run/link").ok();
    let address = lab.netcord("attach lab0 path:/run/link").ok();
    assert!(lab.sh("ip -n web addr show eth0").ok().contains(&address));
    lab.netcord("detach lab0 web").ok();
}

#[test]
fn threads_zombies_and_the_dead_are_no_processes() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    // A thread of this very process.
    let thread = std::thread::spawn(|| {
        let id = std::fs::read_link("/proc/thread-self").unwrap();
        let id = id.file_name().unwrap().to_str().unwrap().parse().unwrap();
        netcord::kernel::Netns::of_process(id).unwrap_err().to_string()
    });
    assert!(thread.join().unwrap().contains("is a thread, not a process"));
    // It ends when its parent has become a program that never asks for it.
    lab.sh(
        "sh -c '(until [ \"$(cat /proc/$$/comm)\" = sleep ]; do sleep 0.02; done) & echo $! > /run/zombie
                exec sleep infinity' >/dev/null 2>&1 &",
    )
    .ok();
    lab.until("grep -q '^State:.Z' /proc/$(cat /run/zombie)/status");
    let zombie = lab.sh("cat /run/zombie").ok();
    lab.netcord(&format!("attach lab0 {zombie}")).fails(3, &[&format!("no process {zombie}")]);
    let gone = lab.sh("sh -c 'echo $$'").ok();
    lab.netcord(&format!("attach lab0 {gone}")).fails(3, &[&format!("no process {gone}")]);
    lab.netcord(&format!("attach lab0 /proc/{gone}/ns/net")).fails(3, &["no process"]);
}

#[test]
fn a_process_that_ends_between_leaves_nothing() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let before = lab.snapshot();
    for k in 1..=12 {
        let pid = lab.null_mode_process();
        // When netcord sends its k-th message, its target ends.
        let traced = format!(
            "strace -f -o /dev/null -e trace=sendto,sendmsg -e inject=sendto,sendmsg:signal=SIGSTOP:when={k} \
             {NETCORD} attach lab0 {pid}"
        );
        lab.sh(&format!(
            "{traced} 2>/run/told & tracer=$!
             until ! kill -0 $tracer 2>/dev/null || {{ p=$(pgrep -x netcord) && grep -q '^State:.[Tt]' /proc/$p/status; }}; do sleep 0.02; done
             kill -KILL {pid} 2>/dev/null || true; until ! grep -q '^State:.[^Z]' /proc/{pid}/status 2>/dev/null; do sleep 0.02; done
             while kill -0 $tracer 2>/dev/null; do pkill -CONT -x netcord || true; done
             wait $tracer && code=0 || code=$?
             test $code -le 3 || {{ cat /run/told; exit 9; }}"
        ))
        .ok();
        lab.until("! ip -br link | grep -q ^nc");
        lab.netcord("prune").ok();
        before.assert_same(&lab.snapshot(), &format!("the target ended at message {k}"));
    }
}

#[test]
fn paths_through_a_containers_root_lead_nowhere_else() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let pid = process(
        &lab,
        "unshare --net --mount --propagation private",
        "mount -t tmpfs t /mnt && cd /mnt && mkfifo fifo && ln -s /proc/1/ns/net host && ln -s /etc/passwd file",
    );
    let before = lab.snapshot();
    let root = format!("path:/proc/{pid}/root/mnt");
    lab.netcord(&format!("attach lab0 {root}/fifo")).fails(3, &["is not a network namespace"]);
    lab.netcord(&format!("attach lab0 {root}/file")).fails(3, &["is not a network namespace"]);
    lab.netcord(&format!("attach lab0 {root}/host")).fails(4, &["the host's own"]);
    before.assert_same(&lab.snapshot(), "after refusing");
}

#[test]
fn a_planted_name_is_neither_followed_nor_removed() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    for plant in [
        "echo precious > /run/netns/PID",
        "ln -s /etc/passwd /run/netns/PID",
        "ln -s /proc/1/ns/net /run/netns/PID",
        "mkdir /run/netns/PID",
    ] {
        let pid = lab.null_mode_process();
        let plant = plant.replace("PID", &pid.to_string());
        lab.sh(&plant).ok();
        let look = format!("ls -ld /run/netns/{pid}; cat /run/netns/{pid} 2>&1 | head -c 100");
        let (before, planted) = (lab.snapshot(), lab.sh(&look).ok());
        let run = lab.netcord(&format!("attach lab0 {pid}"));
        run.fails(4, &[&format!("the name `{pid}`"), "hint: "]);
        before.assert_same(&lab.snapshot(), &plant);
        lab.netcord(&format!("attach lab0 {pid} --name other{pid}")).ok();
        lab.netcord(&format!("detach lab0 {pid}")).ok();
        lab.netcord("prune").ok();
        assert_eq!(lab.sh(&look).ok(), planted, "{plant}");
    }
}

#[test]
fn a_name_that_was_exchanged_is_not_removed() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let pid = lab.null_mode_process();
    lab.netcord(&format!("attach lab0 {pid}")).ok();
    lab.sh(&format!("rm /run/netns/{pid}; echo precious > /run/netns/{pid}")).ok();
    lab.netcord("ps").ok();
    lab.netcord(&format!("detach lab0 {pid}")).ok();
    lab.netcord("prune").ok();
    assert_eq!(lab.sh(&format!("cat /run/netns/{pid}")).ok(), "precious");
    lab.netcord("rm lab0").ok();
}

#[test]
fn programs_that_netcord_starts_get_no_file_of_its_own() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    let held = lab.sh(&format!("{NETCORD} container web -- ls /proc/self/fd")).ok();
    assert_eq!(held, lab.sh("ls /proc/self/fd").ok(), "as without netcord");
    lab.sh(&format!(
        "strace -f -y -e trace=execve,openat,socket,dup3,fcntl,pidfd_open -o /run/trace {NETCORD} --firewall iptables bridge lab0
         strace -f -y -e trace=execve,openat,socket,dup3,fcntl,pidfd_open -o /run/trace2 {NETCORD} attach lab0 web -p 80:80"
    ))
    .ok();
    let traced = lab.sh("cat /run/trace /run/trace2").ok();
    let own = |line: &&str| {
        (line.contains("openat(") || line.contains("socket(") || line.contains("F_DUPFD"))
            && line.contains("= ")
            && !line.contains("= -1")
            && !line.contains("CLOEXEC")
    };
    // Up to the first program; a program's own files are its own.
    let netcord = traced.split_whitespace().next().unwrap();
    let bad: Vec<_> = traced.lines().filter(|l| l.starts_with(netcord)).filter(own).collect();
    assert!(bad.is_empty(), "files that a program would inherit: {bad:#?}");
    assert!(traced.contains("iptables-restore"));
}

#[test]
fn mounts_of_a_container_do_not_decide_what_is_written() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let pid = process(
        &lab,
        "unshare --net --mount --propagation private",
        "mkdir /run/bait && cp -r /proc/sys/net/ipv6 /run/bait/ 2>/dev/null; echo bait > /run/victim; \
         mount --bind /run/bait /proc/sys/net/ipv6; mount --bind /run/victim /proc/sys/net/ipv4/ip_forward",
    );
    let sum = "find /run/bait /run/victim -type f | sort | xargs md5sum";
    let (before, host) = (lab.sh(sum).ok(), lab.snapshot());
    lab.netcord(&format!("attach lab0 {pid}")).ok();
    assert_eq!(lab.sh(sum).ok(), before, "what it mounted over /proc/sys is untouched");
    let value = format!("nsenter -t {pid} --net cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6");
    assert_eq!(lab.sh(&value).ok(), "1", "and the value is set where it should be");
    lab.netcord(&format!("detach lab0 {pid}")).ok();
    host.assert_same(&lab.snapshot(), "after detach");
}

#[test]
fn whatever_a_container_does_to_its_link_detach_works() {
    let lab = Lab::new();
    lab.netcord("bridge lab0 --subnet 10.0.0.0/24").ok();
    let before = lab.snapshot().without(|l| l.starts_with("in web"));
    for act in [
        "ip link set eth0 down; ip link set eth0 name gone0",
        "ip link del eth0",
        "ip link set eth0 netns other",
        "ip addr flush dev eth0; ip addr add 10.0.0.1/24 dev eth0; ip addr add 192.0.2.1/24 dev eth0",
        "ip link set eth0 down; ip link set lo down",
        "ip link set eth0 address 02:00:00:00:00:01; ip link set eth0 alias netcord:lab0/db",
        "ip route del default; ip route add default dev eth0; ip link set eth0 mtu 68",
        "ip link del eth0; ip link add eth0 type dummy || ip link add eth0 type bridge",
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0",
    ] {
        lab.netns(&["web", "other"]);
        lab.netcord("attach lab0 web -p 8080:80").ok();
        lab.sh(&format!("ip netns exec web sh -c '{act}'")).ok();
        for look in ["ps", "ls", "inspect", "inspect web", "inspect --commands web"] {
            let run = lab.netcord(look);
            assert!(run.code == 0, "after `{act}`: {run:?}");
        }
        lab.netcord("detach lab0 web").ok();
        lab.sh("ip netns del web; ip netns del other").ok();
        lab.until("! ip -br link | grep -q ^nc");
        before.assert_same(&lab.snapshot(), act);
    }
}

#[test]
fn links_inside_with_our_names_and_odd_bytes_harm_nothing() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lab0 db").ok();
    let name = lab.sh("ip -o link show master lab0 | sed 's/^[0-9]*: //; s/@.*//'").ok();
    let inside = |name: &str| format!("ip -n web link add \"{name}\" type bridge");
    lab.sh(&inside(&name)).ok();
    lab.sh(&inside("lab0")).ok();
    lab.sh("for name in \"$(printf 'a\\033[31mb')\" \"$(printf 'a\\001\\177')\" \"$(printf '\\303\\251')\" \"$(printf '\\377\\376')\" \"-x\" \"a\\\"b\" \"a;b\" '$(id)'; do
            ip -n web link add dev \"$name\" type bridge || true; done").ok();
    let before = lab.snapshot();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    for look in ["ps", "ls", "inspect", "inspect web", "ps --format json", "inspect --commands web"]
    {
        let shown = lab.netcord(look).ok();
        assert!(!shown.contains('\u{1b}'), "{look}");
    }
    lab.netcord("attach lab0 web").ok();
    lab.netcord("detach lab0 web").ok();
    before.assert_same(&lab.snapshot(), "after detach");
}
