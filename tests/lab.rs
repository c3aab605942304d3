//! What a test host promises: it is another one, and netcord leaves it as it was.

use crate::support::Lab;

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
