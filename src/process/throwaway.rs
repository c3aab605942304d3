//! A throwaway host: fresh user, mount, PID and network namespaces, and a private `/run`.
//! Everything in it is gone when its first process ends, and nothing of it needs root.

use std::{env, ffi::OsString, fs, io};

#[expect(clippy::disallowed_types, reason = "process runs programs")]
use std::process::Command;

use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, getegid, geteuid},
};

use super::program::{cannot_run, exit_code};
use crate::{
    error::{Error, Kind},
    kernel::set_loopback_up,
};

/// In shell syntax, evaluated anew for each prompt, since the shell may have entered another host.
macro_rules! where_one_is {
    () => {
        r#"$(host=$(ip netns identify $$ 2>/dev/null); echo "${host:-lab}")"#
    };
}

/// An environment variable that tells scripts that they run inside.
const MARK: &str = "NETCORD_LAB";

/// The home directory of the shell.
const HOME: &str = "/run/home";

/// Files that shells read at start. The prompt is the name of the current host.
const START_FILES: [(&str, &str); 4] = [
    (".bashrc", concat!("PS1='", where_one_is!(), r" \w # '", "\n")),
    (".zshrc", concat!("setopt PROMPT_SUBST\nPS1='", where_one_is!(), " %~ # '\n")),
    (".shrc", concat!("PS1='", where_one_is!(), " # '\n")),
    (".config/fish/config.fish", FISH),
];

const FISH: &str = "\
set -g fish_greeting
function fish_prompt
    set -l host (ip netns identify $fish_pid 2>/dev/null)
    test -n \"$host\"; or set host lab
    echo -n \"$host \"(prompt_pwd)' # '
end
";

/// Environment variables that would point a shell to the user's own files.
const POINTERS_HOME: [&str; 7] = [
    "HISTFILE",
    "BASH_ENV",
    "ZDOTDIR",
    "PROMPT_COMMAND",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
];

/// Runs this program again as the first process of a throwaway host, with these arguments, and
/// returns its exit code.
pub fn start(arguments: &[OsString]) -> Result<u8> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET,
    )
    .map_err(|e| refused(e.into()))?;
    // The user who starts it is root inside, and there are no other users (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {uid} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {gid} 1")))
        .map_err(refused)?;
    #[expect(clippy::disallowed_types, reason = "process runs programs")]
    let mut first = Command::new("/proc/self/exe")
        .args(arguments)
        .spawn()
        .context("cannot start the throwaway host's first process")?;
    // Ctrl-C is for the processes inside.
    SigSet::from_iter([Signal::SIGINT, Signal::SIGQUIT]).thread_block().map_err(io::Error::from)?;
    Ok(exit_code(first.wait()?))
}

/// Prepares a throwaway host as its first process. Everything ends with it.
pub async fn become_first_process() -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
    prepare().await.context("cannot prepare the throwaway host")
}

/// Runs the command, or else a shell, and reaps orphaned processes.
pub fn first_process(command: &[OsString]) -> Result<u8> {
    let shell = [env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())];
    let (program, arguments) =
        command.split_first().or_else(|| shell.split_first()).context("no command to run")?;
    #[expect(clippy::disallowed_types, reason = "process runs programs")]
    let mut program_in_lab = Command::new(program);
    program_in_lab.args(arguments).env(MARK, "1");
    if command.is_empty() {
        at_home(&mut program_in_lab).context("cannot make a home for the shell")?;
    }
    let started = program_in_lab.spawn();
    let child = started.map_err(|e| cannot_run(program, &e))?;
    let child = Pid::from_raw(child.id().cast_signed());
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                return Ok(u8::try_from(code).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(128_u8.saturating_add_signed((signal as i32).try_into().unwrap_or(0)));
            }
            // An orphan ended, or a process stopped.
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
    }
}

/// Gives a shell a home of its own. Its start files set the prompt, and everything that it writes
/// is gone at exit.
#[expect(clippy::disallowed_types, reason = "process runs programs")]
fn at_home(shell: &mut Command) -> io::Result<()> {
    fs::create_dir_all(format!("{HOME}/.config/fish"))?;
    for (file, text) in START_FILES {
        fs::write(format!("{HOME}/{file}"), text)?;
    }
    shell.env("HOME", HOME).env("ENV", format!("{HOME}/.shrc"));
    for pointer in POINTERS_HOME {
        shell.env_remove(pointer);
    }
    Ok(())
}

async fn prepare() -> Result<()> {
    let mount_at = |kind: &str, at: &str| {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(kind), at, Some(kind), flags, None::<&str>).map_err(io::Error::from)
    };
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(io::Error::from)
        .context("cannot make mounts private")?;
    mount_at("proc", "/proc").context("cannot mount /proc")?;
    mount_at("tmpfs", "/run").context("cannot mount /run")?;
    // /sys shows the links of the namespace that mounted it. A container may refuse the mount, and
    // nothing here needs it.
    drop(mount_at("sysfs", "/sys"));
    set_loopback_up().await
}

/// Names the sysctl that denies user namespaces to other users than root.
fn refused(error: io::Error) -> anyhow::Error {
    const SWITCHES: [(&str, &str, &str); 3] = [
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user.max_user_namespaces", "0", "10000"),
    ];
    let found = SWITCHES.iter().find(|(key, forbidding, _)| {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        fs::read_to_string(path).is_ok_and(|value| value.trim() == *forbidding)
    });
    let Some((key, value, allowing)) = found else {
        return anyhow::Error::from(error).context("cannot make a user namespace");
    };
    let message = format!("cannot make a user namespace: sysctl {key} is {value} on this machine");
    Error::new(Kind::Permission, message)
        .hint(format!("as root: sysctl -w {key}={allowing}; or run this as root"))
        .into()
}
