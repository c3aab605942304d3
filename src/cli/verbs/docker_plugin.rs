//! The verb `docker-plugin`: its help.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    docker::{self, SOCKET},
    ops::Session,
    output::Output,
};

/// Serve docker as a network driver and an IPAM driver: docker network create -d netcord
///
/// docker finds the driver by its socket, and calls it for each network and container. Each call is
/// carried out at once, and nothing has to run in between: with systemd, netcord-docker.socket starts a
/// process for each connection, which is its standard input. Without systemd, --listen serves the socket
/// until SIGTERM. One line a call goes to stderr.
///
/// Options of `docker network create -d netcord -o KEY=VALUE`: `network=NAME` takes an existing network
/// of netcord's, for example an overlay. Without it, a network is made, and removed with docker's:
/// `driver` is `bridge` (the default), `underlay`, `macvlan` or `overlay`. `parent`, `takeover`, `mode`,
/// `mtu`, `isolate`, `no-spoof`, `no-masquerade`, `subnet`, `peer` (with `;` between peers), `backend`,
/// `vni`, `port`, `direct-routing`, `public-ip`, `store`, `prefix`, `ca`, `cert`, `key`, `user` and
/// `password-file` mean what they mean for the driver's verb, and `bridge.name`, `bridge.enable_icc`,
/// `bridge.enable_ip_masquerade`, `bridge.host_binding_ipv4`, `driver.mtu`, `macvlan_mode` and
/// `container_iface_prefix` (with or without `com.docker.network.`) what they mean for docker's drivers.
/// With `ports=docker`, docker publishes ports, on a second link to its `docker_gwbridge`; by default
/// netcord does, and then `docker port` shows nothing, but `netcord ps` does. Other options are refused.
///
/// With `--ipam-driver netcord`, netcord chooses a subnet that nothing on the host uses, and assigns
/// addresses that nothing else has. With `--ipam-driver null`, it chooses for each container what docker
/// is not told before: use it where the subnet comes from the parent or from a store.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Listen on a socket, instead of serving the connection on standard input
    #[arg(
        long,
        value_name = "PATH",
        num_args = 0..=1,
        default_missing_value = SOCKET,
        value_hint = clap::ValueHint::FilePath
    )]
    listen: Option<PathBuf>,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let log = |line: &str| output.note(line);
        match self.listen {
            Some(path) => docker::listen(session, &path, &log).await,
            None => docker::serve_stdin(session, &log).await,
        }
    }
}
