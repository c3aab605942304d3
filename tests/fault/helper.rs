//! iptables-restore dies, as by the kernel that is out of memory.

use crate::{support::Scenario, watched::States};

/// Before it does anything; after the first of its tables; after all of its work.
const DEATHS: [&str; 3] = [
    "exec kill -9 $$",
    "sed '/^COMMIT/q' | /run/real/iptables-restore \"$@\"; kill -9 $$",
    "/run/real/iptables-restore \"$@\"; kill -9 $$",
];

pub(crate) fn dies(scenario: &Scenario) {
    let stage = scenario.stage();
    let states = States::of(&stage);
    let lab = &stage.lab;
    // The program is reached by a path of symlinks that only this host has.
    lab.sh("mkdir /run/real /run/sbin; mount --bind /usr/sbin /run/real
            ln -s /run/real/* /run/sbin/; rm /run/sbin/iptables-restore; mount --bind /run/sbin /usr/sbin")
        .ok();
    let program = lab.path("/run/sbin/iptables-restore");
    for death in DEATHS {
        // Once: what takes back must work.
        let once = format!(
            "#!/bin/sh\nif [ -e /run/dies ]; then /bin/rm /run/dies; {death}; fi\n\
             exec /run/real/iptables-restore \"$@\"\n"
        );
        std::fs::write(&program, once).unwrap();
        lab.sh("chmod +x /run/sbin/iptables-restore; touch /run/dies").ok();
        let run = stage.run();
        let when = format!("{} where iptables-restore does `{death}`", run.command);
        if run.code == 0 {
            lab.sh("rm /run/dies").ok();
            stage.run_inverse().ok();
            continue;
        }
        assert!(run.stderr.contains("error: "), "{when}: {}", run.stderr);
        if scenario.is_removal() && lab.snapshot() != states.before {
            stage.run();
            states.after.assert_same(&lab.snapshot(), &format!("{when}, again"));
            stage.run_inverse().ok();
        }
        states.before.assert_same(&lab.snapshot(), &when);
    }
}
