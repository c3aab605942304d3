//! What outlives a process, and what was written on a bad day: an endpoint that dies leaves
//! nothing behind, and a record that is lost or torn is no reason to fail.

use crate::support::Lab;

fn attached_process(lab: &Lab) -> u32 {
    let pid = lab.null_mode_process();
    lab.netcord(&format!("attach lab0 {pid} -p 8080:80")).ok();
    pid
}

fn kill(lab: &Lab, pid: u32) {
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until("! ip -br link | grep -q ^nc");
}

#[test]
fn the_dead_leave_address_name_and_ports_to_the_living() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let before = lab.snapshot();
    let pid = attached_process(&lab);
    kill(&lab, pid);
    lab.netns(&["web"]);
    assert_eq!(lab.netcord("attach lab0 web").ok(), "172.17.0.2");
    assert_eq!(lab.netcord("port web").ok(), "", "a published port is not inherited");
    assert_eq!(lab.rules_of_ports(), [""; 0]);
    lab.netcord("detach lab0 web").ok();
    lab.sh("ip netns del web").ok();
    before.assert_same(&lab.snapshot(), "after death");
}

/// The kernel deletes the links of dead namespaces one after another: those of the last one are there for a
/// while, and its published port is on record.
#[test]
fn a_port_of_one_that_is_dying_is_waited_for() {
    let lab = Lab::new();
    let crowd: Vec<_> = (0..60).map(|n| format!("crowd{n}")).collect();
    let crowd: Vec<_> = crowd.iter().map(String::as_str).collect();
    lab.netns(&crowd).netns(&["web", "db", "app"]);
    lab.netcord("bridge lab0").ok();
    lab.netcord(&format!("attach lab0 {}", crowd.join(" "))).ok();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    lab.netcord("attach lab0 app").ok();
    let kill = "for n in $(seq 0 59); do ip netns del crowd$n; done; ip netns del";
    let end = |name: &str| lab.sh(&format!("{kill} {name} 2>/dev/null")).ok();
    end("web");
    lab.netcord("attach lab0 db -p 8080:80").ok();
    lab.netns(&crowd);
    lab.netcord(&format!("attach lab0 {}", crowd.join(" "))).ok();
    end("db");
    lab.netcord("publish app 8080:80").ok();
}

#[test]
fn detach_after_death_is_success() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let before = lab.snapshot();
    let pid = attached_process(&lab);
    kill(&lab, pid);
    lab.netcord(&format!("detach lab0 {pid}")).ok();
    before.assert_same(&lab.snapshot(), "after detach of the dead");
}

#[test]
fn lost_records_are_made_anew_and_no_address_is_given_out_twice() {
    let lab = Lab::new();
    let before = lab.snapshot();
    lab.netcord("bridge lab0 --isolate").ok();
    lab.netns(&["web", "db"]);
    lab.netcord("attach lab0 web -p 8080:80").ok();
    let whole = lab.snapshot();
    for _ in 0..2 {
        lab.sh("rm -r /run/netcord").ok();
        lab.netcord("bridge lab0 --isolate").ok();
        lab.netcord("attach lab0 web -p 8080:80").ok();
        whole.assert_same(&lab.snapshot(), "converged");
    }
    lab.sh("rm -r /run/netcord").ok();
    assert_eq!(lab.netcord("attach lab0 db").ok(), "172.17.0.3");
    lab.sh("rm -r /run/netcord").ok();
    lab.netcord("detach lab0 web db").ok();
    lab.sh("rm -r /run/netcord").ok();
    lab.netcord("rm lab0").ok();
    lab.sh("ip netns del web; ip netns del db").ok();
    before.assert_same(&lab.snapshot(), "after all records were lost");
}

#[test]
fn broken_records_are_ignored_and_made_anew() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web").ok();
    let whole = lab.snapshot();
    for damage in
        [": > $f", "head -c 40 $f > /run/t; mv /run/t $f", "head -c 300 /dev/urandom > $f"]
    {
        lab.sh(&format!("f=$(ls /run/netcord/*/network-lab0.json); {damage}")).ok();
        let run = lab.netcord("attach lab0 web").exits(0);
        assert!(run.stderr.contains("is unreadable and is ignored"), "{damage}: {}", run.stderr);
        whole.assert_same(&lab.snapshot(), damage);
    }
}

#[test]
fn a_line_that_a_kill_cut_short_never_was() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web").ok();
    lab.sh("printf '{\"target\":\"db\",\"netns\"' >> $(ls /run/netcord/*/network-lab0.json)").ok();
    let listed = lab.netcord("ps -q").exits(0);
    assert_eq!((listed.stdout.trim(), listed.stderr.as_str()), ("web", ""));
    let run = lab.netcord("attach lab0 db").exits(0);
    assert_eq!((run.stdout.trim(), run.stderr.as_str()), ("172.17.0.3", ""));
    let ends = "grep -o '^{\"[a-z]*\"\\|}$' /run/netcord/*/network-lab0.json | paste -sd ' '";
    let line = r#"{"target" }"#;
    assert_eq!(lab.sh(ends).ok(), format!(r#"{{"schema" }} {line} {line}"#));
}

/// An attach reads of others only the beginning of their lines; whoever needs the rest says that it
/// makes no sense, and makes the record anew.
#[test]
fn a_line_that_makes_no_sense_keeps_nobody_from_attaching() {
    let lab = Lab::new();
    lab.netns(&["web", "db", "app"]);
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web db").ok();
    // A record that was made anew does not know who raised the loopback.
    let snapshot = || lab.snapshot().without(|line| line.starts_with("in app"));
    let whole = snapshot();
    for damage in ["s/\"gateways\":/\"gate\":/", "s/\"cookie\":/\"cook\":/"] {
        lab.sh(&format!("sed -i '2{damage}' $(ls /run/netcord/*/network-lab0.json)")).ok();
        assert_eq!(lab.netcord("attach lab0 app").ok(), "172.17.0.4", "{damage}");
        lab.netcord("detach lab0 app").ok();
        assert_eq!(lab.netcord("attach lab0 web").exits(0).stderr, "", "{damage}: made anew");
        whole.assert_same(&snapshot(), damage);
    }
}

#[test]
fn a_record_of_a_newer_netcord_or_of_absurd_size_is_refused() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let before = lab.snapshot();
    lab.sh("echo '{\"schema\":99}' > $(ls /run/netcord/*/network-lab0.json)").ok();
    lab.netcord("bridge lab1").fails(1, &["newer netcord", "hint: "]);
    lab.sh("truncate -s 100M $(ls /run/netcord/*/network-lab0.json)").ok();
    lab.netcord("bridge lab1").fails(1, &["network-lab0.json"]);
    before.assert_same(&lab.snapshot(), "refused");
}

#[test]
fn a_state_directory_that_others_can_write_is_refused() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    let before = lab.snapshot();
    lab.sh("chmod 0777 /run/netcord/*").ok();
    lab.netcord("bridge lab1").fails(5, &["is not ours alone"]);
    lab.sh(
        "d=$(echo /run/netcord/*); chmod 0700 $d; mv $d /run/elsewhere; ln -s /run/elsewhere $d",
    )
    .ok();
    lab.netcord("bridge lab1").fails(5, &["is not ours alone"]);
    lab.sh("d=$(echo /run/netcord/*); rm $d; mv /run/elsewhere $d").ok();
    before.assert_same(&lab.snapshot(), "refused");
}

#[test]
fn a_full_or_read_only_state_directory_changes_nothing() {
    let lab = Lab::new();
    lab.sh("mkdir /run/netcord; mount -t tmpfs -o size=4k tmpfs /run/netcord").ok();
    let before = lab.snapshot();
    lab.sh("head -c 8192 /dev/zero > /run/netcord/full || true").ok();
    lab.netcord("bridge lab0").fails(1, &["hint: free some space"]);
    before.assert_same(&lab.snapshot(), "full");
    lab.sh("umount /run/netcord; mount -o remount,ro /run").ok();
    lab.netcord("bridge lab0").fails(1, &["hint: "]);
    lab.sh("mount -o remount,rw /run").ok();
    before.assert_same(&lab.snapshot(), "read-only");
}

#[test]
fn a_name_of_sixteen_bytes_is_refused() {
    let lab = Lab::new();
    lab.netcord("bridge abcdefghijklmnop").exits(2);
    lab.netcord("bridge abcdefghijklmno").ok();
}
