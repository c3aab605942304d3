//! Bad input is refused in words, and changes nothing.

use crate::support::Lab;

/// Arguments, the exit code, and what the message says of the bad value.
const TABLE: &[(&[&str], i32, &str)] = &[
    (&["bridge", "x", "--subnet", "10.9.0.1/24"], 2, "10.9.0.0/24"),
    (&["bridge", "x", "--subnet", "10.9.0.0"], 2, "10.9.0.0"),
    (&["bridge", "x", "--subnet", "10.9.0.0/33"], 2, "10.9.0.0/33"),
    (&["bridge", "x", "--subnet", "010.9.0.0/24"], 2, "010.9.0.0/24"),
    (&["bridge", "x", "--subnet", "127.0.0.0/24"], 2, "127.0.0.0/24"),
    (&["bridge", "x", "--subnet", "224.0.0.0/24"], 2, "224.0.0.0/24"),
    (&["bridge", "x", "--subnet", "10.9.0.0/24", "--gateway", "10.8.0.1"], 2, "10.8.0.1"),
    (&["bridge", "x", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.255"], 2, "10.9.0.255"),
    (&["bridge", "x", "--subnet", "10.9.0.0/24", "--ip-range", "10.8.0.0/25"], 2, "10.8.0.0/25"),
    (&["bridge", "x", "--gateway", "10.9.0.1"], 2, "10.9.0.1"),
    (&["bridge", "x", "--subnet", "10.7.0.128/25"], 4, "lab0"),
    (&["bridge", "x", "--subnet", "10.0.0.0/8"], 4, "10.0.0.0/8"),
    (&["bridge", "x", "--subnet", "192.0.2.0/25"], 4, "192.0.2.0/25"),
    (&["bridge", "x", "--mtu", "67"], 2, "67"),
    (&["bridge", "x", "--mtu", "65536"], 2, "65536"),
    (&["bridge", "x", "--label", "novalue"], 2, "novalue"),
    (&["bridge", "a/b"], 2, "a/b"),
    (&["bridge", "a b"], 2, "a b"),
    (&["bridge", ".."], 2, ".."),
    (&["bridge", ""], 2, "NETWORK"),
    (&["bridge", "-x"], 2, "-x"),
    (&["bridge", "--", "-x"], 2, "-x"),
    (&["bridge", "netz\u{e9}"], 2, "netz"),
    (&["bridge", "sixteen-bytes-xx"], 2, "sixteen-bytes-xx"),
    (&["bridge", "x\u{1b}[31m"], 2, "[31m"),
    (&["bridge", "x\ny"], 2, "x"),
    (&["none", "a/b"], 2, "a/b"),
    (&["none", ".."], 2, ".."),
    (&["attach", "lab0", "db", "--ip", "10.7.0.0"], 2, "10.7.0.0"),
    (&["attach", "lab0", "db", "--ip", "10.7.0.255"], 2, "10.7.0.255"),
    (&["attach", "lab0", "db", "--ip", "10.8.0.9"], 2, "10.8.0.9"),
    (&["attach", "lab0", "db", "--ip", "10.7.0.1"], 4, "10.7.0.1"),
    (&["attach", "lab0", "db", "--ip", "10.7.0.2"], 4, "10.7.0.2"),
    (&["attach", "lab0", "db", "--mac", "01:00:5e:00:00:01"], 2, "01:00:5e:00:00:01"),
    (&["attach", "lab0", "db", "--mac", "00:00:00:00:00:00"], 2, "00:00:00:00:00:00"),
    (&["attach", "lab0", "db", "--mac", "02:42"], 2, "02:42"),
    (&["attach", "lab0", "db", "--ifname", "a/b"], 2, "a/b"),
    (&["attach", "lab0", "db", "--gateway", "10.8.0.1"], 2, "10.8.0.1"),
    (&["attach", "lab0", "db", "--route", "10.1.0.1/24"], 2, "10.1.0.1/24"),
    // No such process; and no such number: Linux has 2^22 at most.
    (&["attach", "lab0", "999999"], 3, "999999"),
    (&["attach", "lab0", "999999999"], 2, "999999999"),
    (&["attach", "lab0", "nosuch"], 3, "nosuch"),
    (&["attach", "nosuch", "db"], 3, "nosuch"),
    (&["attach", "lab0", "/etc/passwd"], 3, "/etc/passwd"),
    (&["attach", "lab0", "web", "db", "--ip", "10.7.0.9"], 2, "--ip"),
    (&["publish", "web", "0"], 2, "0"),
    (&["publish", "web", "65536:80"], 2, "65536"),
    (&["publish", "web", "8080-8070:80-90"], 2, "8080-8070"),
    (&["publish", "web", "8080-8082:80-81"], 2, "8080-8082:80-81"),
    (&["publish", "web", "8080:80/icmp"], 2, "icmp"),
    (&["publish", "web", "300.0.0.1:80:80"], 2, "300.0.0.1"),
    (&["publish", "db", "8080:80"], 3, "db"),
    (&["ls", "--filter", "colour=red"], 2, "colour"),
    (&["ls", "--filter", "name"], 2, "name"),
    (&["ls", "--format", "xml"], 2, "xml"),
];

#[test]
fn bad_input_is_refused_in_words_and_changes_nothing() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord("attach lab0 web").ok();
    let before = lab.snapshot();
    let long = "n".repeat(200);
    let mut wrong = Vec::new();
    let rows = TABLE.iter().copied();
    for (arguments, code, part) in rows.chain([(&["bridge", long.as_str()][..], 2, "nnn")]) {
        let run = lab.netcord_args(arguments);
        let clean = !run.stderr.contains('\u{1b}') && run.stdout.is_empty();
        let said = run.stderr.contains("error: ") && run.stderr.contains(part);
        if run.code != code || !clean || !said {
            wrong.push(format!("{arguments:?}: {} instead of {code}\n{}", run.code, run.stderr));
        }
    }
    before.assert_same(&lab.snapshot(), "after bad input");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_route_over_a_gateway_only_warns() {
    let lab = Lab::new();
    lab.neighbour("outside");
    lab.sh("ip route add 10.0.0.0/8 via 192.0.2.2").ok();
    let run = lab.netcord("bridge lab0 --subnet 10.9.0.0/24").exits(0);
    assert!(run.stderr.contains("warning: ") && run.stderr.contains("10.0.0.0/8"));
}
