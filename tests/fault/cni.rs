//! Faults while a container runtime calls: it calls again, or calls DEL, and all is as it should be.

use crate::{
    support::{Lab, Stage},
    traced,
    watched::States,
};

/// Name, call, and the call that takes it back.
pub(crate) const TRIALS: [(&str, &str, &str); 2] =
    [("cni::add", "cni ADD web", "cni DEL web"), ("cni::del", "cni DEL web", "cni ADD web")];

/// With a published port, and hairpin mode.
const CONFIG: &str = r#"{"cniVersion":"1.0.0","name":"pods","type":"netcord","bridge":"cni0","ipMasq":true,
    "hairpinMode":true,"ipam":{"type":"host-local","subnet":"10.22.0.0/16","routes":[{"dst":"0.0.0.0/0"}]},
    "runtimeConfig":{"portMappings":[{"HostPort":8080,"ContainerPort":80,"Protocol":"tcp"}]}}"#;

/// SIGKILL before each call that changes something.
pub(crate) fn killed(command: &str, inverse: &str) {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.netcord("bridge cni0 --subnet 10.22.0.0/16").ok();
    lab.sh(&format!("cat >/run/conf <<'E'\n{CONFIG}\nE")).ok();
    let stage = Stage { lab, command: command.into(), inverse: inverse.into() };
    if command.contains("DEL") {
        stage.run_inverse().ok();
    }
    let states = States::of(&stage);
    let calls = traced::changing_calls(&stage);
    traced::killed_at(&stage, &states, &calls);
}
