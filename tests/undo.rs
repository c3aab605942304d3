//! Undoing what is undone already is success, unless a name was mistyped.

use crate::support::Lab;

/// `lab0` with `web` and `db`, and a published port.
fn wired() -> Lab {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord("attach lab0 web db").ok();
    lab.netcord("publish web 8080:80").ok();
    lab
}

#[track_caller]
fn nothing_to_do(lab: &Lab, words: &str) {
    let run = lab.netcord(words).exits(0);
    assert!(run.stderr.starts_with("nothing to do: "), "{words}: {}", run.stderr);
    assert_eq!(run.stdout, "", "{words}");
    let quiet = lab.netcord(&format!("-q {words}")).exits(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""), "{words}");
    let object = lab.netcord(&format!("--format json {words}")).ok();
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["changed"], false, "{words}: {object}");
    let script = lab.netcord(&format!("--dry-run {words}")).ok();
    assert_eq!(script, "#!/bin/sh\nset -eu", "{words}");
}

#[test]
fn undoing_twice_is_success() {
    let lab = wired();
    lab.netcord("none third").ok();
    for undo in [
        "unpublish web 8080:80",
        "unpublish web --all",
        "detach lab0 web",
        "disconnect lab0 db web",
        "rm lab0",
        "rm third",
    ] {
        // The second of two targets is detached already.
        if !undo.contains("--all") {
            lab.netcord(undo).ok();
        }
        nothing_to_do(&lab, undo);
    }
    // Neither the network nor the target exists any more.
    lab.sh("ip netns del web; ip netns del db").ok();
    for undo in [
        "detach lab0 web",
        "disconnect lab0 web db",
        "detach lab0 4194304",
        "detach lab0 /run/netns/web",
        "unpublish web 8080:80",
        "unpublish db --all",
        "rm lab0",
        "rm network:lab0 netns:third",
        "remove lab0 third",
    ] {
        nothing_to_do(&lab, undo);
    }
    lab.netcord("reset").ok();
    let again = lab.netcord("reset").exits(0);
    assert!(again.stderr.starts_with("nothing to do: "), "{}", again.stderr);
}

#[test]
fn what_exists_is_undone_beside_what_does_not() {
    let lab = wired();
    let run = lab.netcord("detach lab0 gone web").exits(0);
    assert!(run.stderr.starts_with("nothing to do: no target `gone`"), "{}", run.stderr);
    assert_eq!(lab.netcord("ps -q").ok(), "db");
    lab.netcord("bridge lab7 --subnet 10.8.0.0/24").ok();
    assert_eq!(lab.netcord("rm other lab7").ok(), "lab7");
    // A namespace that ended takes its endpoint along.
    lab.sh("ip netns del db").ok();
    lab.netcord("detach lab0 db").ok();
    nothing_to_do(&lab, "detach lab0 db");
}

#[test]
fn a_typing_error_is_no_success() {
    let lab = wired();
    let before = lab.snapshot();
    for (words, meant) in [
        ("rm lba0", "lab0"),
        ("detach lba0 web", "lab0"),
        ("detach lab0 wbe", "web"),
        ("disconnect labo web", "lab0"),
        ("unpublish wbe 8080:80", "web"),
        ("unpublish netns:webb --all", "web"),
    ] {
        lab.netcord(words).fails(3, &[&format!("did you mean `{meant}`?")]);
    }
    // What nobody can mean by the name of something else.
    lab.netcord("detach web lab0")
        .fails(3, &["the network comes first: `netcord detach lab0 web`"]);
    lab.netcord("connect web lab0")
        .fails(3, &["the network comes first: `netcord attach lab0 web`"]);
    lab.netcord("rm web").fails(3, &["attached to `lab0`", "`netcord detach lab0 web`"]);
    before.assert_same(&lab.snapshot(), "after typing errors");
    // Numbered siblings are objects of their own.
    for words in ["rm lab1", "rm lab00", "detach lab1 web", "detach lab0 web2", "unpublish db7 80"]
    {
        nothing_to_do(&lab, words);
    }
    before.assert_same(&lab.snapshot(), "after what has no object");
}
