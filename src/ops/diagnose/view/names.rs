//! What a namespace is called in the output, if no record says.

use std::time::{Duration, Instant};

use crate::{
    engine::{self, Answer},
    kernel::Netns,
    ops::lookup::namespaces::Handle,
    process,
};

/// The time to wait for the names of containers, in total.
const PATIENCE: Duration = Duration::from_millis(500);

/// Finds the names of namespaces.
pub(in crate::ops::diagnose) struct Names {
    until: Instant,
}

impl Names {
    pub(in crate::ops::diagnose) fn new() -> Self {
        Self { until: Instant::now() + PATIENCE }
    }

    /// Returns the name in `/run/netns`, else that of the container, if an engine knows it, or of
    /// the process.
    pub(in crate::ops::diagnose) async fn of(&self, handle: &Handle, cookie: u64) -> String {
        match handle {
            Handle::Name(name) => name.to_string(),
            Handle::Process(pid) => self.of_process(*pid, cookie).await,
        }
    }

    async fn of_process(&self, pid: u32, cookie: u64) -> String {
        if let Some(id) = process::container_id(pid) {
            let patience = self.until.saturating_duration_since(Instant::now());
            for (_, answer) in engine::find_anywhere(&id, patience).await {
                // An engine's answer counts only if its process is in that namespace.
                if let Answer::Found(container) = answer
                    && let Some(first) = container.pid
                    && Netns::of_process(first).is_ok_and(|netns| netns.cookie() == cookie)
                {
                    return container.name;
                }
            }
        }
        format!("{} ({pid})", process::name(pid).unwrap_or_else(|| "process".into()))
    }
}
