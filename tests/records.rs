//! Records that are lost, torn, swapped or never were: what carries netcord's mark in the kernel is
//! put on record again, by every verb. Nothing that lives is given away, or taken away, because a
//! file is not there.

use crate::support::{FIREWALLS, Lab, NETCORD};

/// Two networks of ours and a foreign one, each with an endpoint that has a port.
fn furnished(firewall: &'static str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    lab.neighbour("outside").netns(&["web", "db", "app", "new"]);
    // Who raised a loopback, and who turned forwarding on, no mark tells.
    lab.sh("for ns in web db app new; do ip -n $ns link set lo up; done
            ip link add br0 address 02:00:00:00:00:60 type bridge; ip link set br0 addrgenmode none
            ip addr add 10.6.0.1/24 dev br0; ip link set br0 up")
        .ok();
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24 --ip-range 10.7.0.128/25").ok();
    lab.netcord("bridge lab1 --subnet 10.8.0.0/24 --subnet fd00:8::/64").ok();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    lab.netcord("attach lab1 web").ok();
    lab.netcord("attach lab1 db --host-ifname mine -p 127.0.0.1:5353:53/udp").ok();
    lab.netcord("attach br0 app --ip 10.6.0.7 -p 9090:90").ok();
    lab
}

/// What looking verbs tell.
fn told(lab: &Lab) -> Vec<String> {
    ["ps", "ls", "port web", "port db", "port app", "inspect lab0 lab1 br0 web", "export", "graph"]
        .map(|verb| {
            let said = lab.netcord(verb).ok();
            let mut lines: Vec<_> = said.lines().collect();
            // Who was attached first no mark tells.
            lines.sort_unstable();
            lines.join("\n")
        })
        .into()
}

#[track_caller]
fn same(now: &[String], before: &[String], when: &str) {
    for (now, before) in now.iter().zip(before) {
        assert!(now == before, "{when}:\n{before}\nis now\n{now}");
    }
}

const F: &str = "d=$(echo /run/netcord/*); f=$d/network-lab1.json; other=$d/network-lab0.json;";

/// What can become of records.
const DAMAGES: [(&str, &str); 20] = [
    ("one lost", "rm $f"),
    ("another lost", "rm $other"),
    ("a small one lost", "sed -i '$d' $other"),
    ("all lost", "rm $d/*.json"),
    ("the directory lost", "rm -r /run/netcord"),
    ("empty", ": > $f"),
    ("the last line torn", "truncate -s -9 $f"),
    ("the last line lost", "sed -i '$d' $f"),
    ("a line lost", "sed -i 2d $f"),
    ("a line of garbage", "sed -i '2s/.*/{\"tar\\x00/' $f"),
    ("a line wrong behind its beginning", "sed -i '2s/\"gateways\":/\"gate\":/' $f"),
    ("a head of garbage", "sed -i '1s/.*/x/' $f"),
    ("random bytes", "head -c 300 /dev/urandom > $f"),
    ("swapped", "mv $f $d/t; mv $other $f; mv $d/t $other"),
    ("copied", "cp $other $f"),
    ("a line moved into another's", "sed -n 2p $f >>$other; sed -i 2d $f"),
    ("a line copied into another's", "sed -n 2p $f >>$other"),
    ("a line twice", "sed -i '2p' $f"),
    ("a FIFO", "rm $f; mkfifo $f"),
    ("a symlink", "mv $f /run/elsewhere; ln -s /run/elsewhere $f"),
];

#[test]
fn whatever_becomes_of_a_record_nothing_that_lives_is_given_or_taken_away() {
    for firewall in FIREWALLS {
        let lab = furnished(firewall);
        // The kernel lists a link that is too small for IPv6 in fewer places.
        lab.netcord("attach lab0 db --mtu 1000").ok();
        let list = || {
            let list = lab.netcord("ps").exits(0);
            assert_eq!(list.stderr, "", "it is written anew");
            list.stdout
        };
        let (before, listed) = (lab.snapshot(), list());
        for (at, (damage, script)) in DAMAGES.into_iter().enumerate() {
            // How records are damaged has little to do with where the rules are.
            if firewall != FIREWALLS[0] && at % 4 != 0 {
                continue;
            }
            let what = format!("{firewall}, {damage}");
            lab.sh(&format!("{F} {script}")).ok();
            assert_eq!(lab.netcord("prune").ok(), "", "{what}");
            assert_eq!(list(), listed, "{what}");
            lab.sh(&format!("{F} {script}")).ok();
            let addresses = lab.netcord("attach lab1 new").exits(0).stdout;
            assert_eq!(addresses, "10.8.0.4\nfd00:8::4\n", "{what}");
            lab.netcord("detach lab1 new").ok();
            before.assert_same(&lab.snapshot(), &what);
            assert_eq!(list(), listed, "{what}");
        }
    }
}

/// Who sees no endpoint of a network might take the network away below one.
#[test]
fn a_line_in_the_file_of_another_network_counts_there_for_nothing() {
    let lab = furnished("nftables");
    lab.netcord("macvlan lan0 --parent eth0 --ip-range 192.0.2.64/27").ok();
    lab.netcord("attach lan0 new").ok();
    let (before, listed) = (lab.snapshot(), lab.netcord("ps").ok());
    for (from, to, endpoint) in [
        ("lab1", "lab0", "db"),
        ("lab0", "lab1", "web"),
        ("br0", "lab0", "app"),
        ("lan0", "lab1", "new"),
    ] {
        let script = "from=$d/network-FROM.json; to=$d/network-TO.json
            sed -n '$p' $from >>$to; sed -i '$d' $from";
        let script = script.replace("FROM", from).replace("TO", to);
        lab.sh(&format!("{F} {script}")).ok();
        let seen = lab.netcord("ps").exits(0);
        assert_eq!(seen.stdout.trim(), listed, "{from} to {to}");
        assert!(seen.stderr.contains("a line is of another network"), "{}", seen.stderr);
        lab.netcord(&format!("detach {to} nobody")).exits(0);
        let refused = lab.netcord(&format!("rm {from}"));
        assert_eq!(refused.code, 4, "{from}, {endpoint}: {}{}", refused.stdout, refused.stderr);
        before.assert_same(&lab.snapshot(), &format!("{from} to {to}"));
        assert_eq!(lab.netcord("ps").exits(0).stderr, "", "{from} to {to}: it is written anew");
    }
}

#[test]
fn who_looks_sees_what_is_lost_and_writes_nothing() {
    for firewall in FIREWALLS {
        let lab = furnished(firewall);
        let said = told(&lab);
        for lost in ["rm $f", "rm -r /run/netcord", "sed -i '$d' $f"] {
            lab.sh(&format!("{F} {lost}")).ok();
            let before = lab.snapshot();
            same(&told(&lab), &said, lost);
            let run = lab.netcord("ps").exits(0);
            assert_eq!(run.stderr.matches("is lost").count(), 1, "{}", run.stderr);
            // Nobody listens to what is published.
            for (verb, code) in [("doctor", 1), ("repair --check", 0), ("trace web db", 0)] {
                let run = lab.netcord(verb).exits(code);
                let found = run.stdout.matches("  [").count();
                assert_eq!(
                    found,
                    run.stdout.matches("  [port-unserved]").count(),
                    "{}",
                    run.stdout
                );
                assert!(run.stderr.contains("is lost"), "{verb}: {}", run.stderr);
            }
            before.assert_same(&lab.snapshot(), lost);
            lab.netcord("repair").ok();
            assert_eq!(lab.netcord("ps").exits(0).stderr, "", "repair writes it down");
        }
    }
}

#[test]
fn repair_removes_a_record_of_which_nothing_can_be_made() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    for damage in ["cp $d/network-lab0.json $d/network-lab9.json", "echo x >$d/network-lab9.json"] {
        lab.sh(&format!("d=$(echo /run/netcord/*); {damage}")).ok();
        let told = lab.netcord("repair --check").exits(0).stderr;
        assert!(told.contains("network-lab9.json is unreadable"), "{damage}: {told}");
        lab.netcord("repair").ok();
        assert_eq!(lab.netcord("repair --check").exits(0).stderr, "", "{damage}");
    }
}

/// What a script did by hand is as good as what netcord did.
#[test]
fn a_script_that_was_run_by_hand_is_known() {
    for firewall in FIREWALLS {
        let lab = Lab::with_firewall(firewall);
        lab.neighbour("outside").netns(&["web", "db", "app", "new"]);
        lab.sh("ip link add br0 type bridge; ip addr add 10.6.0.1/24 dev br0; ip link set br0 up")
            .ok();
        for verb in [
            "bridge lab0 --subnet 10.7.0.0/24 --ip-range 10.7.0.64/26",
            "bridge lab1 --subnet 10.8.0.0/24 --subnet fd00:8::/64 --isolate --no-spoof --open",
            "attach lab0 web",
            "attach lab0 db -p 8080:80",
            "attach lab1 web db",
            "publish web 9090:90",
            "attach br0 app --ip 10.6.0.7 -p 7070:70",
            "macvlan lan0 --parent eth0 --ip-range 192.0.2.64/27 --ip-range 2001:db8::40/122",
            "attach lan0 web",
        ] {
            let script = lab.netcord(&format!("--dry-run {verb}")).ok();
            lab.pipe_to_sh(&script).exits(0);
            let by_hand = lab.snapshot();
            let run = lab.netcord(verb).exits(0);
            let is_record = |l: &str| l.starts_with("record ");
            by_hand.without(is_record).assert_same(&lab.snapshot().without(is_record), verb);
            let whole = lab.snapshot();
            assert_eq!(lab.netcord(verb).ok() + "\n", run.stdout, "{firewall}, {verb}");
            whole.assert_same(&lab.snapshot(), verb);
        }
    }
}

#[test]
fn a_macvlan_is_known_by_what_is_written_on_it() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db", "app"]);
    lab.sh("for ns in web db app; do ip -n $ns link set lo up; done").ok();
    lab.netcord("macvlan lan0 --parent eth0 --ip-range 192.0.2.64/27 --ip-range 2001:db8::40/122")
        .ok();
    lab.netcord("attach lan0 web").ok();
    // Another name, another MAC, and another link in its place.
    lab.sh("ip -n web link set eth0 down
            ip -n web link set eth0 name other address 02:00:00:00:00:99
            ip -n web link set other up; ip -n web addr add 2001:db8::40/64 nodad dev other
            ip -n web link add eth0 type bridge")
        .ok();
    assert!(lab.netcord("ps").ok().contains("up"), "{}", lab.netcord("ps").ok());
    let addresses = lab.netcord("attach lan0 db").ok();
    assert_eq!(addresses, "192.0.2.65\n2001:db8::41", "the first is the other's");
    assert_eq!(lab.netcord("prune").ok(), "");
    // Its record, and then all.
    lab.sh("sed -i 2d /run/netcord/*/network-lan0.json").ok();
    assert_eq!(lab.netcord("attach lan0 app").ok(), "192.0.2.66\n2001:db8::42");
    assert_eq!(lab.netcord("ps -q").ok(), "app\ndb\nweb");
    lab.sh("rm -r /run/netcord").ok();
    assert_eq!(lab.netcord("ps -q").ok(), "app\ndb\nweb");
    lab.netcord("repair --check").exits(1);
    assert!(lab.netcord("export").ok().contains("--ip-range 192.0.2.64/27"));
    assert_eq!(lab.netcord("prune").ok(), "");
    lab.netcord("detach lan0 web").ok();
    lab.sh("! ip -n web link show other; ip -n web link show eth0").ok();
    assert_eq!(lab.netcord("attach lan0 web --ifname eth1").ok(), "192.0.2.64\n2001:db8::40");
}

#[test]
fn a_name_of_a_macvlan_whose_record_is_lost_stays() {
    let lab = Lab::new();
    lab.neighbour("outside");
    let pid = lab.null_mode_process();
    lab.netcord("macvlan lan0 --parent eth0").ok();
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord(&format!("attach lan0 {pid} --ip 192.0.2.9")).ok();
    for verb in ["prune", "repair", "bridge lab0 --subnet 10.7.0.0/24"] {
        lab.sh("rm /run/netcord/*/network-lan0.json").ok();
        lab.netcord(verb).ok();
        lab.sh(&format!("test -L /run/netns/{pid}; ip -n {pid} link show eth0")).ok();
    }
    assert_eq!(lab.netcord("ps -q").ok(), pid.to_string());
    lab.netcord(&format!("detach lan0 {pid}")).ok();
    lab.sh(&format!("! test -L /run/netns/{pid}")).ok();
}

#[test]
fn names_outlive_a_line_that_is_torn() {
    let lab = Lab::new();
    lab.netcord("none one").ok();
    lab.netcord("none two").ok();
    lab.sh("f=$(ls /run/netcord/*/names.json); truncate -s -9 $f").ok();
    lab.netcord("none three").ok();
    lab.netcord("rm one three").ok();
    lab.sh("test -e /run/netns/two").ok();
    lab.sh("f=$(ls /run/netcord/*/names.json 2>/dev/null) || f=$(echo /run/netcord/*)/names.json
            echo garbage > $f")
        .ok();
    lab.netcord("prune").ok();
    lab.netcord("none two").ok();
    lab.sh("test -e /run/netns/two").ok();
}

/// Many attach while somebody removes the directory, again and again.
#[test]
fn a_directory_that_is_removed_meanwhile_lets_nobody_in_twice() {
    let lab = Lab::new();
    let names: Vec<_> = (0..8).map(|i| format!("n{i}")).collect();
    lab.sh(&format!("for n in {}; do ip netns add $n; done", names.join(" "))).ok();
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.sh(&format!(
        "all=
         remove() {{ for i in $(seq 12); do rm -rf /run/netcord || :; {NETCORD} ps -q; done; }}
         remove >/run/removed 2>&1 & all=$!
         attach() {{ until {NETCORD} attach lab0 $1 2>>/run/said; do :; done; }}
         for n in {}; do attach $n >/run/of-$n & all=\"$all $!\"; done
         wait $all",
        names.join(" ")
    ))
    .ok();
    let said = lab.sh("cat /run/said").ok();
    assert!(!said.contains("panicked"), "{said}");
    let mut given: Vec<_> = lab
        .sh("for n in $(ls /run/netns); do ip -n $n -o -4 addr show scope global; done \
             | sed 's/.*inet \\([^ ]*\\) .*/\\1/'")
        .ok()
        .lines()
        .map(str::to_owned)
        .collect();
    let count = given.len();
    given.sort();
    given.dedup();
    assert_eq!((given.len(), count), (8, 8), "{given:?}\n{said}");
    lab.netcord(&format!("detach lab0 {}", names.join(" "))).ok();
    assert_eq!(lab.netcord("ps -q").ok(), "");
}

#[test]
fn a_state_directory_that_others_could_change_is_refused() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    for (before, after) in [
        ("chmod 0777 /run/netcord", "chmod 0700 /run/netcord"),
        ("chmod 0770 /run/netcord", "chmod 0700 /run/netcord"),
        ("chmod 0777 /run", "chmod 0755 /run"),
        ("mv /run/netcord /run/t; mkfifo /run/netcord", "rm /run/netcord; mv /run/t /run/netcord"),
    ] {
        lab.sh(before).ok();
        for verb in ["bridge lab1", "ls"] {
            lab.netcord(verb).fails(5, &["is not ours alone", "hint: "]);
        }
        lab.sh(after).ok();
        assert_eq!(lab.netcord("ls -q").ok(), "lab0");
    }
    // In a directory as /tmp nobody renames what is another's.
    lab.sh(&format!(
        "mkdir -m 1777 /run/sticky; NETCORD_STATE_DIR=/run/sticky/of-netcord {NETCORD} ls"
    ))
    .ok();
}

/// Who flushed the addresses of a bridge, or set it down, has not taken its subnets away.
#[test]
fn a_lost_network_keeps_its_subnets_although_its_addresses_are_gone() {
    for firewall in FIREWALLS {
        let lab = Lab::with_firewall(firewall);
        lab.netns(&["web"]);
        // Who raised a loopback no mark tells.
        lab.sh("ip -n web link set lo up").ok();
        let nothing = lab.snapshot();
        lab.netcord("bridge lab1 --subnet 10.8.0.0/24 --subnet fd00:8::/64").ok();
        lab.netcord("attach lab1 web").ok();
        let (before, said) = (lab.snapshot(), lab.netcord("ls").ok());
        for loss in ["ip link set lab1 down", "ip addr flush dev lab1"] {
            lab.sh(&format!("{F} {loss}; : > $f")).ok();
            assert_eq!(lab.netcord("ls").ok(), said, "{loss}");
            lab.netcord("repair").ok();
            before.assert_same(&lab.snapshot(), loss);
        }
        lab.sh(&format!("{F} ip link set lab1 down; rm $f")).ok();
        lab.netcord("detach lab1 web").ok();
        lab.netcord("rm lab1").ok();
        nothing.assert_same(&lab.snapshot(), "after rm");
    }
}

#[test]
fn a_port_that_is_on_no_record_is_not_published_twice() {
    for firewall in FIREWALLS {
        let lab = Lab::with_firewall(firewall);
        lab.netns(&["web", "db", "new"]);
        lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
        lab.netcord("attach lab0 web db").ok();
        let record = "f=$(echo /run/netcord/*/network-lab0.json);";
        lab.sh(&format!("{record} cp $f /run/before")).ok();
        lab.netcord("publish web 8080:80").ok();
        lab.sh(&format!("{record} cp /run/before $f")).ok();
        let before = lab.snapshot();
        for verb in ["publish db 8080:80", "attach lab0 new -p 8080:80"] {
            lab.netcord(verb).fails(4, &["8080"]);
            before.assert_same(&lab.snapshot(), &format!("{firewall}: {verb}"));
            lab.sh(&format!("{record} cp /run/before $f")).ok();
        }
        assert_eq!(lab.rules_of_ports(), ["lab0/web publish 0.0.0.0:8080 -> 10.7.0.2:80/tcp"]);
    }
}

#[test]
fn a_port_of_a_dead_endpoint_whose_record_is_lost_leads_to_nobody_else() {
    for firewall in FIREWALLS {
        for damage in ["rm -f $f", ": > $f", "sed -i '1s/.*/x/;2d' $f", "rm -rf /run/netcord"] {
            let lab = Lab::with_firewall(firewall);
            lab.neighbour("outside").netns(&["web", "new"]);
            lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
            lab.netcord("bridge lab1 --subnet 10.8.0.0/24").ok();
            assert_eq!(lab.netcord("attach lab0 web -p 8080:80").ok(), "10.7.0.2");
            lab.sh(&format!(
                "f=$(echo /run/netcord/*/network-lab0.json); {damage}; ip netns del web"
            ))
            .ok();
            lab.until("! ip link | grep -q 'alias netcord:lab0/web'");
            lab.netcord("attach lab1 new").ok();
            assert_eq!(lab.rules_of_ports(), [""; 0], "{firewall}: {damage}");
            // Its address is assigned again.
            assert_eq!(lab.netcord("attach lab0 new").ok(), "10.7.0.2");
            lab.serve_ports("new", &[80]);
            lab.does_not_reach("outside", "tcp 192.0.2.1:8080");
        }
    }
}
