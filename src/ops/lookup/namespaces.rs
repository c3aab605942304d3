//! The network namespaces of this machine that have a name or a process.

use std::{collections::HashSet, iter};

use anyhow::Result;

use crate::{
    kernel::{Kernel, Netns, NetnsFile},
    model::NetnsName,
    model::natural_order,
    process,
};

/// The way in which a namespace was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Handle {
    /// A name in `/run/netns`.
    Name(NetnsName),
    /// The oldest process in it.
    Process(u32),
}

impl Handle {
    /// Returns the namespace's file; `None` if the namespace has ended.
    pub(in crate::ops) fn file(&self) -> Option<NetnsFile> {
        match self {
            Self::Name(name) => NetnsFile::of_name(name),
            Self::Process(pid) => NetnsFile::of_process(*pid),
        }
    }
}

/// Opens each namespace except for the host's own once: by its first name, else by a process. Skips
/// those that end meanwhile. They are opened one by one, because of the limit on open files.
pub(in crate::ops) fn all(kernel: &Kernel) -> impl Iterator<Item = Result<(Handle, Netns)>> {
    let mut names: Vec<_> = kernel.netns_names().into_iter().collect();
    names.sort_by(|a, b| natural_order(a.as_str(), b.as_str()));
    let by_name = names.into_iter().filter_map(|name| {
        let netns = Netns::of_name(&name).transpose()?;
        Some(netns.map(|netns| (Handle::Name(name), netns)))
    });
    let by_process = iter::once_with(process::one_of_each_netns)
        .flatten()
        .map(|pid| Ok((Handle::Process(pid), Netns::of_process(pid)?)));
    let mut seen = HashSet::from([kernel.cookie()]);
    by_name.chain(by_process).filter(move |found| match found {
        Ok((_, netns)) => seen.insert(netns.cookie()),
        Err(_) => true,
    })
}
