//! Finds the socket of an engine.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Kind},
    model::Engine,
};

/// The socket of the system's docker.
const SYSTEM_DOCKER: &str = "/var/run/docker.sock";

/// Returns the socket of the docker that calls the plugins in `/run/docker`, whichever docker the
/// environment names.
pub(super) fn of_plugins() -> [PathBuf; 1] {
    [SYSTEM_DOCKER.into()]
}

/// Returns the sockets of an engine, in the order of trial: the one in the environment, or else the
/// usual ones, root's before the user's.
pub(super) fn candidates(
    engine: Engine,
    variable: impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Vec<PathBuf>> {
    let (host, system, user) = match engine {
        Engine::Docker => ("DOCKER_HOST", SYSTEM_DOCKER, "docker.sock"),
        Engine::Podman => ("CONTAINER_HOST", "/run/podman/podman.sock", "podman/podman.sock"),
    };
    // Both engines treat an empty variable as unset.
    if let Some(value) = variable(host).filter(|value| !value.is_empty()) {
        return Ok(vec![path(host, &value.to_string_lossy())?]);
    }
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    Ok([system.into()].into_iter().chain(runtime.map(|dir| dir.join(user))).collect())
}

fn path(host: &str, value: &str) -> anyhow::Result<PathBuf> {
    let path = value.strip_prefix("unix://").map(Path::new);
    if let Some(path) = path
        && path.is_absolute()
        && !path.as_os_str().as_bytes().contains(&0)
    {
        return Ok(path.to_owned());
    }
    // Report only the scheme: the rest may contain a password.
    let scheme = value.split_once("://").map_or("", |(scheme, _)| scheme);
    let message = match scheme {
        "tcp" | "ssh" | "http" | "https" => {
            format!(
                "{host} is `{scheme}://...`: the namespaces of another machine are out of reach"
            )
        }
        _ => format!("{host} names no unix socket"),
    };
    Err(Error::new(Kind::Missing, message)
        .hint(format!("unset {host}, or set it to unix:///PATH of a socket of this machine"))
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(engine: Engine, set: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        let variable =
            |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        let found = candidates(engine, variable)?;
        Ok(found.iter().map(|path| path.display().to_string()).collect())
    }

    #[test]
    fn roots_socket_comes_before_the_users() {
        let user = ("XDG_RUNTIME_DIR", "/run/user/1000");
        assert_eq!(with(Engine::Docker, &[]).unwrap(), ["/var/run/docker.sock"]);
        assert_eq!(
            with(Engine::Docker, &[user]).unwrap(),
            ["/var/run/docker.sock", "/run/user/1000/docker.sock"]
        );
        assert_eq!(
            with(Engine::Podman, &[user]).unwrap(),
            ["/run/podman/podman.sock", "/run/user/1000/podman/podman.sock"]
        );
        assert_eq!(with(Engine::Podman, &[("XDG_RUNTIME_DIR", "run")]).unwrap().len(), 1);
    }

    #[test]
    fn the_environment_overrules() {
        let set = [("DOCKER_HOST", "unix:///tmp/d.sock"), ("XDG_RUNTIME_DIR", "/run/user/0")];
        assert_eq!(with(Engine::Docker, &set).unwrap(), ["/tmp/d.sock"]);
        assert_eq!(with(Engine::Podman, &set).unwrap().len(), 2, "not podman's variable");
        assert_eq!(with(Engine::Docker, &[("DOCKER_HOST", "")]).unwrap().len(), 1);
    }

    #[test]
    fn another_machines_engine_is_refused_without_telling_its_password() {
        for value in ["tcp://10.0.0.1:2375", "ssh://root:secret@far", "https://far"] {
            let error = with(Engine::Docker, &[("DOCKER_HOST", value)]).unwrap_err();
            assert!(error.to_string().contains("another machine"), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(Kind::of(&error), Kind::Missing);
        }
        for value in ["unix://", "unix://run/d.sock", "/run/d.sock", "fd://", "far", "unix:///a\0"]
        {
            assert!(with(Engine::Docker, &[("DOCKER_HOST", value)]).is_err(), "{value}");
        }
    }
}
