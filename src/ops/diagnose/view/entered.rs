//! Enters the namespaces that the host's links lead into.

use anyhow::Result;

use super::View;
use crate::{
    error::Kind,
    kernel::{Between, Kernel, Link, Netns},
    ops::{
        Session,
        lookup::namespaces::{self, Handle},
    },
};

/// A namespace that was entered, with its links.
pub(in crate::ops::diagnose) struct Entered {
    pub(in crate::ops::diagnose) netns: Netns,
    pub(in crate::ops::diagnose) view: View,
    /// The numbers by which the host's links and those inside refer to each other's namespace.
    pub(in crate::ops::diagnose) between: Between,
}

impl Entered {
    /// Reads the links of a namespace.
    pub(in crate::ops::diagnose) async fn read(kernel: &Kernel, netns: Netns) -> Result<Self> {
        let view = View::links_of(&netns).await?;
        let between = kernel.between(&netns).await?;
        Ok(Self { netns, view, between })
    }

    /// Reads its addresses and routes, too.
    pub(in crate::ops::diagnose) async fn complete(self) -> Result<Self> {
        let Self { netns, view, between } = self;
        let view = view.with_addresses(&netns).await?.with_routes(&netns).await?;
        Ok(Self { netns, view, between })
    }

    /// Returns the host's links that lead to it, each with the link inside.
    pub(in crate::ops::diagnose) fn met<'s>(
        &'s self,
        host: &'s View,
    ) -> impl Iterator<Item = (&'s Link, &'s Link)> {
        let inner = self.view.links.iter().filter(|link| link.leads_into().is_some());
        inner.filter_map(|inner| {
            let is_met = |outer: &&Link| {
                self.between.is_pair(outer, inner) || self.between.is_on(inner, outer)
            };
            Some((host.links.iter().find(is_met)?, inner))
        })
    }
}

/// Enters each namespace that has a name or a process, one after the other; returns the number of
/// those that may not be entered. Skips those that end meanwhile.
pub(in crate::ops::diagnose) async fn enter_each(
    session: &Session<'_>,
    mut visit: impl AsyncFnMut(Handle, Entered),
) -> usize {
    let _doing = session.events.doing("looking into each namespace");
    let mut refused = 0;
    for found in namespaces::all(&session.kernel) {
        match found {
            Ok((handle, netns)) => {
                if let Ok(entered) = Entered::read(&session.kernel, netns).await {
                    visit(handle, entered).await;
                }
            }
            Err(error) => refused += usize::from(Kind::of(&error) == Kind::Permission),
        }
    }
    refused
}
