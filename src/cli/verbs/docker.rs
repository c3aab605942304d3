//! Flags of docker that ask for what netcord does anyway. They are taken, so that a command line that
//! was written for docker works.

/// docker's --force: what does not exist is no error here either.
#[derive(clap::Args, Debug)]
pub(crate) struct Force {
    /// Succeed if there is nothing to do (always)
    #[arg(short, long = "force", hide = true)]
    _force: bool,
}

/// docker's flags of listings: everything is listed, and nothing is shortened.
#[derive(clap::Args, Debug)]
pub(crate) struct Whole {
    /// List everything (always)
    #[arg(short, long = "all", hide = true)]
    _all: bool,
    /// Shorten nothing (always)
    #[arg(long = "no-trunc", hide = true)]
    _no_trunc: bool,
}

/// docker's flags of `network create` that name what a network of netcord is anyway.
#[derive(clap::Args, Debug)]
pub(crate) struct Local {
    /// Targets can be attached by hand (always)
    #[arg(long = "attachable", hide = true)]
    _attachable: bool,
    /// Assign IPv4 addresses (always)
    #[arg(long = "ipv4", hide = true)]
    _ipv4: bool,
    /// The network is this host's
    #[arg(long = "scope", value_parser = ["local"], hide = true)]
    _scope: Option<String>,
    /// netcord assigns the addresses
    #[arg(long = "ipam-driver", value_parser = ["default"], hide = true)]
    _ipam_driver: Option<String>,
}
