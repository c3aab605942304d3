//! How the store is reached: endpoints, TLS, and a user.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use netcord::error::{Error, Kind};
use serde::{Deserialize, Serialize};

/// How the store is reached. It is a plain value, for records and for the agent's socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The endpoints of one etcd cluster: `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// What the network's keys begin with, as `/coreos.com/network`.
    pub prefix: String,
    /// The file of the certificates that sign etcd's; without one, those of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The files of this host's certificate and of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The user's name, and the file of the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<(String, PathBuf)>,
}

/// Pings on an idle connection, by which a frozen etcd is noticed. etcd refuses more than one in
/// five seconds.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

impl Access {
    /// Checks what can be known without a connection.
    ///
    /// # Errors
    /// A malformed endpoint or prefix, or files for TLS where no endpoint uses it.
    pub fn check(&self) -> Result<(), Error> {
        if self.endpoints.is_empty() {
            return Err(Error::usage("the store has no endpoint"));
        }
        let has_tls_files = self.ca.is_some() || self.identity.is_some();
        for endpoint in &self.endpoints {
            let host = endpoint.strip_prefix("https://").or(endpoint.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', ' ', '@', '?'])) {
                return Err(Error::usage(format!("`{endpoint}` is not an endpoint of etcd"))
                    .hint("for example http://10.0.0.9:2379"));
            }
            if has_tls_files && !is_tls(endpoint) {
                return Err(Error::usage(format!("`{endpoint}` does not use the certificates"))
                    .hint("write the endpoint as https://..."));
            }
        }
        let is_whole = self.prefix.starts_with('/') && !self.prefix.ends_with('/');
        if !is_whole {
            return Err(Error::usage(format!("`{}` is not a prefix of keys", self.prefix))
                .hint("for example /coreos.com/network"));
        }
        Ok(())
    }

    /// Reads the files, and makes the options of one endpoint's connection.
    pub(super) fn options(&self, endpoint: &str) -> Result<ConnectOptions, Error> {
        let mut options = ConnectOptions::new()
            .with_keep_alive(PING.0, PING.1)
            .with_keep_alive_while_idle(true)
            .with_connect_timeout(super::connection::ATTEMPT)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if is_tls(endpoint) {
            options = options.with_tls(self.tls()?);
        }
        if let Some((name, file)) = &self.user {
            let password = String::from_utf8(read(file)?)
                .map_err(|_| Error::usage(format!("`{}` is not text", file.display())))?;
            options = options.with_user(name, password.trim_end_matches(['\n', '\r']));
        }
        Ok(options)
    }

    fn tls(&self) -> Result<TlsOptions, Error> {
        let tls = match &self.ca {
            Some(file) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(file)?)),
            None => TlsOptions::new().with_native_roots(),
        };
        Ok(match &self.identity {
            Some((cert, key)) => tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
            None => tls,
        })
    }
}

pub(super) fn is_tls(endpoint: &str) -> bool {
    endpoint.starts_with("https://")
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let file_name = file.display();
    fs::read(file).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("no file `{file_name}`")),
        _ => Error::new(Kind::Permission, format!("`{file_name}` cannot be read: {e}")),
    })
}

#[cfg(test)]
mod tests {
    use super::Access;

    fn access(endpoint: &str, prefix: &str) -> Access {
        Access { endpoints: vec![endpoint.into()], prefix: prefix.into(), ..Access::default() }
    }

    #[test]
    fn what_is_no_endpoint_or_prefix_is_refused() {
        access("http://10.0.0.9:2379", "/netcord/pods").check().unwrap();
        access("https://[fd00::9]:2379", "/netcord/pods").check().unwrap();
        for endpoint in
            ["", "10.0.0.9:2379", "ftp://10.0.0.9", "http://", "http://a/v3", "http://a@b"]
        {
            assert!(access(endpoint, "/netcord/pods").check().is_err(), "{endpoint}");
        }
        for prefix in ["", "/", "netcord", "/netcord/"] {
            assert!(access("http://10.0.0.9:2379", prefix).check().is_err(), "{prefix}");
        }
        assert!(Access::default().check().is_err());
    }

    #[test]
    fn certificates_need_an_endpoint_that_uses_them() {
        let mut access = access("http://10.0.0.9:2379", "/netcord/pods");
        access.ca = Some("/etc/ssl/ca.pem".into());
        assert!(access.check().unwrap_err().message.contains("does not use the certificates"));
        access.endpoints = vec!["https://10.0.0.9:2379".into()];
        access.check().unwrap();
    }
}
