//! A host of its own with real engines on it. They need root: in a user namespace neither dockerd
//! nor podman may make control groups.

#![expect(clippy::disallowed_types, reason = "tests run programs")]

use std::{
    fs,
    ops::Deref,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Lab, Run, lab::comes_true};

/// A fresh host with dockerd on it, and an image `busybox` whose default command sleeps.
#[derive(Debug)]
pub(crate) struct EngineHost {
    // Dropped in this order: first all processes end.
    lab: Lab,
    left: Leftovers,
}

/// What outlives the host's namespaces.
#[derive(Debug)]
struct Leftovers {
    dir: PathBuf,
    cgroup: String,
    /// The host's first process.
    pid: u32,
}

impl EngineHost {
    /// Makes a fresh host, and waits until dockerd answers.
    ///
    /// # Panics
    /// Without root, and where docker is not installed: a test that cannot run fails.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let host = Self::without_engines();
        host.start_docker();
        host.import_busybox();
        host
    }

    /// Gives docker an image `busybox` that sleeps.
    #[track_caller]
    pub(crate) fn import_busybox(&self) {
        let change = "--change 'CMD [\"sleep\", \"3600\"]'";
        self.docker(&format!("import {change} {}/busybox.tar busybox", self.dir())).ok();
    }

    /// Connects two hosts by a wire: each has a link `eth0`, with 192.0.2.1 and 192.0.2.2.
    #[track_caller]
    pub(crate) fn connect(one: &Self, other: &Self) {
        // From outside, where both are seen; in the namespace of one.
        let status = process::Command::new("nsenter")
            .args(["--net", "--target", &one.left.pid.to_string()])
            .args(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0"])
            .args(["netns", &other.left.pid.to_string()])
            .status();
        assert!(status.unwrap().success());
        for (number, host) in [(1, one), (2, other)] {
            host.sh(&format!("ip addr add 192.0.2.{number}/24 dev eth0; ip link set eth0 up")).ok();
        }
    }

    /// Starts an etcd on a host, at this address of it; returns its URL once it answers.
    #[track_caller]
    pub(crate) fn start_etcd(&self, address: &str) -> String {
        let url = format!("http://{address}:2379");
        drop(self.start(&format!(
            "exec etcd --data-dir /run/etcd --log-level error --listen-client-urls {url} \
             --advertise-client-urls {url} --listen-peer-urls http://127.0.0.1:2380"
        )));
        self.until(&format!("ETCDCTL_API=3 etcdctl --endpoints {url} endpoint health"));
        url
    }

    /// Makes a fresh host on which no engine runs yet.
    #[track_caller]
    pub(crate) fn without_engines() -> Self {
        static HOSTS: AtomicU32 = AtomicU32::new(0);
        let name = format!("nctest-{}-{}", process::id(), HOSTS.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir(&dir).unwrap();
        let lab = Lab::of_root(&[include_str!("sh/engine_host.sh"), "sh", dir.to_str().unwrap()]);
        let left = Leftovers { dir, cgroup: name, pid: lab.pid() };
        let host = Self { lab, left };
        host.script(include_str!("sh/busybox_image.sh"), &[&host.dir().to_string()]).ok();
        host
    }

    /// Starts dockerd, and waits until it answers.
    #[track_caller]
    pub(crate) fn start_docker(&self) {
        let (dir, cgroup) = (self.dir(), &self.left.cgroup);
        self.sh(&format!(
            "setsid dockerd --data-root {dir}/docker --exec-root {dir}/docker-run \
             --cgroup-parent /{cgroup} >{dir}/dockerd.log 2>&1 &"
        ))
        .ok();
        self.until_answers("/run/docker.sock", "dockerd.log");
    }

    /// Ends dockerd as a crash does, and its containerd with it.
    #[track_caller]
    pub(crate) fn crash_docker(&self) {
        // Nobody reaps orphans here, so the next dockerd would take its dead containerd for alive.
        let containerd = format!("{}/docker-run/containerd", self.dir());
        self.sh(&format!(
            "kill -KILL $(cat /run/docker.pid); rm /run/docker.pid {containerd}/*.pid"
        ))
        .ok();
    }

    /// Starts podman's API service with an image `localhost/busybox`, and waits until it answers.
    #[track_caller]
    pub(crate) fn start_podman(&self) {
        self.sh(&format!(
            "setsid {} system service --time 0 unix:///run/podman/podman.sock >{}/podman.log 2>&1 &",
            self.podman_command(),
            self.dir()
        ))
        .ok();
        self.until_answers("/run/podman/podman.sock", "podman.log");
        self.podman(&format!("import -q {}/busybox.tar localhost/busybox", self.dir())).ok();
    }

    /// Runs docker with these words of shell.
    #[track_caller]
    pub(crate) fn docker(&self, words: &str) -> Run {
        self.sh(&format!("docker {words}"))
    }

    /// Runs podman with these words of shell.
    #[track_caller]
    pub(crate) fn podman(&self, words: &str) -> Run {
        self.sh(&format!("{} {words}", self.podman_command()))
    }

    /// Starts a container of docker's that sleeps; returns its full ID.
    #[track_caller]
    pub(crate) fn run_docker(&self, name: &str, options: &str) -> String {
        self.docker(&format!("run -d --name {name} {options} busybox sleep 3600")).ok()
    }

    /// Starts a container of podman's that sleeps; returns its full ID.
    #[track_caller]
    pub(crate) fn run_podman(&self, name: &str, options: &str) -> String {
        self.podman(&format!(
            "run -d --name {name} {options} --cgroup-parent /{} --ulimit nofile=1024:1024 \
             --ulimit nproc=4096:4096 localhost/busybox sleep 3600",
            self.left.cgroup
        ))
        .ok()
    }

    /// The PID of a container of docker's, on this host.
    #[track_caller]
    pub(crate) fn docker_pid(&self, name: &str) -> u32 {
        self.docker(&format!("inspect -f '{{{{.State.Pid}}}}' {name}")).ok().parse().unwrap()
    }

    /// The address that docker gave a container of its own.
    #[track_caller]
    pub(crate) fn docker_address(&self, name: &str) -> String {
        self.docker(&format!("inspect -f '{{{{.NetworkSettings.IPAddress}}}}' {name}")).ok()
    }

    /// Serves a page, the name of the container, over HTTP in a container of docker's.
    #[track_caller]
    pub(crate) fn serve_docker(&self, name: &str) {
        self.docker(&format!(
            "exec {name} sh -c 'echo {name} >/www/index.html && httpd -p 80 -h /www'"
        ))
        .ok();
    }

    /// Fetches a page from within the namespace of a container of docker's.
    #[track_caller]
    pub(crate) fn fetch_docker(&self, name: &str, url: &str) -> Run {
        self.fetch_as(self.docker_pid(name), url)
    }

    /// Fetches a page from within the namespace of a process of this host.
    #[track_caller]
    pub(crate) fn fetch_as(&self, pid: u32, url: &str) -> Run {
        self.sh(&format!("nsenter -t {pid} --net curl -gsS --max-time 3 {url}"))
    }

    /// A directory that ends with the host, by the same path on it and on the machine.
    pub(crate) fn dir(&self) -> std::path::Display<'_> {
        self.left.dir.display()
    }

    /// Waits until an engine answers; shows the end of its log if it does not.
    #[track_caller]
    fn until_answers(&self, socket: &str, log: &str) {
        let ping = format!("curl -fsS --max-time 2 --unix-socket {socket} http://d/_ping");
        let answers = comes_true(|| self.sh(&ping).code == 0);
        let log = || self.sh(&format!("tail -n 20 {}/{log}", self.dir())).stdout;
        assert!(answers, "no answer at {socket}:\n{}", log());
    }

    /// The control group that ends with the host.
    pub(crate) fn cgroup(&self) -> &str {
        &self.left.cgroup
    }

    /// podman with its state in this host's directory, as words of shell.
    pub(crate) fn podman_command(&self) -> String {
        let dir = self.dir();
        format!(
            "podman --root {dir}/podman --runroot {dir}/podman-run --tmpdir {dir}/podman-tmp \
             --cgroup-manager=cgroupfs --events-backend=file"
        )
    }
}

impl Deref for EngineHost {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // A paused container dies once it is thawed, and all others wait for it.
        thaw(&Path::new("/sys/fs/cgroup/freezer").join(&self.cgroup));
        thaw(&Path::new("/sys/fs/cgroup").join(&self.cgroup));
        // Control groups and mounts are busy until the last process has gone.
        let first = Path::new("/proc").join(self.pid.to_string());
        comes_true(|| !first.exists());
        let root = Path::new("/sys/fs/cgroup");
        let below = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in below.chain([root.to_owned()]) {
            let group = hierarchy.join(&self.cgroup);
            // A dead process leaves its group a moment after its namespace.
            comes_true(|| {
                remove_cgroup(&group);
                !group.exists()
            });
        }
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// Thaws the control groups below one, of either version.
fn thaw(group: &Path) {
    for below in fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path()) {
        for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let file = below.join(file);
            if file.exists() {
                fs::write(file, word).ok();
            }
        }
    }
}

/// Removes a control group and those below it: a kernel directory of files that cannot be removed.
fn remove_cgroup(group: &Path) {
    for below in fs::read_dir(group).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|t| t.is_dir()) {
            remove_cgroup(&below.path());
        }
    }
    fs::remove_dir(group).ok();
}
