//! Pictures of a host, from the live kernel.

use std::{env, fs, path::Path};

use crate::support::{Lab, NETCORD, Run};

/// `veth LINK MAC PEER MAC [netns NETNS]`
const VETH: &str = r#"veth() {
    link="$1 address $2" peer="$3 address $4"; shift 4
    ip link add $link type veth peer name $peer "$@"
}"#;

/// A host of everything: two networks of netcord's and one on `eth0`, a foreign bridge
/// with a process, a namespace without name and process, and a cable; and a veth with no bridge.
fn host() -> Lab {
    let lab = Lab::new();
    lab.netns(&["web", "db", "cache", "lone", "outside"]);
    lab.sh(&format!(
        "{VETH}
            veth eth0 52:54:00:00:00:01 wire 52:54:00:00:00:02 netns outside
            ip link set eth0 addrgenmode none; ip addr add 192.0.2.1/24 dev eth0
            ip addr add 2001:db8::1/64 nodad dev eth0; ip link set eth0 up
            ip -n outside addr add 192.0.2.2/24 dev wire; ip -n outside link set wire up
            ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2
            veth routed 52:54:00:00:01:01 eth0 52:54:00:00:01:02 netns lone
            ip addr add 10.99.0.1/32 dev routed; ip -n lone addr add 10.99.0.2/32 dev eth0
            ip link set routed up"
    ))
    .ok();
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24 --subnet fd00:7::/64").ok();
    lab.netcord("attach lab0 web -p 8080:80 -p 127.0.0.1:5353:53/udp").ok();
    lab.netcord("attach lab0 db").ok();
    lab.netcord("bridge back --subnet 10.8.0.0/24 --internal --isolate").ok();
    lab.netcord("attach back db cache").ok();
    lab.netcord("macvlan lan0 --parent eth0 --ip-range 192.0.2.64/27 --host-access").ok();
    lab.netcord("attach lan0 cache --ip 192.0.2.70").ok();
    // However many processes there were, its PID is of four digits.
    lab.sh("echo 5000 > /proc/sys/kernel/ns_last_pid").ok();
    let pid = lab.null_mode_process();
    lab.sh(&format!(
        "{VETH}
         ip link add docker0 address 52:54:00:00:02:00 type bridge
         ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
         veth veth1 52:54:00:00:02:01 eth0 52:54:00:00:02:02 netns {pid}
         ip link set veth1 master docker0 up
         nsenter -t {pid} --net sh -c 'ip addr add 172.17.0.2/16 dev eth0
            ip link set eth0 up; ip route add default via 172.17.0.1'
         ip netns add nameless; touch /run/kept; mount --bind /run/netns/nameless /run/kept
         veth veth2 52:54:00:00:02:03 eth0 52:54:00:00:02:04 netns nameless
         ip link set veth2 master docker0 up; ip netns del nameless
         veth veth3 52:54:00:00:02:05 veth4 52:54:00:00:02:06
         ip link set veth3 master docker0 up; ip link set veth4 up"
    ))
    .ok();
    // Carrier comes a moment later.
    lab.until(
        "for link in eth0 veth1 veth3 veth4 $(ls /sys/class/net | grep ^nc); do
             test $(cat /sys/class/net/$link/carrier) = 1
         done",
    );
    lab
}

/// Without what differs from run to run: names that are made of cookies, PIDs, numbers of namespaces.
fn settled(picture: &str) -> String {
    let mut text = String::new();
    let mut rest = picture;
    let is_hash = |t: &str| t.len() >= 12 && t[..12].bytes().all(|b| b.is_ascii_hexdigit());
    while let Some(c) = rest.chars().next() {
        let digits = |t: &str| t.bytes().take_while(u8::is_ascii_digit).count();
        if rest.starts_with("nc") && rest.get(2..14).is_some_and(is_hash) {
            text.push_str("ncXXXXXXXXXXXX");
            rest = &rest[14..];
        } else if let Some(after) = rest.strip_prefix("sleep (") {
            text.push_str("sleep (1310");
            rest = &after[digits(after)..];
        } else if let Some(after) = rest.strip_prefix("netns id ") {
            text.push_str("netns id N");
            rest = &after[digits(after)..];
        } else {
            text.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    text
}

#[test]
fn pictures_are_as_committed() {
    let lab = host();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures");
    let before = lab.snapshot();
    for (format, file) in [("text", "host.txt"), ("dot", "host.dot"), ("mermaid", "host.mmd")] {
        let picture = settled(&lab.netcord(&format!("graph --format {format}")).exits(0).stdout);
        let path = pictures.join(file);
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, &picture).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            picture == committed,
            "{file} is another; if that is meant, write it anew with `UPDATE=1 cargo test graph`\n\
             {picture}"
        );
    }
    before.assert_same(&lab.snapshot(), "who looks changes nothing");
}

#[test]
fn every_format_tells_the_same() {
    let lab = host();
    for format in ["text", "dot", "mermaid", "svg", "html", "json"] {
        let picture = lab.netcord(&format!("graph --format {format}")).ok();
        for word in [
            "lab0",
            "back",
            "docker0",
            "lan0",
            "eth0",
            "routed",
            "veth4", // links of the host
            "web",
            "db",
            "cache",
            "lone",
            "outside",
            "sleep (", // targets
            "192.0.2.1",
            "10.7.0.1",
            "172.17.0.2",
            "10.99.0.2",
            "192.0.2.70",
            "02:42:0a:07:00:02",
            "0.0.0.0",
            "8080",
            "53/udp",
            "192.0.2.2",
        ] {
            // Mermaid takes brackets by their number.
            let word = if format == "json" { word.trim_end_matches(" (") } else { word };
            let word = word.replace("53/udp", if format == "json" { "5353" } else { "53/udp" });
            assert!(picture.contains(&word), "{format} does not tell `{word}`:\n{picture}");
        }
    }
    let json: serde_json::Value =
        serde_json::from_str(&lab.netcord("--format json graph").ok()).unwrap();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(lab.netcord("--format jsonl graph").ok().lines().count(), 1);
    let lab0 = json["segments"].as_array().unwrap().iter().find(|s| s["name"] == "lab0").unwrap();
    assert_eq!(lab0["masquerade_by"][0], "eth0");
    assert_eq!(lab0["ports"][1]["end"]["published"][0]["host"]["first"], 8080);
}

#[test]
fn the_tree_has_eighty_columns_and_colour_where_it_is_wanted() {
    let lab = host();
    let plain = lab.netcord("graph").ok();
    assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
    assert!(!plain.contains('\u{1b}') && plain.lines().all(|line| line.trim_end() == line));
    let colored = lab.netcord("graph --color always").ok();
    assert!(colored.contains("\u{1b}[1mlab0\u{1b}[0m"), "{colored}");
    let mut bare = String::new();
    for part in colored.split('\u{1b}') {
        bare.push_str(
            part.split_once('m')
                .filter(|(code, _)| code.starts_with('['))
                .map_or(part, |(_, text)| text),
        );
    }
    assert_eq!(bare, plain);
}

#[test]
fn it_can_be_restricted() {
    let lab = host();
    let picture = lab.netcord("graph back").ok();
    assert!(picture.contains("cache") && picture.contains("db") && picture.contains("eth0"));
    assert!(!picture.contains("lab0") && !picture.contains("routed"), "{picture}");
    let picture = lab.netcord("graph cache").ok();
    assert!(picture.contains("10.8.0.3/24") && picture.contains("192.0.2.70/24"), "{picture}");
    assert!(!picture.contains(" db ") && !picture.contains("docker0"), "{picture}");
    lab.netcord("graph nosuch").fails(3, &["`nosuch` is neither a network nor attached to one"]);
    lab.netcord("ps --format svg").fails(2, &["invalid value 'svg'"]);
    lab.netcord("graph --format table").fails(2, &["text, dot, mermaid, svg, html, json"]);
}

/// The line of a picture that has this word.
fn line<'p>(picture: &'p str, word: &str) -> &'p str {
    let found = picture.lines().find(|line| line.contains(word));
    found.unwrap_or_else(|| panic!("no `{word}` in\n{picture}"))
}

#[test]
fn it_is_the_kernel_that_is_shown() {
    let lab = host();
    lab.sh("ip -n web addr add 10.7.0.77/24 dev eth0; ip -n web route del default
            ip -n cache link set eth0 down; ip -n db link del eth0
            ip link set back down; echo 0 > /proc/sys/net/ipv4/ip_forward")
        .ok();
    let picture = lab.netcord("graph").ok();
    assert!(line(&picture, "host").ends_with("forwards IPv6"), "{picture}");
    assert!(picture.contains("10.7.0.77/24") && picture.contains("  via fd00:7::1\n"), "{picture}");
    assert!(line(&picture, "cache  eth0").contains("down"), "{picture}");
    assert!(line(&picture, "back").contains("bridge  down"), "{picture}");
    assert!(line(&picture, "10.7.0.3/24").contains("db   eth0  gone"), "{picture}");
    // Nothing of what was on record is needed to see it.
    lab.sh("rm -r /run/netcord").ok();
    let picture = lab.netcord("graph").ok();
    for words in ["lab0  bridge  10.7.0.1/24", "web  eth0  10.7.0.2/24", "eth1  192.0.2.70/24"] {
        assert!(picture.contains(words), "no `{words}` in\n{picture}");
    }
}

#[test]
fn an_underlay_has_its_parent_as_a_port() {
    let lab = Lab::new();
    lab.neighbour("peer").netns(&["web"]);
    lab.netcord("underlay mydr0 --parent eth0 --ip-range 192.0.2.64/27 --takeover").ok();
    lab.netcord("attach mydr0 web").ok();
    let picture = lab.netcord("graph").ok();
    let bridge = line(&picture, "mydr0");
    assert!(bridge.contains("underlay on eth0  192.0.2.1/24"), "{picture}");
    assert!(picture.contains("default via 192.0.2.2"), "{picture}");
    assert!(line(&picture, "peer").contains("─ eth0 "), "{picture}");
    assert!(line(&picture, " web ").contains("192.0.2.64/24"), "{picture}");
    assert!(lab.netcord("graph web").ok().contains("peer"), "the way out is shown");
}

#[test]
fn an_index_of_another_namespace_is_no_link_of_the_host() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.sh("ip link add one index 50 type veth peer name two index 51
            ip link add into-web index 40 type veth peer name eth0 index 51 netns web
            for link in one two into-web; do ip link set $link up; done")
        .ok();
    let picture = lab.netcord("graph").ok();
    assert!(line(&picture, "─ two ").contains("veth to one"), "{picture}");
    assert!(!line(&picture, " into-web ").contains("veth to"), "{picture}");
}

#[test]
fn names_are_not_taken_for_more() {
    let lab = Lab::new();
    lab.sh(r#"for name in 'a"b' 'c\d' '<i>&' "$(printf 'x\033[31m')" '-->' '日本語'; do
                  ip link add name "$name" type bridge
              done"#)
        .ok();
    let shown = |format: &str| lab.netcord(&format!("graph --format {format}")).ok();
    for format in ["text", "dot", "mermaid", "svg", "html"] {
        assert!(!shown(format).contains('\u{1b}'), "{format}");
    }
    assert!(shown("text").contains("日本語") && shown("text").contains("a\"b"));
    assert!(shown("dot").contains(r#"="a\"b\nbridge"#) && shown("dot").contains(r#"="c\\d\n"#));
    assert!(shown("mermaid").contains("a#34;b<br/>") && shown("mermaid").contains("--#62;<br/>"));
    for format in ["svg", "html"] {
        assert!(shown(format).contains(">&lt;i&gt;&amp;</text>"), "{format}");
    }
}

#[test]
fn a_target_of_several_networks_is_one_box() {
    let lab = host();
    for format in ["svg", "html"] {
        let picture = lab.netcord(&format!("graph --format {format}")).ok();
        // `db` and `cache` are in two networks each.
        for name in ["web", "db", "cache", "internet", "published ports"] {
            assert_eq!(picture.matches(&format!(">{name}</text>")).count(), 1, "{name}: {picture}");
        }
        assert!(picture.contains(">lab0:</text>") && picture.contains(">back:</text>"));
    }
    let many: Vec<_> = (1..=9).map(|i| format!("n{i}")).collect();
    lab.netns(&many.iter().map(String::as_str).collect::<Vec<_>>());
    lab.netcord(&format!("attach back {}", many.join(" "))).ok();
    for format in ["svg", "html"] {
        let folded = lab.netcord(&format!("graph --format {format} --compact")).ok();
        assert!(folded.contains(">+6 more</text>") && !folded.contains(">n4</text>"), "{folded}");
    }
    lab.netcord("graph --compact").fails(2, &["this format does not support --compact"]);
}

#[test]
fn who_may_not_enter_sees_the_hosts_side() {
    let lab = host();
    let Run { stdout, stderr, code, .. } = lab.sh(&format!("unshare --user {NETCORD} graph"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("namespaces may not be entered"), "{stderr}");
    assert!(stdout.contains("lab0  bridge  10.7.0.1/24"), "{stdout}");
    assert!(line(&stdout, " web ").contains("0.0.0.0:8080 -> 80/tcp"), "{stdout}");
    assert!(!stdout.contains("10.7.0.2/24"), "nobody saw it:\n{stdout}");
    assert!(line(&stdout, "veth1").contains("no name (netns id"), "{stdout}");
}

#[test]
fn what_goes_meanwhile_is_no_failure() {
    let lab = Lab::new();
    lab.sh("ip link add br0 type bridge; ip link set br0 up").ok();
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    let mut churn = lab.start(&format!(
        "while :; do
            ip netns add a; ip netns add b
            ip link add va type veth peer name eth0 netns a; ip link set va master br0 up
            {NETCORD} -q attach lab0 b; touch /run/churned
            ip netns del a; ip netns del b; {NETCORD} -q prune
         done"
    ));
    let (mut seen, mut missed) = (0, 0);
    while seen < 5 || missed < 5 {
        lab.until("test -e /run/churned");
        let picture = lab.netcord("graph").ok();
        assert!(picture.contains("br0") && picture.contains("lab0"), "{picture}");
        let both = picture.contains("va ") && picture.contains("10.7.0.2/24");
        *(if both { &mut seen } else { &mut missed }) += 1;
        assert!(seen + missed < 500, "{seen} times all was seen, {missed} times not");
    }
    churn.kill().unwrap();
    churn.wait().unwrap();
}

#[test]
fn many_endpoints_are_all_drawn_as_people_count() {
    let lab = Lab::new();
    lab.netcord("bridge lab0 --subnet 172.20.0.0/16").ok();
    lab.sh("seq 200 | sed 's/^/netns add n/' | ip -batch -").ok();
    let all: Vec<_> = (1..=200).map(|i| format!("n{i}")).collect();
    lab.netcord(&format!("attach lab0 {}", all.join(" "))).ok();
    let picture = lab.netcord("graph").ok();
    assert_eq!(picture.matches("via 172.20.0.1").count(), 200);
    assert!(picture.find(" n9 ") < picture.find(" n10 "), "sorted as people count");
}
