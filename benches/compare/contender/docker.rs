//! A real docker daemon on a host of its own. It needs root: it makes control groups.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Contender, Operation, Work};
use crate::{
    host::{GATEWAY, Host, NETWORK, SUBNET, Target},
    process::{run, words},
};

/// All that it keeps, on the private `/run` of its host.
const DIR: &str = "/run/docker-bench";
/// Its one container, as a name in `/run/netns` too.
const CONTAINER: &str = "sleeper";

/// Longer than it takes to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// An image of one static program.
const IMAGE: &str = "
mkdir -p /run/docker-bench/rootfs/bin && cd /run/docker-bench
cp \"$(command -v busybox)\" rootfs/bin/busybox
ln -s busybox rootfs/bin/sleep
tar -C rootfs -c . | docker import - busybox";

/// `docker network connect` and its daemon.
pub(crate) struct Docker {
    host: Host,
    daemon: Child,
    cgroup: String,
}

impl Docker {
    /// Whether this program is the machine's root, and not that of a user namespace.
    pub(crate) fn can_run() -> Result<bool> {
        let users = fs::read_to_string("/proc/self/uid_map")?;
        let all = users.split_whitespace().eq(["0", "0", &u32::MAX.to_string()]);
        Ok(all && rustix::process::geteuid().is_root())
    }

    /// Starts the daemon, and a container that sleeps, without a network.
    pub(crate) fn new() -> Result<Self> {
        let host = Host::fresh()?;
        // Control groups are the machine's, where process IDs of here mean nothing.
        let number = fs::metadata("/proc/self/ns/net")?.ino();
        let cgroup = format!("netcord-bench-{number}");
        let daemon = host.within(|| start(&cgroup))?;
        let docker = Self { host, daemon, cgroup };
        docker.host.within(prepare)?;
        Ok(docker)
    }
}

impl Contender for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn work(&self, operation: Operation) -> Work {
        match operation {
            Operation::Attach => Work::Is(
                "`docker network connect lab0 CONTAINER` of a running container that has no other \
                 network; its daemon runs already. It also keeps names for DNS.",
            ),
            Operation::Detach => Work::Is("`docker network disconnect lab0 CONTAINER`."),
            Operation::AttachPublish | Operation::DetachPublished => {
                Work::No("never of a running one")
            }
        }
    }

    fn perform(&self, operation: Operation, target: &Target) -> Result<()> {
        let verb = match operation {
            Operation::Attach => "connect",
            Operation::Detach => "disconnect",
            _ => bail!("docker publishes no port of a running container"),
        };
        words(&format!("docker network {verb} {NETWORK} {}", target.name)).map(drop)
    }

    /// The one container every time: it is as fresh after a disconnect as it was before.
    fn targets(&self, _first: u16, count: u16) -> Result<Vec<Target>> {
        let target = Target { name: CONTAINER.to_owned(), ..Target::number(0) };
        Ok(vec![target; usize::from(count)])
    }

    /// Another container for each: containers are what it attaches.
    fn crowd(&self, targets: &[Target]) -> Result<()> {
        for number in 0..targets.len() {
            words(&format!("docker run -d --name crowd{number} --network {NETWORK} {RUN}"))?;
        }
        Ok(())
    }
}

/// Every container sleeps.
const RUN: &str = "--ulimit nofile=1024:1024 busybox sleep 3600";

fn start(cgroup: &str) -> Result<Child> {
    fs::create_dir(DIR)?;
    let log = fs::File::create(Path::new(DIR).join("log"))?;
    // The private `/run` has a socket of its own, which clients find by themselves.
    Command::new("dockerd")
        .args(["--data-root", &format!("{DIR}/data"), "--exec-root", &format!("{DIR}/exec")])
        .args(["--cgroup-parent", &format!("/{cgroup}")])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start dockerd")
}

fn prepare() -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = words("docker version") {
        if Instant::now() > end {
            let log = fs::read_to_string(Path::new(DIR).join("log"))?;
            return Err(error.context(log));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    run(Command::new("sh").args(["-euc", IMAGE]))?;
    words(&format!("docker run -d --name {CONTAINER} {RUN}"))?;
    words(&format!("docker network disconnect bridge {CONTAINER}"))?;
    words(&format!(
        "docker network create --subnet {SUBNET} --gateway {GATEWAY} \
         -o com.docker.network.bridge.name={NETWORK} {NETWORK}"
    ))?;
    let pid = words(&format!("docker inspect -f {{{{.State.Pid}}}} {CONTAINER}"))?;
    ensure!(!pid.trim().is_empty(), "the container does not run");
    symlink(format!("/proc/{}/ns/net", pid.trim()), format!("/run/netns/{CONTAINER}"))?;
    Ok(())
}

impl Drop for Docker {
    /// Containers first: what they leave behind is the daemon's to remove.
    fn drop(&mut self) {
        let removed = self.host.within(|| {
            run(Command::new("sh").args(["-c", "docker rm -f $(docker ps -aq)"]))?;
            words(&format!("kill {}", self.daemon.id()))
        });
        if removed.is_err() {
            drop(self.daemon.kill());
        }
        drop(self.daemon.wait());
        let root = Path::new("/sys/fs/cgroup");
        let below = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        for group in below.chain([root.to_owned()]).map(|dir| dir.join(&self.cgroup)) {
            remove_cgroup(&group);
        }
    }
}

/// A group can only be removed once the groups below it are.
fn remove_cgroup(group: &PathBuf) {
    for below in fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if below.is_dir() {
            remove_cgroup(&below);
        }
    }
    drop(fs::remove_dir(group));
}
